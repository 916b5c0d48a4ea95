//! What a run has done until now: it survives an interruption, and can be looked at meanwhile.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::report::{Counts, Failure, ImageReport, RuleReport};
use super::{RunSpec, Stop};

/// How far a run has come, for who looks at it from outside.
#[derive(Debug, Default)]
pub struct RunProgress {
    now: Mutex<Snapshot>,
}

/// A run at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// Images that the rule selects, as far as lists were read, once for each target. Those that
    /// `counts` lacks are still to be looked at or under way.
    pub considered: usize,
    pub counts: Counts,
    /// Bytes of blobs sent to targets, of images that are settled.
    pub bytes: u64,
}

impl RunProgress {
    pub fn snapshot(&self) -> Snapshot {
        *lock(&self.now)
    }

    fn change(&self, change: impl FnOnce(&mut Snapshot)) {
        change(&mut lock(&self.now));
    }
}

/// One run's own view of the same: its report as it grows.
pub(super) struct Progress<'a> {
    report: Mutex<RuleReport>,
    live: &'a RunProgress,
    stop: &'a Stop,
    watch: &'a (dyn Fn(&ImageReport) + Sync),
}

impl<'a> Progress<'a> {
    pub fn new(spec: &RunSpec<'a>) -> Self {
        Self {
            report: Mutex::new(RuleReport::new(&spec.rule.name, spec.mode)),
            live: spec.progress,
            stop: spec.stop,
            watch: spec.watch,
        }
    }

    pub fn image(&self, image: ImageReport) {
        (self.watch)(&image);
        self.live.change(|now| {
            now.counts.add(image.action);
            now.bytes += image.bytes;
        });
        self.change(|report| {
            report.counts.add(image.action);
            report.bytes += image.bytes;
            report.images.push(image);
        });
    }

    /// So many images more are to be looked at.
    pub fn considered(&self, images: usize) {
        self.live.change(|now| now.considered += images);
    }

    /// So many of them are not there after all.
    pub fn withdrawn(&self, images: usize) {
        self.live.change(|now| now.considered -= images);
    }

    /// Images in step are counted, not listed: there may be very many.
    pub fn unchanged(&self, images: usize) {
        self.live.change(|now| now.counts.unchanged += images);
        self.change(|report| report.counts.unchanged += images);
    }

    pub fn failure(&self, failure: Failure) {
        self.change(|report| report.failures.push(failure));
    }

    /// Something was not begun, because the run is to stop.
    pub fn left_out(&self) {
        self.change(|report| report.interrupted = true);
    }

    pub fn change(&self, change: impl FnOnce(&mut RuleReport)) {
        change(&mut lock(&self.report));
    }

    /// When nothing new may be begun.
    pub fn soon(&self) -> &CancellationToken {
        &self.stop.soon
    }

    pub fn into_report(self) -> RuleReport {
        self.report.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Plain data, valid after any panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
