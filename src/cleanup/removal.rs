//! What a policy deletes in one repository, for who is no cleanup rule: what has expired in a
//! quarantine, what is gone at the source of a sync rule. Planned, limited and audited like all
//! deletions.

use std::sync::Arc;

use jiff::Timestamp;

use super::apply::recover::recover;
use super::apply::{Order, STRETCH, apply};
use super::audit::{Actor, Audit};
use super::plan::decide::TagFate;
use super::plan::snapshot::Snapshot;
use super::plan::{InUse, Plan, plan};
use super::report::{Outcome, RepositoryReport, StepReport};
use super::site::{Look, Sight, Site};
use crate::config::cleanup::Mode;
use crate::config::policy::{ClockSource, DeleteRule, Doomed, MaxDelete, Policy, TagSelector};
use crate::layout::Layout;
use crate::oci::selection::TagPatterns;
use crate::oci::{Digest, Tag};
use crate::repository::{Failure, Repository};
use crate::state::State;
use crate::stop::StopSignal;

/// One removal. Whoever asks for it has the turn to write to the repository.
pub struct Removal<'a> {
    pub repository: Arc<dyn Repository>,
    /// What it is, if it is on disk.
    pub layout: Option<Layout>,
    /// On behalf of which rule.
    pub rule: &'a str,
    /// What goes of what was found; `None`: nothing. Whatever it chooses, no age matters.
    pub choose: &'a (dyn Fn(&Snapshot) -> Option<Policy> + Send + Sync),
    pub mode: Mode,
    pub state: &'a State,
    pub audit: &'a Audit,
    pub actor: &'a Actor,
    pub stop: &'a StopSignal,
    pub now: Timestamp,
}

/// What became of it.
#[derive(Debug)]
pub struct Removed {
    /// The steps of a plan that is not carried out are there, and not done.
    pub report: RepositoryReport,
    /// Tags that were chosen and cannot go, with what stands in the way.
    pub stays: Vec<(Tag, Digest, String)>,
    /// It was stopped before its end.
    pub interrupted: bool,
}

impl Removal<'_> {
    /// Plans and, in [`Mode::Apply`], deletes. `None`: there is no such repository, or nothing of
    /// it goes.
    ///
    /// # Errors
    /// What was cut off before cannot be settled.
    pub async fn run(&self) -> Result<Option<Removed>, Vec<Failure>> {
        let applies = self.mode == Mode::Apply;
        let before = policy(Vec::new(), MaxDelete::default());
        let look = self.site(&before);
        let Some(Sight { snapshot, in_use }) =
            look.look(Look { all_referrers: applies, ..Look::default() }).await?
        else {
            return Ok(None);
        };
        let Some(policy) = (self.choose)(&snapshot) else { return Ok(None) };
        let plan = plan(&snapshot, &policy, &in_use, self.now);
        let (report, stays) = (RepositoryReport::of(&plan), stays(&plan));
        let mut removed = Removed { report, stays, interrupted: false };
        if !applies {
            removed.report.steps = not_done(&plan);
            return Ok(Some(removed));
        }
        let notes = recover(self.audit, &*self.repository, self.now).await;
        removed.report.notes.extend(notes.map_err(|failure| vec![failure])?);
        if !plan.steps.is_empty() {
            let order = Order {
                rule: self.rule,
                audit: self.audit,
                actor: self.actor,
                quarantine: None,
                stop: self.stop,
                withdraws: None,
                stretch: STRETCH,
            };
            let site = self.site(&policy);
            removed.interrupted = removed.report.take(apply(&site, &plan, order).await);
        }
        Ok(Some(removed))
    }

    /// Nobody says what of it is in use.
    fn site<'a>(&'a self, policy: &'a Policy) -> Site<'a> {
        Site {
            repository: Arc::clone(&self.repository),
            layout: self.layout.clone(),
            state: self.state,
            policy,
            now: self.now,
            in_use: &|| Box::pin(async { Ok(InUse::default()) }),
        }
    }
}

fn stays(plan: &Plan<'_>) -> Vec<(Tag, Digest, String)> {
    let tags = plan.snapshot.tags().iter().zip(plan.tags());
    let stays = tags.filter(|(_, it)| it.condemned_by.is_some() && it.fate == TagFate::Keep);
    let stays = stays.map(|(row, verdict)| {
        let blockers: Vec<_> = verdict.blockers.iter().map(|blocker| blocker.as_str()).collect();
        (row.name.clone(), plan.snapshot.digest(row.node).clone(), blockers.join(", "))
    });
    stays.collect()
}

fn not_done(plan: &Plan<'_>) -> Vec<StepReport> {
    plan.step_lines().map(|line| StepReport::of(&line, Outcome::NotDone)).collect()
}

/// A policy that deletes exactly these tags, whatever their age, with what belongs to them; its one
/// line has this id. `None`: there are none.
pub fn these_tags(id: &str, tags: &[Tag], max_delete: MaxDelete) -> Option<Policy> {
    // Tags hold no characters that patterns have a use for.
    if tags.is_empty() {
        return None;
    }
    let patterns = tags.iter().map(|tag| tag.as_str().parse()).collect::<Result<Vec<_>, _>>();
    let tags = TagPatterns::new(patterns.ok()?).ok()?;
    let selector = Box::new(TagSelector { tags: Some(tags), semver: None, per: None });
    let what = Doomed::Tags { selector, beyond_newest: None };
    Some(policy(vec![DeleteRule { id: id.to_owned(), what, older_than: None }], max_delete))
}

fn policy(delete: Vec<DeleteRule>, max_delete: MaxDelete) -> Policy {
    Policy {
        keep: Vec::new(),
        delete,
        clock: vec![ClockSource::FirstSeen],
        grace: std::time::Duration::ZERO,
        max_delete,
        untag_by_overwriting: false,
    }
}
