//! Images and blobs under way.

use std::time::Duration;

use prometheus::{Gauge, IntCounterVec, IntGauge};

use super::families::Families;

/// What moves, and what did not have to.
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

    /// A target has a blob. `store`: its registry's host, or a folder of layouts. `fate`: how it
    /// came to have it; `saved`: the bytes that did not have to be sent for it.
    pub fn blob(&self, store: &str, fate: &'static str, saved: u64) {
        self.blobs.with_label_values(&[store, fate]).inc();
        if saved > 0 {
            self.saved.with_label_values(&[store]).inc_by(saved);
        }
    }

    /// How many transfers are under way, and the longest time that one of them has not moved. To
    /// be set before metrics are rendered.
    pub fn under_way(&self, transfers: usize, longest_stall: Duration) {
        self.in_progress.set(i64::try_from(transfers).unwrap_or(i64::MAX));
        self.stalled.set(longest_stall.as_secs_f64());
    }
}
