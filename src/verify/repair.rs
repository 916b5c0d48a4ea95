//! Copies again what a comparison found missing or different, without trusting what the state
//! notes of it.

use std::sync::Arc;

use super::compare::Compared;
use super::pairs::{Item, RepositoryPair};
use super::report::{Problem, ProblemKind, Repair};
use tokio_util::sync::CancellationToken;

use crate::config::OnConflict;
use crate::fair::MemoryBudget;
use crate::oci::Digest;
use crate::repository::{Cause, Error, Failure, Placement};
use crate::state::{TagKey, TagState};
use crate::transfer::{Carrier, Condition, Job, Target, TransferOutcome, fingerprint};

/// Repairs images.
pub struct Repairer {
    carrier: Arc<Carrier>,
    /// Seconds since 1970.
    clock: fn() -> u64,
}

/// What a repair moved, and the record to note once the image is found to be equal.
pub(super) struct Repaired {
    pub repair: Repair,
    record: Option<TagState>,
}

impl Repairer {
    pub fn new(carrier: Arc<Carrier>, clock: fn() -> u64) -> Self {
        Self { carrier, clock }
    }

    /// What manifests may take in this process.
    pub fn memory(&self) -> &MemoryBudget {
        self.carrier.memory()
    }

    /// Copies an image again.
    pub(super) async fn repair(
        &self,
        pair: &RepositoryPair,
        item: &Item,
        compared: &Compared,
    ) -> Repaired {
        let state = self.carrier.state();
        let record = key(pair, item).and_then(|key| state.tags.get(&key));
        if let Some(error) = conflict(pair, compared, record.as_ref()) {
            return Repaired { repair: failed(&error), record: None };
        }
        if let Some(key) = key(pair, item) {
            state.tags.forget(&key);
        }
        for blob in &compared.blobs {
            state.blobs.forget(pair.target.store(), pair.target.path(), blob);
        }
        let job = Job {
            source: pair.source.clone(),
            reference: item.reference.clone(),
            source_tags: pair.source_tags.clone(),
            targets: vec![Target {
                repository: pair.target.clone(),
                placement: item.placement.clone(),
                // Not even the tag is trusted, otherwise nothing below it would be looked at.
                current: None,
                condition: Condition::Always,
                fresh: false,
                cleaned: true,
            }],
            options: pair.options.clone(),
            flow: pair.flow,
            stop: CancellationToken::new(),
        };
        match self.carrier.transfer(&job).await {
            Ok(outcome) => self.settle(outcome, record),
            Err(error) => Repaired { repair: failed(&error), record: None },
        }
    }

    fn settle(&self, mut outcome: TransferOutcome, record: Option<TagState>) -> Repaired {
        let delivered = match outcome.targets.pop() {
            Some(Ok(delivered)) => delivered,
            Some(Err(error)) => return Repaired { repair: failed(&error), record: None },
            None => return Repaired { repair: Repair::default(), record: None },
        };
        Repaired {
            repair: Repair {
                healed: Vec::new(),
                blobs_sent: delivered.blobs_sent,
                blobs_mounted: delivered.blobs_mounted,
                bytes: delivered.sent_bytes,
                errors: delivered.refused_referrers.iter().map(Failure::of).collect(),
            },
            record: record.map(|record| TagState {
                source_digest: outcome.source_digest,
                target_digest: delivered.digest,
                verified_at: (self.clock)(),
                options: record.options,
                subjects: outcome.subjects,
                referrers: fingerprint(&outcome.referrers),
                bare_children_at: None,
            }),
        }
    }

    /// Notes an image that was found to be equal after its repair. Without the note, the next run
    /// would take a rewritten index for one that someone else has pushed.
    pub(super) fn remember(&self, pair: &RepositoryPair, item: &Item, repaired: &Repaired) {
        if let (Some(key), Some(record)) = (key(pair, item), &repaired.record) {
            self.carrier.state().tags.set(&key, record);
        }
    }

    /// Waits until everything noted is on the disk.
    pub(super) async fn flush(&self) {
        self.carrier.state().storage.flush().await;
    }
}

fn key<'a>(pair: &'a RepositoryPair, item: &'a Item) -> Option<TagKey<'a>> {
    let Placement::Tag(tag) = &item.placement else { return None };
    Some(TagKey { source: pair.source.name(), target: pair.target.name(), tag })
}

/// A tag that someone else has changed is repaired only if the rule would overwrite it too.
fn conflict(
    pair: &RepositoryPair,
    compared: &Compared,
    record: Option<&TagState>,
) -> Option<Error> {
    let found: &Digest = compared.found_root.as_ref()?;
    let ours = record.is_some_and(|record| record.target_digest == *found);
    (pair.on_conflict != OnConflict::Overwrite && !ours).then(|| {
        let message =
            "someone else has changed the tag, and the rule's on_conflict does not overwrite it";
        let cause = Cause::Unsupported(message.to_owned());
        Error::new("repair", compared.report.target.clone(), cause)
    })
}

fn failed(error: &Error) -> Repair {
    Repair { errors: vec![Failure::of(error)], ..Repair::default() }
}

impl Repair {
    /// Notes what was wrong before and is right now.
    pub(super) fn set_healed(&mut self, before: Vec<Problem>, now: &[Problem]) {
        let same = |a: &Problem, b: &Problem| (a.kind, &a.subject) == (b.kind, &b.subject);
        self.healed = before;
        self.healed.retain(|problem| !now.iter().any(|other| same(problem, other)));
    }
}

/// Whether copying can solve any of these problems.
pub(super) fn is_worth_trying(problems: &[Problem]) -> bool {
    problems
        .iter()
        .any(|problem| !matches!(problem.kind, ProblemKind::BlobSize | ProblemKind::BlobBytes))
}
