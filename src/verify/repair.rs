//! Copies what a comparison found missing or different, believing nothing that the state has
//! noted of it.

use std::sync::Arc;

use super::compare::Compared;
use super::report::{Kind, Problem, Repair};
use super::{Item, Sides};
use crate::config::OnConflict;
use crate::fair::Flow;
use crate::oci::Digest;
use crate::repository::{Cause, Error, Failure, Placement};
use crate::state::{TagKey, TagState};
use crate::transfer::{Carrier, Condition, Job, Outcome, Target, fingerprint};

/// Heals images.
pub struct Repairer {
    carrier: Arc<Carrier>,
    /// Seconds since 1970.
    clock: fn() -> u64,
}

/// What a repair moved, and what is to be noted once the image is found to be equal.
pub(super) struct Repaired {
    pub repair: Repair,
    record: Option<TagState>,
}

impl Repairer {
    pub fn new(carrier: Arc<Carrier>, clock: fn() -> u64) -> Self {
        Self { carrier, clock }
    }

    /// Copies an image again.
    pub(super) async fn repair(&self, sides: &Sides, item: &Item, compared: &Compared) -> Repaired {
        let state = self.carrier.state();
        let record = key(sides, item).and_then(|key| state.tag(&key));
        if let Some(error) = conflict(sides, compared, record.as_ref()) {
            return Repaired { repair: failed(&error), record: None };
        }
        if let Some(key) = key(sides, item) {
            state.forget_tag(&key);
        }
        for blob in &compared.blobs {
            state.forget_blob(sides.target.store(), sides.target.path(), blob);
        }
        let job = Job {
            source: sides.source.clone(),
            reference: item.reference.clone(),
            source_tags: sides.source_tags.clone(),
            targets: vec![Target {
                repository: sides.target.clone(),
                placement: item.placement.clone(),
                // Not even the tag is taken for right, or nothing below it would be looked at.
                current: None,
                condition: Condition::Always,
                fresh: false,
                cleaned: true,
            }],
            options: sides.options.clone(),
            flow: Flow::ALONE,
        };
        match self.carrier.transfer(&job).await {
            Ok(outcome) => self.settle(outcome, record),
            Err(error) => Repaired { repair: failed(&error), record: None },
        }
    }

    fn settle(&self, mut outcome: Outcome, record: Option<TagState>) -> Repaired {
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
            }),
        }
    }

    /// Notes an image again that was found to be equal after its repair. Without that the next
    /// run would take a rewritten index for somebody else's.
    pub(super) fn remember(&self, sides: &Sides, item: &Item, repaired: &Repaired) {
        if let (Some(key), Some(record)) = (key(sides, item), &repaired.record) {
            self.carrier.state().set_tag(&key, record);
        }
    }

    /// Makes durable what was noted.
    pub(super) async fn flush(&self) {
        self.carrier.state().flush().await;
    }
}

fn key<'a>(sides: &'a Sides, item: &'a Item) -> Option<TagKey<'a>> {
    let Placement::Tag(tag) = &item.placement else { return None };
    Some(TagKey { source: sides.source.name(), target: sides.target.name(), tag })
}

/// A tag that someone else has changed is repaired only where the rule would overwrite it, too.
fn conflict(sides: &Sides, compared: &Compared, record: Option<&TagState>) -> Option<Error> {
    let found: &Digest = compared.found_root.as_ref()?;
    let ours = record.is_some_and(|record| record.target_digest == *found);
    (sides.on_conflict != OnConflict::Overwrite && !ours).then(|| {
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
    /// What was wrong before and is not any more.
    pub(super) fn heal(&mut self, before: Vec<Problem>, now: &[Problem]) {
        let same = |a: &Problem, b: &Problem| (a.kind, &a.subject) == (b.kind, &b.subject);
        self.healed = before;
        self.healed.retain(|problem| !now.iter().any(|other| same(problem, other)));
    }
}

/// Whether copying can heal a problem.
pub(super) fn is_worth_trying(problems: &[Problem]) -> bool {
    problems.iter().any(|problem| !matches!(problem.kind, Kind::BlobSize | Kind::BlobBytes))
}
