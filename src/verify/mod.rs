//! Source and target compared down to every blob, and what is missing or different copied again.
//!
//! - `compare`: one image: its root, everything below it, everything that refers to it.
//! - `parts`: one manifest or blob at the target. `memo`: each looked at once.
//! - `repair`: one image copied again, without trusting what was noted of it.
//! - `report`: what was found, for people and for programs.

mod compare;
mod memo;
mod parts;
mod repair;
mod report;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use futures_util::StreamExt;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::config::OnConflict;
use crate::oci::Digest;
use crate::repository::{Failure, Placement, Reference, Repository, Result};
use crate::sync::Selected;
use crate::transfer::{Options, TagIndex};
use compare::Compared;
use memo::Memo;

pub use repair::Repairer;
pub use report::{Checked, Counts, ImageReport, Kind, Outcome, Problem, Repair, Report};

/// Images compared at once; what bounds the work is each registry's window.
const IMAGES: usize = 16;
/// Images repaired at once.
const REPAIRS: usize = 4;
/// Blobs downloaded at once.
const DOWNLOADS: usize = 16;

/// A repository at the source, and the one at the target that should hold its images.
pub struct Sides {
    pub source: Arc<dyn Repository>,
    pub target: Arc<dyn Repository>,
    /// The derived tags of the source.
    pub source_tags: TagIndex,
    pub options: Arc<Options>,
    /// Whether a repair may overwrite what someone else has put under a tag.
    pub on_conflict: OnConflict,
    target_tags: tokio::sync::Mutex<Option<TagIndex>>,
}

/// One image: what is read at the source, and what it is called at the target.
#[derive(Debug, Clone)]
pub struct Item {
    pub reference: Reference,
    pub placement: Placement,
    /// What a cleanup rule deleted from the target under this tag, and would delete again. If just
    /// that is missing, it is as it should be.
    pub withdrawn: Option<Digest>,
}

/// An image to be verified.
pub type Task = (Arc<Sides>, Item);

/// Compares images. Looks at everything once, however many images share it.
#[derive(Debug)]
pub struct Verifier {
    /// Every blob of the target is downloaded and hashed.
    read: bool,
    manifests: Memo,
    blobs: Memo,
    bytes: Memo,
    downloads: Semaphore,
    withheld: AtomicUsize,
    tally: Tally,
}

/// `Checked`, while it is counted.
#[derive(Debug, Default)]
struct Tally {
    manifests: AtomicU64,
    blobs: AtomicU64,
    bytes: AtomicU64,
    bytes_read: AtomicU64,
}

impl Sides {
    pub fn new(
        source: Arc<dyn Repository>,
        target: Arc<dyn Repository>,
        source_tags: TagIndex,
        options: Arc<Options>,
        on_conflict: OnConflict,
    ) -> Self {
        Self { source, target, source_tags, options, on_conflict, target_tags: Default::default() }
    }

    /// The target's derived tags, listed when they are first needed.
    async fn target_tags(&self) -> Result<TagIndex> {
        let mut known = self.target_tags.lock().await;
        if let Some(tags) = &*known {
            return Ok(tags.clone());
        }
        let tags = self.target.tags().await?;
        Ok(known.insert(TagIndex::new(tags.as_deref().unwrap_or_default())).clone())
    }

    /// Something was put at the target.
    async fn target_has_changed(&self) {
        *self.target_tags.lock().await = None;
    }
}

/// The tasks that a rule's selection makes: each image once for each target.
pub fn tasks(selected: Selected, on_conflict: OnConflict) -> Vec<Task> {
    let Selected { source, targets, source_tags, options, images, withdrawn } = selected;
    let sides = targets.into_iter().map(|target| {
        let (source, tags, options) = (source.clone(), source_tags.clone(), options.clone());
        Arc::new(Sides::new(source, target, tags, options, on_conflict))
    });
    sides
        .zip(withdrawn)
        .flat_map(|(sides, mut withdrawn)| {
            images.iter().map(move |(reference, placement)| {
                let (reference, placement) = (reference.clone(), placement.clone());
                let withdrawn = match &placement {
                    Placement::Tag(tag) => withdrawn.remove(tag),
                    Placement::Digest | Placement::Part => None,
                };
                (sides.clone(), Item { reference, placement, withdrawn })
            })
        })
        .collect()
}

impl Item {
    /// Whether what is wrong is only that a cleanup rule deleted the image.
    fn is_withheld(&self, report: &ImageReport) -> bool {
        let Some(withdrawn) = self.withdrawn.as_ref().map(Digest::to_string) else { return false };
        let is_missing = |problem: &Problem| problem.kind == Kind::ImageMissing;
        report.outcome == Outcome::Different
            && report.problems.iter().all(is_missing)
            && [&report.source_digest, &report.expected_digest].contains(&&Some(withdrawn))
    }
}

