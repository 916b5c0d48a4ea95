//! A verification: images compared side by side, and repaired where that is wanted.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use futures_util::StreamExt;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::checks::TargetChecks;
use super::compare::{Compared, compare};
use super::pairs::{Item, Task};
use super::repair::{self, Repairer};
use super::report::{
    Checked, Counts, ImageOutcome, ImageReport, Problem, ProblemKind, VerifyReport,
};
use crate::fair::MemoryBudget;
use crate::oci::Digest;
use crate::repository::Failure;

/// Images compared at once; what bounds the work is each registry's window.
const IMAGES: usize = 16;
/// Images repaired at once.
const REPAIRS: usize = 4;

/// Compares images. Everything is checked once, however many images share it.
#[derive(Debug)]
pub struct Verifier {
    checks: TargetChecks,
    memory: MemoryBudget,
    withheld: AtomicUsize,
}

impl Verifier {
    /// `read`: every blob of the target is downloaded and hashed. `memory`: what manifests may take in
    /// this process.
    pub fn new(read: bool, memory: MemoryBudget) -> Self {
        Self { checks: TargetChecks::new(read), memory, withheld: AtomicUsize::new(0) }
    }

    /// How much was checked until now.
    pub fn checked(&self) -> Checked {
        self.checks.checked()
    }

    /// Compares images, and repairs those that differ if there is a repairer. `failures` say why
    /// other images could not be compared; they go into the report. `watch` sees every image as
    /// soon as it is settled.
    pub async fn run(
        &self,
        tasks: &[Task],
        failures: Vec<Failure>,
        repairer: Option<&Repairer>,
        cancel: &CancellationToken,
        watch: &(dyn Fn(&ImageReport) + Sync),
    ) -> VerifyReport {
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
        tasks: &[Task],
        repairer: Option<&Repairer>,
        settle: &(dyn Fn(ImageReport) + Sync),
    ) {
        let mut unequal: Vec<(usize, Compared)> = Vec::new();
        let mut compared = futures_util::stream::iter(0..tasks.len())
            .map(|at| async move { (at, self.compare(&tasks[at]).await) })
            .buffer_unordered(IMAGES);
        while let Some((at, compared)) = compared.next().await {
            if is_withheld(&tasks[at].1, &compared.report) {
                self.withheld.fetch_add(1, Ordering::Relaxed);
            } else if compared.report.outcome == ImageOutcome::Different && repairer.is_some() {
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
        compare(&self.checks, &self.memory.begin(), pair, item).await
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

/// Whether the only thing wrong is that a cleanup rule deleted the image.
fn is_withheld(item: &Item, report: &ImageReport) -> bool {
    let Some(withdrawn) = item.withdrawn.as_ref().map(Digest::to_string) else { return false };
    let is_missing = |problem: &Problem| problem.kind == ProblemKind::ImageMissing;
    report.outcome == ImageOutcome::Different
        && report.problems.iter().all(is_missing)
        && [&report.source_digest, &report.expected_digest].contains(&&Some(withdrawn))
}
