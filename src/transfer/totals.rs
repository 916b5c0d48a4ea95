//! The totals of a process: what all transfers have moved until now.

use std::sync::atomic::{AtomicU64, Ordering};

use super::events::{BlobFate, TransferEvent, TransferId, TransferListener};

/// Counters that only grow and can be read at any time.
#[derive(Debug, Default)]
pub(super) struct Totals {
    received: AtomicU64,
    sent: AtomicU64,
    blobs: BlobCounts,
}

/// The totals at one time.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct TransferTotals {
    /// Bytes of blobs read from sources.
    pub received_bytes: u64,
    /// Bytes of blobs sent to targets, retries included.
    pub sent_bytes: u64,
    /// Blobs sent over the wire.
    pub blobs_sent: u64,
    /// Blobs mounted from another repository of the target.
    pub blobs_mounted: u64,
    /// Blobs that a target had.
    pub blobs_present: u64,
}

/// Blobs by how their targets came to have them.
#[derive(Debug, Default)]
pub(super) struct BlobCounts([AtomicU64; BlobFate::ALL.len()]);

impl BlobCounts {
    pub fn add(&self, fate: BlobFate) {
        self.0[fate as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub fn get(&self, fate: BlobFate) -> u64 {
        self.0[fate as usize].load(Ordering::Relaxed)
    }
}

impl Totals {
    pub fn read(&self) -> TransferTotals {
        TransferTotals {
            received_bytes: self.received.load(Ordering::Relaxed),
            sent_bytes: self.sent.load(Ordering::Relaxed),
            blobs_sent: self.blobs.get(BlobFate::Sent),
            blobs_mounted: self.blobs.get(BlobFate::Mounted),
            blobs_present: self.blobs.get(BlobFate::Present),
        }
    }
}

impl TransferListener for Totals {
    fn on_event(&self, _: &TransferId, _: &str, event: TransferEvent) {
        match event {
            TransferEvent::Received(bytes) => {
                self.received.fetch_add(bytes, Ordering::Relaxed);
            }
            TransferEvent::Sent(bytes) => {
                self.sent.fetch_add(bytes, Ordering::Relaxed);
            }
            TransferEvent::Placed { fate, .. } => self.blobs.add(fate),
            TransferEvent::Expected(_)
            | TransferEvent::Moved { .. }
            | TransferEvent::Doubted(_)
            | TransferEvent::Alive => {}
        }
    }
}
