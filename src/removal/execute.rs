//! Carries steps out, one after the other, as far as they still hold: the repository is observed and
//! planned anew again and again.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use async_trait::async_trait;
use jiff::Timestamp;

use super::audit::{Actor, Audit, Intent, Kept, KeptManifest, Line, cannot_write};
use super::delete::{Deleted, ManifestDeletion};
use super::failure::{MOST_IN_A_ROW, StepFailure};
use super::observation::{Current, Observed};
use super::step::{Step, StepAction, StepOutcome, StepReport};
use super::untag::{Untagged, Untagging};
use crate::oci::{Digest, Manifest, Tag, derived};
use crate::repository::{self, Reference, Repository, Untag};
use crate::state::{State, Withdrawn};
use crate::stop::StopSignal;

/// So many steps are done on the strength of one observation at least.
const STRETCH: usize = 500;

/// So many manifests are copied to the quarantine before they are deleted.
const COPIES: usize = 500;

/// How many steps are done on the strength of one observation of so many tags: each costs a request
/// for every tag, so that there are never more of them than four for each tag.
pub fn stretch_of(tags: usize) -> usize {
    STRETCH.max(tags / 4)
}

/// Compares steps with what would be planned now. Implemented by those who plan.
#[async_trait]
pub trait Recheck: Send + Sync {
    /// Observes the repository, also what no tag of `left` leads to any more, and says what
    /// of `left` still holds. `tags_gone`: how many tags earlier steps took.
    ///
    /// # Errors
    /// Nothing can be said, so nothing may be deleted any more; in words for people.
    async fn recheck(&self, left: &[Step], tags_gone: usize) -> Result<Rechecked, String>;
}

/// What a new plan says of the next steps.
pub struct Rechecked {
    /// The repository as it was observed, and when that began and ended.
    pub observed: Box<dyn Observed>,
    pub began: Instant,
    pub ended: Instant,
    /// In the order of the steps.
    pub steps: Vec<Checked>,
}

/// What has become of a step since it was planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked {
    Wanted {
        /// All tags that its manifest has now.
        tags: Vec<Tag>,
    },
    /// There is nothing left to delete.
    Gone,
    /// It must not be done any more, in words for people.
    Changed(String),
    /// Nothing can be said of any step now.
    Unknown(String),
}

/// Keeps copies of what is about to be deleted.
#[async_trait]
pub trait KeepCopies: Send {
    /// Copies a manifest with all that it is made of.
    async fn keep(&mut self, digest: &Digest);

    /// The copy of a manifest, or why there is none.
    fn copy(&self, digest: &Digest) -> Result<&Kept, &str>;
}

/// Where, on whose behalf and how steps are carried out.
pub struct Order<'a> {
    pub repository: &'a dyn Repository,
    pub state: &'a State,
    pub rule: &'a str,
    pub audit: &'a Audit,
    pub actor: &'a Actor,
    pub recheck: &'a dyn Recheck,
    pub quarantine: Option<&'a mut dyn KeepCopies>,
    pub stop: &'a StopSignal,
    pub now: Timestamp,
    /// The mark of the policy, under which deleted tags are kept from being copied there again.
    pub withdraws: Option<u64>,
    /// A placeholder may be pushed to a tag and deleted with it, where single tags cannot be deleted.
    pub untag_by_overwriting: bool,
    /// Steps on the strength of one observation: see [`stretch_of`].
    pub stretch: usize,
    /// Counts the steps that were tried, for observers.
    pub tried: &'a AtomicUsize,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Executed {
    /// In the order of the plan.
    pub steps: Vec<StepReport>,
    pub notes: Vec<String>,
    /// The run was stopped before the end.
    pub interrupted: bool,
}

