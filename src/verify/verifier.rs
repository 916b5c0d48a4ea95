//! A verification: rules and their images compared side by side, and repaired where that is wanted.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::checks::TargetChecks;
use super::compare::{Compared, compare};
use super::pairs::{Item, Part, Task};
use super::repair::{self, Repairer};
use super::report::{
    Checked, Counts, ImageOutcome, ImageReport, Problem, ProblemKind, VerifyReport,
};
use crate::fair::{Flow, LendingPermits, MemoryBudget, Pulse, Pulses};
use crate::oci::Digest;
use crate::repository::Failure;
use crate::sync::RULES;
use crate::transfer::BlobStatus;

/// Images compared at once, of all rules; what bounds the work is each registry's window.
const IMAGES: usize = 16;
/// Images repaired at once, of all rules.
const REPAIRS: usize = 4;

/// Compares images. Everything is checked once, however many images share it. A rule that stalls
/// keeps none of its permits from others.
#[derive(Debug)]
pub struct Verifier {
    checks: TargetChecks,
    memory: MemoryBudget,
    pulses: Pulses,
    rules: LendingPermits,
    images: LendingPermits,
    repairs: LendingPermits,
    withheld: AtomicUsize,
    progress: Progress,
}

/// How many images there are, and what became of them.
#[derive(Debug, Default)]
struct Progress {
    /// Parts whose images are not known yet. `None`: none has begun.
    unlisted: Mutex<Option<usize>>,
    considered: AtomicUsize,
    settled: AtomicUsize,
    unequal: AtomicUsize,
}

/// How far a verification has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progressed {
    /// Images, as far as lists were read.
    pub considered: usize,
    /// All lists were read.
    pub is_all: bool,
    pub settled: usize,
    /// Of these, images that are different, or that could not be read.
    pub unequal: usize,
}

impl Verifier {
    /// `read`: every blob of the target is downloaded and hashed. `memory`: what manifests may take in
    /// this process. `pulses` are told of the progress of flows at registries.
    pub fn new(read: bool, memory: MemoryBudget, pulses: Pulses) -> Self {
        let permits = |number| LendingPermits::new(number, pulses.clone());
        Self {
            checks: TargetChecks::new(read),
            memory,
            rules: permits(RULES),
            images: permits(IMAGES),
            repairs: permits(REPAIRS),
            pulses,
            withheld: AtomicUsize::new(0),
            progress: Progress::default(),
        }
    }

    /// How much was checked until now.
    pub fn checked(&self) -> Checked {
        self.checks.checked()
    }

    /// How far it has come.
    pub fn progressed(&self) -> Progressed {
        let Progress { unlisted, considered, settled, unequal } = &self.progress;
        Progressed {
            is_all: *unlisted.lock() == Some(0),
            considered: considered.load(Ordering::Relaxed),
            settled: settled.load(Ordering::Relaxed) + self.withheld.load(Ordering::Relaxed),
            unequal: unequal.load(Ordering::Relaxed),
        }
    }

    /// The blobs that are being downloaded, the oldest first.
    pub fn blobs(&self) -> Vec<BlobStatus> {
        self.checks.on_wire.list()
    }

