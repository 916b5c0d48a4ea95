//! Empties a quarantine of what was kept for long enough: a cleanup of its own, by the time that
//! stands in each tag.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::apply::{Order, apply};
use super::plan::{InUse, plan};
use super::quarantine::expiry;
use super::report::Outcome;
use super::site::{Sight, Site};
use crate::config::policy::{ClockSource, DeleteRule, Doomed, MaxDelete, Policy, TagSelector};
use crate::oci::Tag;
use crate::oci::selection::TagPatterns;
use crate::repository::Repository;
use crate::run::Failure;
use crate::state::State;

/// Deletes what has expired at `now`; gives how many copies that were.
pub(super) async fn expire(
    quarantine: Arc<dyn Repository>,
    state: &State,
    now: Timestamp,
    order: Order<'_>,
) -> Result<usize, Vec<Failure>> {
    let tags = quarantine.tags().await.map_err(|error| vec![Failure::of(&error)])?;
    let expired: Vec<Tag> = tags
        .into_iter()
        .flatten()
        .filter(|tag| expiry(tag).is_some_and(|until| until <= now))
        .collect();
    let Some(policy) = policy(&expired) else { return Ok(0) };
    let site = Site {
        repository: quarantine,
        state,
        policy: &policy,
        now,
        in_use: &|| Box::pin(async { Ok(InUse::default()) }),
    };
    let Some(Sight { snapshot, in_use }) = site.look(false).await? else { return Ok(0) };
    let plan = plan(&snapshot, &policy, &in_use, now);
    if let Some(refusal) = plan.refusals.first() {
        return Err(vec![Failure::new("empty", snapshot.repository(), refusal.to_string())]);
    }
    let applied = apply(&site, &plan, order).await;
    let count = |outcome: Outcome| {
        applied.steps.iter().filter(|step| step.outcome == outcome && !step.tags.is_empty()).count()
    };
    match applied.steps.iter().find(|step| step.outcome == Outcome::Failed) {
        Some(failed) => {
            let reason = failed.reason.clone().unwrap_or_default();
            Err(vec![Failure::new("empty", snapshot.repository(), reason)])
        }
        None => Ok(count(Outcome::Deleted)),
    }
}

/// Deletes exactly these tags, and what belongs to them. `None`: there are none.
fn policy(tags: &[Tag]) -> Option<Policy> {
    let patterns = tags.iter().map(|tag| tag.as_str().parse()).collect::<Result<Vec<_>, _>>();
    let tags = TagPatterns::new(patterns.ok()?).ok()?;
    let selector = Box::new(TagSelector { tags: Some(tags), semver: None, per: None });
    let beyond_newest: Option<NonZeroU32> = None;
    let what = Doomed::Tags { selector, beyond_newest };
    Some(Policy {
        keep: Vec::new(),
        delete: vec![DeleteRule { id: "expired".to_owned(), what, older_than: None }],
        clock: vec![ClockSource::FirstSeen],
        grace: Duration::ZERO,
        max_delete: MaxDelete::default(),
        untag_by_overwriting: false,
    })
}
