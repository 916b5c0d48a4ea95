//! The totals of a process: what all transfers have moved until now; and those of single flows.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use super::events::{BlobFate, TransferEvent, TransferId, TransferListener};
use crate::fair::Flow;

/// Counters that only grow and can be read at any time.
#[derive(Debug, Default)]
pub(super) struct Totals {
    received: AtomicU64,
    sent: AtomicU64,
    blobs: BlobCounts,
}

/// The totals at one time.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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

impl TransferTotals {
    pub fn add(&mut self, other: Self) {
        self.received_bytes += other.received_bytes;
        self.sent_bytes += other.sent_bytes;
        self.blobs_sent += other.blobs_sent;
        self.blobs_mounted += other.blobs_mounted;
        self.blobs_present += other.blobs_present;
    }
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

/// The totals of those flows for which there is a [`Tally`].
#[derive(Debug, Default)]
pub(super) struct FlowTotals(RwLock<HashMap<Flow, Arc<Totals>>>);

/// What one flow moves for as long as this lives.
#[derive(Debug)]
pub struct Tally {
    flows: Arc<FlowTotals>,
    flow: Flow,
    totals: Arc<Totals>,
}

impl Tally {
    pub(super) fn begin(flows: &Arc<FlowTotals>, flow: Flow) -> Self {
        let totals = Arc::new(Totals::default());
        flows.0.write().insert(flow, Arc::clone(&totals));
        Self { flows: Arc::clone(flows), flow, totals }
    }

    pub fn read(&self) -> TransferTotals {
        self.totals.read()
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.flows.0.write().remove(&self.flow);
    }
}

impl TransferListener for FlowTotals {
    fn on_event(&self, transfer: &TransferId, store: &str, event: TransferEvent) {
        if let Some(totals) = self.0.read().get(&transfer.flow) {
            totals.on_event(transfer, store, event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_counts_one_flow_as_long_as_it_lives() {
        let flows = Arc::new(FlowTotals::default());
        let transfer = |flow| TransferId {
            number: 1,
            flow: Flow::new(flow),
            source: "s/app:v1".to_owned(),
            targets: vec!["t/app:v1".to_owned()],
        };
        let event = |flow, event| flows.on_event(&transfer(flow), "t", event);
        event(1, TransferEvent::Sent(1));
        let tally = Tally::begin(&flows, Flow::new(1));
        event(1, TransferEvent::Received(20));
        event(1, TransferEvent::Sent(300));
        event(1, TransferEvent::Placed { fate: BlobFate::Mounted, size: 5 });
        event(2, TransferEvent::Sent(4_000));
        let moved = TransferTotals {
            received_bytes: 20,
            sent_bytes: 300,
            blobs_mounted: 1,
            ..TransferTotals::default()
        };
        assert_eq!(tally.read(), moved);
        let mut twice = moved;
        twice.add(moved);
        assert_eq!((twice.sent_bytes, twice.blobs_mounted), (600, 2));
        drop(tally);
        assert!(flows.0.read().is_empty());
    }
}
