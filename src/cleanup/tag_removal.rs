//! Removes chosen tags by a policy that is made for them: a cleanup rule of one line, whatever the
//! age of the images.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::observe::{Observation, ObserveOptions, RepositoryContext};
use super::plan::decide::TagFate;
use super::plan::{InUse, Plan, plan};
use super::progress::CleanupProgress;
use super::recheck::Rechecker;
use super::report::RepositoryReport;
use crate::config::policy::{ClockSource, DeleteRule, Doomed, MaxDelete, Policy, TagSelector};
use crate::oci::selection::TagPatterns;
use crate::oci::{Digest, Tag, derived};
use crate::removal::{
    Actor, Audit, Order, RemoveTags, RemovedTags, StepOutcome, StepReport, TagRemoval, execute,
    recover, stretch_of,
};
use crate::repository::Failure;

/// Removes tags, for one run.
pub struct TagRemover<'a> {
    pub audit: &'a Audit,
    /// Who asked for the run, and which one it is: for the audit.
    pub actor: &'a Actor,
}

#[async_trait]
impl RemoveTags for TagRemover<'_> {
    async fn remove(&self, removal: TagRemoval<'_>) -> Result<Option<RemovedTags>, Vec<Failure>> {
        let TagRemoval { line, max_delete, applies, now, .. } = removal;
        let before = policy(Vec::new(), MaxDelete::default());
        let options = ObserveOptions { all_referrers: applies, ..ObserveOptions::default() };
        let progress = CleanupProgress::default();
        let observed = context(&removal, &before, &progress).observe(options).await?;
        let Some(Observation { snapshot, in_use }) = observed else { return Ok(None) };
        let chosen = {
            let rows = snapshot.tags().iter();
            let tags: Vec<_> = rows.map(|row| (&row.name, snapshot.digest(row.node))).collect();
            let whole = snapshot.incomplete().is_empty();
            (removal.choose)(whole.then_some(&tags[..]))
        };
        let Some(policy) = these_tags(line, &chosen, max_delete) else { return Ok(None) };
        let plan = plan(&snapshot, &policy, &in_use, now);
        let RepositoryReport { refused, limited, .. } = RepositoryReport::of(&plan);
        let stays = stays(&plan);
        let mut removed = RemovedTags { refused, limited, stays, ..RemovedTags::default() };
        let steps: Vec<_> = plan.to_steps().collect();
        if !applies {
            let not_done = |step| StepReport::of(step, StepOutcome::NotDone, None);
            removed.steps = steps.iter().map(not_done).collect();
            return Ok(Some(removed));
        }
        let notes = recover(self.audit, &*removal.repository, now).await;
        removed.notes = notes.map_err(|failure| vec![failure])?;
        if !steps.is_empty() {
            let context = context(&removal, &policy, &progress);
            let order = Order {
                repository: &*removal.repository,
                state: removal.state,
                rule: removal.rule,
                audit: self.audit,
                actor: self.actor,
                recheck: &Rechecker { context: &context, planned: &plan },
                quarantine: None,
                stop: removal.stop,
                now,
                withdraws: None,
                untag_by_overwriting: policy.untag_by_overwriting,
                stretch: stretch_of(plan.snapshot.tags().len()),
                tried: progress.steps_done(),
            };
            let executed = execute(&steps, order).await;
            removed.steps = executed.steps;
            removed.notes.extend(executed.notes);
            removed.interrupted = executed.interrupted;
        }
        Ok(Some(removed))
    }
}

/// Nobody says what of the repository is in use.
fn context<'a>(
    removal: &'a TagRemoval<'_>,
    policy: &'a Policy,
    progress: &'a CleanupProgress,
) -> RepositoryContext<'a> {
    RepositoryContext {
        repository: Arc::clone(&removal.repository),
        state: removal.state,
        memory: removal.memory,
        progress,
        policy,
        now: removal.now,
        in_use: &|| Box::pin(async { Ok(InUse::default()) }),
    }
}

/// The chosen tags that stay, with what is in the way.
fn stays(plan: &Plan<'_>) -> Vec<(Tag, Digest, String)> {
    let tags = plan.snapshot.tags().iter().zip(plan.tags());
    let stays = tags.filter(|(_, it)| it.condemned_by.is_some() && it.fate == TagFate::Keep);
    let stays = stays.map(|(row, verdict)| {
        let blockers: Vec<_> = verdict.blockers.iter().map(|blocker| blocker.as_str()).collect();
        (row.name.clone(), plan.snapshot.digest(row.node).clone(), blockers.join(", "))
    });
    stays.collect()
}

/// A policy that deletes exactly these tags, with what belongs to them. `None`: there are none.
fn these_tags(line: &str, tags: &[Tag], max_delete: MaxDelete) -> Option<Policy> {
    // Derived tags go with their images; patterns do not accept them.
    let own = tags.iter().filter(|tag| derived::parse(tag).is_none());
    // Tags have no characters that mean something in patterns.
    let patterns = own.map(|tag| tag.as_str().parse()).collect::<Result<Vec<_>, _>>().ok()?;
    if patterns.is_empty() {
        return None;
    }
    let tags = TagPatterns::new(patterns).ok()?;
    let selector = Box::new(TagSelector { tags: Some(tags), semver: None, per: None });
    let what = Doomed::Tags { selector, beyond_newest: None };
    Some(policy(vec![DeleteRule { id: line.to_owned(), what, older_than: None }], max_delete))
}

fn policy(delete: Vec<DeleteRule>, max_delete: MaxDelete) -> Policy {
    Policy {
        keep: Vec::new(),
        delete,
        clock: vec![ClockSource::FirstSeen],
        grace: Duration::ZERO,
        max_delete,
        untag_by_overwriting: false,
    }
}