    /// Compares the images of all parts, and repairs those that differ if there is a repairer. What
    /// could not be read goes into the report in the order of the parts. `watch` sees every image as
    /// soon as it is settled.
    pub async fn run(
        &self,
        parts: Vec<Part>,
        repairer: Option<&Repairer>,
        cancel: &CancellationToken,
        watch: &(dyn Fn(&ImageReport) + Sync),
    ) -> VerifyReport {
        let begin = Instant::now();
        let settled: Mutex<Vec<ImageReport>> = Mutex::default();
        let failed: Mutex<Vec<(usize, Vec<Failure>)>> = Mutex::default();
        let settle = |image: ImageReport| {
            watch(&image);
            self.progress.settled.fetch_add(1, Ordering::Relaxed);
            if matches!(image.outcome, ImageOutcome::Different | ImageOutcome::Failed) {
                self.progress.unequal.fetch_add(1, Ordering::Relaxed);
            }
            settled.lock().push(image);
        };
        *self.progress.unlisted.lock() = Some(parts.len());
        let passes = parts.into_iter().enumerate().map(|(at, part)| {
            let (settle, failed) = (&settle, &failed);
            async move {
                let _turn = self.rules.acquire(part.flow).await;
                let _watched = self.pulses.watch(part.flow, &Pulse::default());
                let (tasks, failures) = part.images.await;
                self.progress.considered.fetch_add(tasks.len(), Ordering::Relaxed);
                if let Some(unlisted) = &mut *self.progress.unlisted.lock() {
                    *unlisted -= 1;
                }
                failed.lock().push((at, failures));
                self.pass(part.flow, &tasks, repairer, settle).await;
            }
        });
        let finished = tokio::select! {
            biased;
            () = cancel.cancelled() => false,
            _ = join_all(passes) => true,
        };
        if let Some(repairer) = repairer {
            repairer.flush().await;
        }
        let mut images = settled.into_inner();
        images.sort_by(|a, b| (&a.source, &a.target).cmp(&(&b.source, &b.target)));
        let mut failed = failed.into_inner();
        failed.sort_by_key(|(at, _)| *at);
        let failures: Vec<_> = failed.into_iter().flat_map(|(_, failures)| failures).collect();
        let mut counts = Counts::default();
        images.iter().for_each(|image| counts.add(image.outcome));
        counts.withheld = self.withheld.load(Ordering::Relaxed);
        VerifyReport {
            success: finished && failures.is_empty() && counts.different + counts.failed == 0,
            read: self.checks.read,
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
        flow: Flow,
        tasks: &[Task],
        repairer: Option<&Repairer>,
        settle: &(dyn Fn(ImageReport) + Sync),
    ) {
        let mut unequal: Vec<(usize, Compared)> = Vec::new();
        let mut compared = futures_util::stream::iter(0..tasks.len())
            .map(|at| async move {
                let _permit = self.images.acquire(flow).await;
                (at, self.compare(&tasks[at]).await)
            })
            .buffer_unordered(IMAGES);
        while let Some((at, compared)) = compared.next().await {
            if is_withheld(&tasks[at].1, &compared.report) {
                self.withheld.fetch_add(1, Ordering::Relaxed);
            } else if is_unequal(&compared.report) && repairer.is_some() {
                unequal.push((at, compared));
            } else {
                settle(compared.report);
            }
        }
        if let Some(repairer) = repairer {
            self.heal(tasks, unequal, repairer, settle).await;
        }
    }

    async fn compare(&self, (pair, item): &Task) -> Compared {
        compare(&self.checks, &self.memory.begin(), &self.pulses, pair, item).await
    }

    /// Repairs images, then compares them again. In two steps, because images share parts: the
    /// repair of one changes what is true of another.
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
                let _permit = self.repairs.acquire(task.0.flow).await;
                let repaired = repairer.repair(&task.0, &task.1, &compared).await;
                task.0.target_has_changed().await;
                (task, compared, Some(repaired))
            })
            .buffer_unordered(REPAIRS)
            .collect()
            .await;
        self.checks.forget_problems();
        futures_util::stream::iter(repaired)
            .for_each_concurrent(IMAGES, |(task, before, repaired)| async move {
                let Some(mut repaired) = repaired else { return settle(before.report) };
                let _permit = self.images.acquire(task.0.flow).await;
                let mut now = self.compare(task).await.report;
                if now.outcome == ImageOutcome::Equal {
                    now.outcome = ImageOutcome::Repaired;
                    repairer.remember(&task.0, &task.1, &repaired);
                }
                repaired.repair.set_healed(before.report.problems, &now.problems);
                now.repair = Some(repaired.repair);
                settle(now);
            })
            .await;
    }
}

/// Whether the target lacks something, or may lack it. The source is there.
fn is_unequal(report: &ImageReport) -> bool {
    report.outcome != ImageOutcome::Equal && report.expected_digest.is_some()
}

/// Whether the only thing wrong is that a cleanup rule deleted the image.
fn is_withheld(item: &Item, report: &ImageReport) -> bool {
    let Some(withdrawn) = item.withdrawn.as_ref().map(Digest::to_string) else { return false };
    let is_missing = |problem: &Problem| problem.kind == ProblemKind::ImageMissing;
    report.outcome == ImageOutcome::Different
        && report.problems.iter().all(is_missing)
        && [&report.source_digest, &report.expected_digest].contains(&&Some(withdrawn))
}
