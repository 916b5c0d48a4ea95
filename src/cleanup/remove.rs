//! Tags that go on behalf of a rule that is not a cleanup rule: what goes is told by a policy that
//! is made for one repository as it is found. Everything else is as for cleanup rules: shared
//! digests, referrers, limits, what has changed meanwhile, and the audit.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;

use super::Cleaner;
use super::apply::{Order, apply};
use super::audit::Actor;
use super::decide::TagFate;
use super::plan::{InUse, Plan, plan};
use super::recover::recover;
use super::report::{Outcome, RepositoryReport, StepAction, StepReport};
use super::site::{Sight, Site};
use super::snapshot::Snapshot;
use crate::config::cleanup::Mode;
use crate::config::policy::{ClockSource, MaxDelete, Policy};
use crate::fair::Flow;
use crate::oci::{Digest, RegistryHost, RepositoryName, Tag};
use crate::run::{Failure, Stop};

/// What is wanted of one repository.
#[derive(Clone, Copy)]
pub struct RemovalSpec<'a> {
    pub registry: &'a RegistryHost,
    pub repository: &'a RepositoryName,
    /// The rule that it is for. It must be this rule's turn to write to the repository.
    pub rule: &'a str,
    pub mode: Mode,
    pub stop: &'a Stop,
    pub flow: Flow,
    pub actor: &'a Actor,
    pub now: Timestamp,
    /// What goes of what was found; `None`: nothing. It knows no clock but `pushed` and
    /// `first_seen`.
    pub policy: &'a (dyn Fn(&Snapshot) -> Option<Policy> + Send + Sync),
}

/// What became of it.
#[derive(Debug)]
pub struct Removal {
    /// The steps of a plan that is not carried out are there, and not done.
    pub report: RepositoryReport,
    /// Tags that the policy condemns and that cannot go, with what stands in the way.
    pub stays: Vec<(Tag, Digest, String)>,
    pub interrupted: bool,
}

impl Cleaner {
    /// Plans and, if that is wanted, deletes. `None`: there is no such repository, nothing of it
    /// goes, or it was stopped before it began.
    ///
    /// # Errors
    /// The repository cannot be looked at, or the audit not be written to.
    pub async fn remove(&self, spec: RemovalSpec<'_>) -> Result<Option<Removal>, Vec<Failure>> {
        let applies = spec.mode == Mode::Apply;
        let registry = self.registries.open(spec.registry);
        let registry = registry.map_err(|error| vec![Failure::of(&error)])?;
        let repository = registry.repository_in(spec.flow, spec.repository.clone(), false);
        // Whoever mirrors a repository does not know what runs from it.
        let in_use = || -> BoxFuture<'_, _> { Box::pin(async { Ok(InUse::default()) }) };
        let site = |policy| Site {
            repository: Arc::clone(&repository),
            state: self.carrier.state(),
            policy,
            now: spec.now,
            in_use: &in_use,
        };
        let before = nothing();
        let look = site(&before);
        let Some(sight) = spec.stop.soon.run_until_cancelled(look.look(applies)).await else {
            return Ok(None);
        };
        let Some(Sight { snapshot, in_use }) = sight? else { return Ok(None) };
        let Some(policy) = (spec.policy)(&snapshot) else { return Ok(None) };
        let plan = plan(&snapshot, &policy, &in_use, spec.now);
        let mut removal = Removal {
            report: RepositoryReport::of(&plan),
            stays: stays(&plan),
            interrupted: false,
        };
        if !applies {
            removal.report.steps = not_done(&plan);
            return Ok(Some(removal));
        }
        let notes = recover(&self.audit, &*repository, spec.now).await;
        removal.report.notes.extend(notes.map_err(|failure| vec![failure])?);
        if !plan.steps.is_empty() {
            let RemovalSpec { rule, actor, stop, .. } = spec;
            let order = Order { rule, audit: &self.audit, actor, quarantine: None, stop };
            let site = site(&policy);
            removal.interrupted = removal.report.take(apply(&site, &plan, order).await);
        }
        Ok(Some(removal))
    }
}

/// What is asked for before it is known what there is.
fn nothing() -> Policy {
    Policy {
        keep: Vec::new(),
        delete: Vec::new(),
        clock: vec![ClockSource::Pushed, ClockSource::FirstSeen],
        grace: Duration::ZERO,
        max_delete: MaxDelete::default(),
        untag_by_overwriting: false,
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

/// The steps of a plan, none of which is done.
fn not_done(plan: &Plan<'_>) -> Vec<StepReport> {
    let steps = plan.step_lines().map(|line| StepReport {
        action: if line.tag.is_some() { StepAction::Untag } else { StepAction::Delete },
        tags: line.tag.into_iter().chain(line.tags).cloned().collect(),
        digest: line.digest.clone(),
        line: line.rule.map(str::to_owned),
        outcome: Outcome::NotDone,
        reason: None,
        bytes_freed: line.bytes_freed,
    });
    steps.collect()
}
