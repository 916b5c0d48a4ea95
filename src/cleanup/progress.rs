//! How far a run of a cleanup rule has come, for observers.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Counts what is done. Numbers only grow.
#[derive(Debug, Default)]
pub struct CleanupProgress {
    /// Which repositories there are is known.
    is_listed: AtomicBool,
    repositories: AtomicUsize,
    finished: AtomicUsize,
    manifests: AtomicUsize,
    steps: AtomicUsize,
    steps_done: AtomicUsize,
}

/// A run at one moment.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Cleaned {
    /// Which repositories there are is known.
    pub is_listed: bool,
    /// Repositories of the rule.
    pub repositories: usize,
    /// Of these, those that are planned and, where plans are carried out, cleaned up.
    pub finished: usize,
    /// Manifests looked at, as often as that was done.
    pub manifests: usize,
    /// Deletions of the plans that are being carried out.
    pub steps: usize,
    /// Of these, those that were tried.
    pub steps_done: usize,
}

impl CleanupProgress {
    pub fn now(&self) -> Cleaned {
        let get = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        Cleaned {
            is_listed: self.is_listed.load(Ordering::Acquire),
            repositories: get(&self.repositories),
            finished: get(&self.finished),
            manifests: get(&self.manifests),
            steps: get(&self.steps),
            steps_done: get(&self.steps_done),
        }
    }

    pub(super) fn listed(&self, repositories: usize) {
        self.repositories.store(repositories, Ordering::Relaxed);
        self.is_listed.store(true, Ordering::Release);
    }

    pub(super) fn finished(&self) {
        self.finished.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn manifest(&self) {
        self.manifests.fetch_add(1, Ordering::Relaxed);
    }

    /// So many deletions are about to be carried out.
    pub(super) fn steps(&self, steps: usize) {
        self.steps.fetch_add(steps, Ordering::Relaxed);
    }

    /// Counts the deletions that were tried.
    pub(super) fn steps_done(&self) -> &AtomicUsize {
        &self.steps_done
    }
}
