//! Images and blobs on their way.

use std::time::Duration;

use prometheus::{Gauge, IntCounterVec, IntGauge};

use super::families::Families;

/// How a target came to have a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobFate {
    /// It went over the wire.
    Sent,
    /// The target took it from another repository of its own.
    Mounted,
    /// It was there.
    Present,
}

/// What moves, and what did not need to.
pub struct TransferMetrics {
    blobs: IntCounterVec,
    saved: IntCounterVec,
    in_progress: IntGauge,
    stalled: Gauge,
}

impl TransferMetrics {
    pub(super) fn new(families: &Families<'_>) -> Self {
        Self {
            blobs: families.counters(
                "tranship_blobs_total",
                "Blobs needed at targets: sent, mounted or already present.",
                &["registry", "fate"],
            ),
            saved: families.counters(
                "tranship_blobs_saved_bytes_total",
                "Bytes of blobs that were mounted or present and so needed no transfer.",
                &["registry"],
            ),
            in_progress: families
                .gauge("tranship_transfers_in_progress", "Images being transferred."),
            stalled: families.seconds(
                "tranship_transfers_longest_stall_seconds",
                "Time since the last byte of the transfer that has been idle longest; 0 without transfers.",
            ),
        }
    }

    /// A target has a blob of this size. `store`: its registry's host, or a folder of layouts.
    pub fn blob(&self, store: &str, fate: BlobFate, bytes: u64) {
        let label = match fate {
            BlobFate::Sent => "sent",
            BlobFate::Mounted => "mounted",
            BlobFate::Present => "present",
        };
        self.blobs.with_label_values(&[store, label]).inc();
        if fate != BlobFate::Sent {
            self.saved.with_label_values(&[store]).inc_by(bytes);
        }
    }

    /// The transfers of this moment: how many, and the longest time that one of them has not
    /// moved. To be set before metrics are rendered.
    pub fn under_way(&self, transfers: usize, longest_stall: Duration) {
        self.in_progress.set(i64::try_from(transfers).unwrap_or(i64::MAX));
        self.stalled.set(longest_stall.as_secs_f64());
    }
}
