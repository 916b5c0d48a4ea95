//! Transfers under way, so that they can be watched from outside: how far each has come, and
//! when it last got anywhere.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::Job;
use crate::fair::{self, Flow};
use crate::trace;

/// One transfer at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferStatus {
    /// Of this process, never used twice.
    pub id: u64,
    pub flow: Flow,
    /// `host/repository:tag`, or `@digest`.
    pub source: String,
    /// The same of each target.
    pub targets: Vec<String>,
    pub started: Instant,
    /// Bytes of blobs that the targets have: found there, mounted, or sent, by this process or
    /// the one before. Falls where an upload has to begin anew.
    pub bytes_done: u64,
    /// Bytes of blobs that the targets are to have, once for each, as far as manifests were read.
    pub bytes_total: u64,
    /// Bytes of blobs put on the wire, those sent twice included. Only grows: rates come from it.
    pub bytes_sent: u64,
    /// When a byte came or went or a request was answered well. Waiting for one's turn is no
    /// standstill either.
    pub last_progress: Instant,
}

/// All transfers of a process.
#[derive(Debug, Default)]
pub(super) struct Underway {
    begun: AtomicU64,
    tallies: Mutex<BTreeMap<u64, Arc<Tally>>>,
}

/// What one transfer counts.
#[derive(Debug)]
pub(super) struct Tally {
    pub id: u64,
    pub flow: Flow,
    source: String,
    targets: Vec<String>,
    started: Instant,
    done: AtomicU64,
    total: AtomicU64,
    sent: AtomicU64,
    /// Milliseconds from `started` to the last progress.
    moved: AtomicU64,
}

/// A transfer that is listed until this is dropped.
pub(super) struct Listed<'a> {
    underway: &'a Underway,
    tally: Arc<Tally>,
}

impl Underway {
    pub fn begin(&self, job: &Job) -> Listed<'_> {
        let id = self.begun.fetch_add(1, Ordering::Relaxed);
        let target = |target: &super::Target| {
            format!("{}{}", target.repository.name(), target.placement.suffix())
        };
        let source = format!("{}{}", job.source.name(), job.reference.suffix());
        let targets = job.targets.iter().map(target).collect();
        let tally = Arc::new(Tally::new(id, job.flow, source, targets));
        self.tallies().insert(id, tally.clone());
        Listed { underway: self, tally }
    }

    /// The oldest first.
    pub fn list(&self) -> Vec<TransferStatus> {
        self.tallies().values().map(|tally| tally.status()).collect()
    }

    fn tallies(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Tally>>> {
        self.tallies.lock()
    }
}

impl Deref for Listed<'_> {
    type Target = Tally;

    fn deref(&self) -> &Tally {
        &self.tally
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.underway.tallies().remove(&self.tally.id);
    }
}

impl Tally {
    /// What traces show of the transfer.
    pub fn span(&self) -> tracing::Span {
        trace::image(&self.source, &self.targets)
    }

    pub fn new(id: u64, flow: Flow, source: String, targets: Vec<String>) -> Self {
        Self {
            id,
            flow,
            source,
            targets,
            started: Instant::now(),
            done: AtomicU64::new(0),
            total: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            moved: AtomicU64::new(0),
        }
    }

    /// Something was answered, or came, or went.
    pub fn touch(&self) {
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved.fetch_max(elapsed, Ordering::Relaxed);
    }

    /// So many bytes are to be at targets in the end.
    pub fn expect(&self, bytes: u64) {
        self.total.fetch_add(bytes, Ordering::Relaxed);
        self.touch();
    }

    /// So many are there that were not, without being sent.
    pub fn found(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
        self.touch();
    }

    /// So many that were taken to be there may not be.
    pub fn doubt(&self, bytes: u64) {
        self.done.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
        self.touch();
    }

    /// Waits for somebody else, which is no standstill.
    pub async fn waiting<T>(&self, turn: impl Future<Output = T>) -> T {
        fair::waiting(turn, || self.touch()).await
    }

    fn status(&self) -> TransferStatus {
        let total = self.total.load(Ordering::Relaxed);
        TransferStatus {
            id: self.id,
            flow: self.flow,
            source: self.source.clone(),
            targets: self.targets.clone(),
            started: self.started,
            bytes_done: self.done.load(Ordering::Relaxed).min(total),
            bytes_total: total,
            bytes_sent: self.sent.load(Ordering::Relaxed),
            last_progress: self.started + Duration::from_millis(self.moved.load(Ordering::Relaxed)),
        }
    }
}

/// How far the upload of one blob to one target has come.
#[derive(Debug)]
pub(super) struct Reached<'a> {
    pub tally: &'a Tally,
    at: AtomicU64,
}

impl<'a> Reached<'a> {
    pub fn nothing(tally: &'a Tally) -> Self {
        Self { tally, at: AtomicU64::new(0) }
    }

    /// The target has the blob's first `at` bytes, be that more or less than before.
    pub fn set(&self, at: u64) {
        let before = self.at.swap(at, Ordering::Relaxed);
        if at >= before {
            self.tally.done.fetch_add(at - before, Ordering::Relaxed);
        } else {
            self.tally.done.fetch_sub(before - at, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally() -> Tally {
        Tally::new(3, Flow::new(7), "s/app:v1".to_owned(), vec!["t/app:v1".to_owned()])
    }

    #[tokio::test(start_paused = true)]
    async fn two_targets_one_that_resumes_and_one_that_begins_anew() {
        let tally = tally();
        // A blob of 100 bytes that one target has, and one of 1 000 that nobody has.
        tally.expect(2 * 1_100);
        tally.found(100);
        let (one, other) = (Reached::nothing(&tally), Reached::nothing(&tally));
        // An earlier process has brought 400 bytes to the first one.
        one.set(400);
        assert_eq!((tally.status().bytes_done, tally.status().bytes_sent), (500, 0));
        for reached in [&one, &other] {
            reached.set(700);
        }
        tally.sent(300);
        tally.sent(700);
        assert_eq!((tally.status().bytes_done, tally.status().bytes_sent), (1_500, 1_000));
        // The other one has lost what it had.
        other.set(0);
        assert_eq!((tally.status().bytes_done, tally.status().bytes_sent), (800, 1_000));
        one.set(1_000);
        other.set(1_000);
        tally.found(100);
        let status = tally.status();
        assert_eq!((status.bytes_done, status.bytes_total), (2_200, 2_200));
    }

    #[tokio::test(start_paused = true)]
    async fn a_standstill_shows_and_waiting_for_ones_turn_is_none() {
        let tally = tally();
        let second = Duration::from_secs(1);
        tokio::time::sleep(90 * second).await;
        assert_eq!(tally.status().last_progress, tally.status().started);
        tally.touch();
        assert_eq!(tally.status().last_progress.elapsed(), Duration::ZERO);
        tokio::time::sleep(90 * second).await;
        assert_eq!(tally.status().last_progress.elapsed(), 90 * second);
        tally.waiting(tokio::time::sleep(600 * second)).await;
        assert!(tally.status().last_progress.elapsed() <= fair::HEARTBEAT);
    }
}