/// Carries out the steps of a plan that nothing refuses, in their order.
pub async fn execute<'a>(steps: &'a [Step], order: Order<'a>) -> Executed {
    let mut execution = Execution {
        order,
        doomed: steps.iter().flat_map(|step| &step.tags).collect(),
        manifests: steps
            .iter()
            .filter(|step| step.action == StepAction::Delete)
            .map(|step| &step.digest)
            .collect(),
        current: None,
        stays: HashSet::new(),
        tags_gone: HashSet::new(),
        done: Executed::default(),
        in_a_row: 0,
        halted: None,
        unwritten: Vec::new(),
    };
    for (at, step) in steps.iter().enumerate() {
        let left = &steps[at..];
        if at % COPIES == 0 {
            execution.keep_copies(&left[..left.len().min(COPIES)]).await;
        }
        let became = execution.next(left).await;
        execution.report(step, became);
        execution.order.tried.fetch_add(1, Ordering::Relaxed);
    }
    execution.finish().await
}

struct Execution<'a> {
    order: Order<'a>,
    /// The tags that any step takes away.
    doomed: HashSet<&'a Tag>,
    /// The manifests that any step deletes.
    manifests: HashSet<&'a Digest>,
    /// The last observation.
    current: Option<Current>,
    /// Manifests that were to be deleted, and were not.
    stays: HashSet<&'a Digest>,
    /// The tags that are gone. One that was taken away before its manifest counts once.
    tags_gone: HashSet<&'a Tag>,
    done: Executed,
    /// Failures without a success in between.
    in_a_row: usize,
    /// Why no further step is tried.
    halted: Option<String>,
    /// Outcomes that are not in the audit yet: they are written with the next intent, which costs
    /// one fsync for both. After a crash, the next process finds them out by looking.
    unwritten: Vec<Line>,
}

/// What became of a step.
struct Became {
    outcome: StepOutcome,
    reason: Option<String>,
}

impl Became {
    fn plainly(outcome: StepOutcome) -> Self {
        Self { outcome, reason: None }
    }

    fn because(outcome: StepOutcome, reason: impl Into<String>) -> Self {
        Self { outcome, reason: Some(reason.into()) }
    }
}

impl<'a> Execution<'a> {
    /// Does the first of these steps, if it still holds.
    async fn next(&mut self, left: &'a [Step]) -> Became {
        let step = &left[0];
        let mut is_fresh = false;
        loop {
            if self.stops() {
                self.done.interrupted = true;
                return Became::because(StepOutcome::NotDone, "the run was stopped");
            }
            if let Some(reason) = &self.halted {
                return Became::because(StepOutcome::NotDone, reason.as_str());
            }
            let steps = self.order.stretch;
            let Some(mut current) = self.current.take().filter(|it| !it.is_outdated(steps)) else {
                match self.order.recheck.recheck(left, self.tags_gone.len()).await {
                    Ok(rechecked) => self.current = Some(Current::new(rechecked)),
                    Err(reason) => self.halted = Some(reason),
                }
                is_fresh = true;
                continue;
            };
            let checked = current.checked().clone();
            let mut became = None;
            if step.action == StepAction::Delete && matches!(checked, Checked::Wanted { .. }) {
                match current.new_tag(self.order.repository, &self.manifests).await {
                    Ok(None) => {}
                    // Pushes must not keep it busy with observations.
                    Ok(Some(tag)) if is_fresh => {
                        let reason = format!("the new tag `{tag}` may lead to it");
                        became = Some(Became::because(StepOutcome::Skipped, reason));
                    }
                    Ok(Some(_)) => continue,
                    Err(error) => became = Some(self.failed(StepFailure::of(&error))),
                }
            }
            current.advance();
            self.current = Some(current);
            return match became {
                Some(became) => became,
                None => self.step(step, &checked).await,
            };
        }
    }

    fn stops(&self) -> bool {
        self.order.stop.is_cancelled()
    }

    /// Copies what is about to go into the quarantine.
    async fn keep_copies(&mut self, steps: &[Step]) {
        let Some(quarantine) = &mut self.order.quarantine else { return };
        for step in steps.iter().filter(|step| step.action == StepAction::Delete) {
            if self.halted.is_some() || self.order.stop.is_cancelled() {
                return;
            }
            quarantine.keep(&step.digest).await;
        }
    }

