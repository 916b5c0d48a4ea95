//! The progress of one transfer: how far it has come, and when it last moved.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::events::{BlobFate, TransferEvent, TransferId};

/// One transfer at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferStatus {
    pub id: TransferId,
    pub started: Instant,
    /// Bytes of blobs that the targets have: found there, mounted, or sent, by this process or
    /// the one before. Falls when an upload has to begin anew.
    pub bytes_done: u64,
    /// Bytes of blobs that the targets are to have, once for each, as far as manifests were read.
    pub bytes_total: u64,
    /// Of these, those that another transfer brings to the target, so that this one sends nothing.
    pub bytes_awaited: u64,
    /// Bytes of blobs put on the wire, those sent twice included. Only grows, so that rates can be
    /// taken from it.
    pub bytes_sent: u64,
    /// When bytes last moved, a request was answered, or the transfer waited for its turn.
    pub last_progress: Instant,
}

/// Counts the events of one transfer.
#[derive(Debug)]
pub(super) struct Progress {
    pub id: TransferId,
    started: Instant,
    done: AtomicU64,
    total: AtomicU64,
    awaited: AtomicU64,
    sent: AtomicU64,
    /// Milliseconds from `started` to the last progress.
    last_progress: AtomicU64,
}

/// Bytes that a transfer waits for.
#[derive(Debug)]
pub(super) struct Awaited<'a> {
    progress: &'a Progress,
    bytes: u64,
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        self.progress.awaited.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Progress {
    pub fn new(id: TransferId) -> Self {
        Self {
            id,
            started: Instant::now(),
            done: AtomicU64::new(0),
            total: AtomicU64::new(0),
            awaited: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            last_progress: AtomicU64::new(0),
        }
    }

    pub fn on_event(&self, event: TransferEvent) {
        match event {
            TransferEvent::Expected(bytes) => {
                self.total.fetch_add(bytes, Ordering::Relaxed);
            }
            TransferEvent::Sent(bytes) => {
                self.sent.fetch_add(bytes, Ordering::Relaxed);
            }
            // Bytes that were sent are in `done` already: the upload has moved.
            TransferEvent::Placed { fate: BlobFate::Sent, .. }
            | TransferEvent::Received(_)
            | TransferEvent::Alive => {}
            TransferEvent::Placed { size, .. } => {
                self.done.fetch_add(size, Ordering::Relaxed);
            }
            TransferEvent::Moved { from, to } => {
                // Wraps where `to` is less: the sum is right all the same.
                self.done.fetch_add(to.wrapping_sub(from), Ordering::Relaxed);
                return;
            }
            TransferEvent::Doubted(bytes) => {
                self.done.fetch_sub(bytes, Ordering::Relaxed);
                return;
            }
        }
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_progress.fetch_max(elapsed, Ordering::Relaxed);
    }

    /// Bytes that another transfer brings, until the guard is dropped.
    pub fn awaits(&self, bytes: u64) -> Awaited<'_> {
        self.awaited.fetch_add(bytes, Ordering::Relaxed);
        Awaited { progress: self, bytes }
    }

    pub fn status(&self) -> TransferStatus {
        let total = self.total.load(Ordering::Relaxed);
        let last_progress = Duration::from_millis(self.last_progress.load(Ordering::Relaxed));
        TransferStatus {
            id: self.id.clone(),
            started: self.started,
            bytes_done: self.done.load(Ordering::Relaxed).min(total),
            bytes_total: total,
            bytes_awaited: self.awaited.load(Ordering::Relaxed),
            bytes_sent: self.sent.load(Ordering::Relaxed),
            last_progress: self.started + last_progress,
        }
    }
}
