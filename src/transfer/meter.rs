//! What was moved, as counters that can be read at any time.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one run. All only grow.
#[derive(Debug, Default)]
pub struct Meter {
    received: AtomicU64,
    sent: AtomicU64,
    blobs: AtomicU64,
    mounted: AtomicU64,
    present: AtomicU64,
}

/// The counters at one moment.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Reading {
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

impl Meter {
    pub(super) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn blob(&self, fate: super::blobs::Fate) {
        use super::blobs::Fate;
        let counter = match fate {
            Fate::Sent => &self.blobs,
            Fate::Mounted => &self.mounted,
            Fate::Present => &self.present,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub fn read(&self) -> Reading {
        Reading {
            received_bytes: self.received.load(Ordering::Relaxed),
            sent_bytes: self.sent.load(Ordering::Relaxed),
            blobs_sent: self.blobs.load(Ordering::Relaxed),
            blobs_mounted: self.mounted.load(Ordering::Relaxed),
            blobs_present: self.present.load(Ordering::Relaxed),
        }
    }
}