    async fn step(&mut self, step: &'a Step, checked: &Checked) -> Became {
        if let Some(owner) = step.owners.iter().find(|owner| self.stays.contains(owner)) {
            let reason = format!("it belongs to {owner}, which stays");
            return Became::because(StepOutcome::Skipped, reason);
        }
        let on_it = match checked {
            Checked::Wanted { tags } => tags,
            Checked::Gone => return Became::plainly(StepOutcome::Gone),
            Checked::Changed(reason) => {
                return Became::because(StepOutcome::Skipped, reason.as_str());
            }
            // The later steps are not done either, and the run did not do what it was to do.
            Checked::Unknown(reason) => {
                self.halted = Some(reason.clone());
                return Became::because(StepOutcome::NotDone, reason.as_str());
            }
        };
        let kept = match (&self.order.quarantine, step.action) {
            (Some(quarantine), StepAction::Delete) => match quarantine.copy(&step.digest) {
                Ok(kept) => Some(kept.clone()),
                Err(reason) => {
                    let reason = format!("it could not be copied to the quarantine: {reason}");
                    return self.failed(StepFailure::failed(reason));
                }
            },
            _ => None,
        };
        let manifest = match manifest_to_untag(self.order.repository, step).await {
            Ok(Some(manifest)) => manifest,
            Ok(None) => return Became::plainly(StepOutcome::Gone),
            Err(error) => return self.failed(StepFailure::of(&error)),
        };
        let (tags, others): (Vec<&Tag>, Vec<&Tag>) = match step.action {
            // Tags that have moved away since it was planned are not among them.
            StepAction::Delete => (on_it.iter().collect(), Vec::new()),
            // Other tags that are to go as well, or are gone by now, are no loss.
            StepAction::Untag => (
                step.tags.iter().collect(),
                on_it.iter().filter(|other| !self.doomed.contains(other)).collect(),
            ),
        };
        let mut intent = self.intent(step, &tags, &others, kept);
        intent.manifest = manifest.as_ref().and_then(KeptManifest::of);
        let id = intent.id.clone();
        let written = intent.clone();
        let mut lines = std::mem::take(&mut self.unwritten);
        lines.push(Line::Intent(Box::new(intent)));
        if let Err(error) = self.order.audit.write(lines).await {
            let reason = cannot_write(&error).to_string();
            self.halted = Some(reason.clone());
            // It may be written yet, with what is written next.
            self.settle(id, StepOutcome::Failed, Some(reason.clone()));
            return self.failed(StepFailure::failed(reason));
        }
        let became = match step.action {
            StepAction::Delete => self.delete(&step.digest, &tags).await,
            StepAction::Untag => {
                let untagged = self.untag(&step.digest, &tags, &others, manifest.as_ref()).await;
                match untagged {
                    Ok(became) => became,
                    Err(unfinished) => {
                        // Without an outcome, the next run settles it.
                        self.order.audit.give_back(vec![written]);
                        return unfinished;
                    }
                }
            }
        };
        self.settle(id, became.outcome, became.reason.clone());
        if became.outcome.is_gone() {
            self.withdraw(&step.digest, &tags);
        }
        became
    }

    fn intent(&self, step: &Step, tags: &[&Tag], others: &[&Tag], kept: Option<Kept>) -> Intent {
        let owned = |tags: &[&Tag]| tags.iter().map(|tag| (*tag).clone()).collect();
        Intent {
            id: self.order.audit.name(self.order.actor),
            at: Timestamp::now(),
            actor: self.order.actor.clone(),
            rule: self.order.rule.to_owned(),
            line: step.line.clone(),
            with: step.owners.first().cloned(),
            repository: self.order.repository.name().to_owned(),
            action: step.action,
            tags: owned(tags),
            stay: owned(others),
            digest: step.digest.clone(),
            since: step.clock.time,
            clock: step.clock.source.clone().map(Cow::into_owned),
            quarantine: kept,
            manifest: None,
        }
    }

    /// Keeps an outcome for the audit.
    fn settle(&mut self, id: String, outcome: StepOutcome, reason: Option<String>) {
        self.unwritten.push(Line::Outcome { id, at: Timestamp::now(), outcome, reason });
    }

    async fn delete(&mut self, digest: &Digest, tags: &[&Tag]) -> Became {
        let deletion = ManifestDeletion { repository: self.order.repository, digest, tags };
        match deletion.run().await {
            Deleted::Done => self.succeeded(StepOutcome::Deleted, None),
            Deleted::Gone => self.succeeded(StepOutcome::Gone, None),
            Deleted::Moved(tag) => {
                Became::because(StepOutcome::Skipped, format!("its tag `{tag}` was moved"))
            }
            Deleted::Stays(failure) => self.failed(failure),
        }
    }

