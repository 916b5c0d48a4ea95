//! What a policy deletes in one repository, for who is no cleanup rule: what has expired in a
//! quarantine, what is gone at the source of a sync rule. Planned, limited and audited like all
//! deletions.

use std::sync::Arc;

use jiff::Timestamp;

use super::apply::{Order, apply};
use super::audit::{Actor, Audit};
use super::plan::{InUse, plan};
use super::recover::recover;
use super::report::RepositoryReport;
use super::site::{Sight, Site};
use crate::config::cleanup::Mode;
use crate::config::policy::{ClockSource, DeleteRule, Doomed, MaxDelete, Policy, TagSelector};
use crate::oci::Tag;
use crate::oci::selection::TagPatterns;
use crate::repository::Repository;
use crate::run::{Failure, Stop};
use crate::state::State;

/// One removal. Whoever asks for it has the turn to write to the repository.
pub struct Removal<'a> {
    pub repository: Arc<dyn Repository>,
    /// On behalf of which rule.
    pub rule: &'a str,
    pub policy: &'a Policy,
    pub mode: Mode,
    pub state: &'a State,
    pub audit: &'a Audit,
    pub actor: &'a Actor,
    pub stop: &'a Stop,
    pub now: Timestamp,
}

impl Removal<'_> {
    /// Plans and, in [`Mode::Apply`], deletes. `None`: there is no such repository. The flag:
    /// whether it was stopped before its end.
    ///
    /// # Errors
    /// What was cut off before cannot be settled.
    pub async fn run(&self) -> Result<Option<(RepositoryReport, bool)>, Vec<Failure>> {
        let site = Site {
            repository: Arc::clone(&self.repository),
            layout: None,
            state: self.state,
            policy: self.policy,
            now: self.now,
            in_use: &|| Box::pin(async { Ok(InUse::default()) }),
        };
        let applies = self.mode == Mode::Apply;
        let Some(Sight { snapshot, in_use }) = site.look(applies).await? else { return Ok(None) };
        let plan = plan(&snapshot, self.policy, &in_use, self.now);
        let mut report = RepositoryReport::of(&plan);
        if !applies {
            return Ok(Some((report, false)));
        }
        let notes = recover(self.audit, &*self.repository, self.now).await;
        report.notes.extend(notes.map_err(|failure| vec![failure])?);
        if plan.steps.is_empty() {
            return Ok(Some((report, false)));
        }
        let order = Order {
            rule: self.rule,
            audit: self.audit,
            actor: self.actor,
            quarantine: None,
            stop: self.stop,
        };
        let applied = apply(&site, &plan, order).await;
        let interrupted = report.take(applied);
        Ok(Some((report, interrupted)))
    }
}

/// A policy that deletes exactly these tags, whatever their age, with what belongs to them; its one
/// line has this id. `None`: there are none.
pub fn these_tags(id: &str, tags: &[Tag], max_delete: MaxDelete) -> Option<Policy> {
    // Tags hold no characters that patterns have a use for.
    let patterns = tags.iter().map(|tag| tag.as_str().parse()).collect::<Result<Vec<_>, _>>();
    let tags = TagPatterns::new(patterns.ok()?).ok()?;
    let selector = Box::new(TagSelector { tags: Some(tags), semver: None, per: None });
    let what = Doomed::Tags { selector, beyond_newest: None };
    Some(Policy {
        keep: Vec::new(),
        delete: vec![DeleteRule { id: id.to_owned(), what, older_than: None }],
        clock: vec![ClockSource::FirstSeen],
        grace: std::time::Duration::ZERO,
        max_delete,
        untag_by_overwriting: false,
    })
}