impl Verifier {
    pub fn new(read: bool) -> Self {
        Self {
            read,
            manifests: Memo::default(),
            blobs: Memo::default(),
            bytes: Memo::default(),
            downloads: Semaphore::new(DOWNLOADS),
            withheld: AtomicUsize::new(0),
            tally: Tally::default(),
        }
    }

    /// How much was looked at until now.
    pub fn checked(&self) -> Checked {
        self.tally.read()
    }

    /// Compares images, and has those that are not equal repaired where there is a repairer.
    /// `failures` is what kept other images from being here, and ends up in the report. `watch`
    /// sees every image as soon as it is settled.
    pub async fn run(
        &self,
        tasks: &[Task],
        failures: Vec<Failure>,
        repairer: Option<&Repairer>,
        cancel: &CancellationToken,
        watch: &(dyn Fn(&ImageReport) + Sync),
    ) -> Report {
        let begin = Instant::now();
        let settled: Mutex<Vec<ImageReport>> = Mutex::default();
        let settle = |image: ImageReport| {
            watch(&image);
            settled.lock().push(image);
        };
        let finished = tokio::select! {
            biased;
            () = cancel.cancelled() => false,
            () = self.pass(tasks, repairer, &settle) => true,
        };
        if let Some(repairer) = repairer {
            repairer.flush().await;
        }
        let mut images = settled.into_inner();
        images.sort_by(|a, b| (&a.source, &a.target).cmp(&(&b.source, &b.target)));
        let mut counts = Counts::default();
        images.iter().for_each(|image| counts.add(image.outcome));
        counts.withheld = self.withheld.load(Ordering::Relaxed);
        Report {
            success: finished && failures.is_empty() && counts.different + counts.failed == 0,
            read: self.read,
            interrupted: !finished,
            counts,
            checked: self.checked(),
            seconds: begin.elapsed().as_secs_f64(),
            images,
            failures,
            notes: Vec::new(),
        }
    }

    async fn pass(
        &self,
        tasks: &[Task],
        repairer: Option<&Repairer>,
        settle: &(dyn Fn(ImageReport) + Sync),
    ) {
        let mut unequal: Vec<(usize, Compared)> = Vec::new();
        let mut compared = futures_util::stream::iter(0..tasks.len())
            .map(|at| async move { (at, self.compare(&tasks[at].0, &tasks[at].1).await) })
            .buffer_unordered(IMAGES);
        while let Some((at, compared)) = compared.next().await {
            if tasks[at].1.is_withheld(&compared.report) {
                self.withheld.fetch_add(1, Ordering::Relaxed);
            } else if compared.report.outcome == Outcome::Different && repairer.is_some() {
                unequal.push((at, compared));
            } else {
                settle(compared.report);
            }
        }
        if let Some(repairer) = repairer {
            self.heal(tasks, unequal, repairer, settle).await;
        }
    }

    /// Repairs images, then compares them again. In two steps, because they share parts: one
    /// that is repaired changes what is true of another.
    async fn heal(
        &self,
        tasks: &[Task],
        unequal: Vec<(usize, Compared)>,
        repairer: &Repairer,
        settle: &(dyn Fn(ImageReport) + Sync),
    ) {
        let repaired: Vec<_> = futures_util::stream::iter(unequal)
            .map(|(at, compared)| async move {
                let task = &tasks[at];
                if !repair::is_worth_trying(&compared.report.problems) {
                    return (task, compared, None);
                }
                let repaired = repairer.repair(&task.0, &task.1, &compared).await;
                task.0.target_has_changed().await;
                (task, compared, Some(repaired))
            })
            .buffer_unordered(REPAIRS)
            .collect()
            .await;
        for memo in [&self.manifests, &self.blobs, &self.bytes] {
            memo.forget_problems();
        }
        futures_util::stream::iter(repaired)
            .for_each_concurrent(IMAGES, |(task, before, repaired)| async move {
                let Some(mut repaired) = repaired else { return settle(before.report) };
                let mut now = self.compare(&task.0, &task.1).await.report;
                if now.outcome == Outcome::Equal {
                    now.outcome = Outcome::Repaired;
                    repairer.remember(&task.0, &task.1, &repaired);
                }
                repaired.repair.heal(before.report.problems, &now.problems);
                now.repair = Some(repaired.repair);
                settle(now);
            })
            .await;
    }
}

impl Tally {
    fn read(&self) -> Checked {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Checked {
            manifests: read(&self.manifests),
            blobs: read(&self.blobs),
            bytes: read(&self.bytes),
            bytes_read: read(&self.bytes_read),
        }
    }
}