    /// `Err`: what became of it is not known, so it has no outcome yet.
    async fn untag(
        &mut self,
        digest: &Digest,
        tags: &[&Tag],
        others: &[&Tag],
        manifest: Option<&Manifest>,
    ) -> Result<Became, Became> {
        let [tag] = tags else { return Ok(Became::plainly(StepOutcome::Gone)) };
        let untagging = Untagging {
            repository: self.order.repository,
            abilities: &*self.order.state.abilities,
            now: self.order.now,
            tag,
            digest,
            others,
            manifest,
            overwrite: self.order.untag_by_overwriting,
        };
        Ok(match untagging.run().await {
            Untagged::Done(note) => self.succeeded(StepOutcome::Deleted, note),
            Untagged::Gone => self.succeeded(StepOutcome::Gone, None),
            Untagged::Moved(digest) => {
                Became::because(StepOutcome::Skipped, format!("it points at {digest} now"))
            }
            Untagged::Stays(failure) => self.failed(failure),
            Untagged::Unfinished(failure) => return Err(self.failed(failure)),
        })
    }

    fn succeeded(&mut self, outcome: StepOutcome, reason: Option<String>) -> Became {
        self.in_a_row = 0;
        Became { outcome, reason }
    }

    fn failed(&mut self, failure: StepFailure) -> Became {
        let StepFailure { outcome, reason, is_general } = failure;
        // What the registry refuses for this image alone says nothing about the next one.
        self.in_a_row = if outcome == StepOutcome::Refused { 0 } else { self.in_a_row + 1 };
        if is_general || self.in_a_row >= MOST_IN_A_ROW {
            let why = match is_general {
                true => format!(
                    "the step before it did not work for a reason that is general: {reason}"
                ),
                false => {
                    format!("{MOST_IN_A_ROW} steps in a row did not work, the last one: {reason}")
                }
            };
            self.halted.get_or_insert(why);
        }
        Became::because(outcome, reason)
    }

    /// Tells those who copy images that these tags were deleted on purpose.
    fn withdraw(&self, digest: &Digest, tags: &[&Tag]) {
        let Some(policy) = self.order.withdraws else { return };
        let at = u64::try_from(self.order.now.as_second()).unwrap_or_default();
        for tag in tags.iter().filter(|tag| derived::parse(tag).is_none()) {
            let withdrawn = Withdrawn { digest: digest.clone(), policy, at };
            self.order.state.withdrawn.set(self.order.repository.name(), tag, &withdrawn);
        }
    }

    fn report(&mut self, step: &'a Step, became: Became) {
        let Became { outcome, reason } = became;
        let is_gone = outcome.is_gone();
        if is_gone {
            self.tags_gone.extend(&step.tags);
        }
        match step.action {
            StepAction::Delete if is_gone => {
                self.order.state.manifests.forget(self.order.repository.name(), &step.digest);
            }
            StepAction::Delete => _ = self.stays.insert(&step.digest),
            StepAction::Untag => {}
        }
        let mut report = StepReport::of(step, outcome, reason);
        if !is_gone {
            report.bytes_freed = 0;
        }
        self.done.steps.push(report);
    }

    /// Writes the last outcomes to the audit.
    async fn finish(mut self) -> Executed {
        if !self.unwritten.is_empty()
            && let Err(error) = self.order.audit.write(self.unwritten).await
        {
            self.done.notes.push(cannot_write(&error).to_string());
        }
        self.done
    }
}

/// The manifest from which a tag is to be taken, where the registry may delete more than the tag: then
/// it must be at hand. `None`: it is gone.
async fn manifest_to_untag(
    repository: &dyn Repository,
    step: &Step,
) -> repository::Result<Option<Option<Manifest>>> {
    if step.action != StepAction::Untag || repository.capabilities().untag == Untag::Yes {
        return Ok(Some(None));
    }
    let reference = Reference::Digest(step.digest.clone());
    Ok(repository.manifest(&reference).await?.map(Some))
}
