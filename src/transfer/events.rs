//! What happens during transfers, as events: the one way in which bytes and blobs are counted.
//!
//! A transfer reports each event once (`reporter`). Whatever counts hears of it: the transfer's own
//! progress, and the [`TransferListener`]s of the process: its totals, the metrics.

use std::fmt::Debug;

use crate::fair::Flow;

/// Which transfer an event belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferId {
    /// Unique within this process.
    pub number: u64,
    pub flow: Flow,
    /// `host/repository:tag` or `host/repository@digest`.
    pub source: String,
    /// The same for each target.
    pub targets: Vec<String>,
}

/// Something that happened during a transfer. Amounts are bytes of blobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferEvent {
    /// Manifests were read: the targets are to hold so many bytes more, counted once for each.
    Expected(u64),
    /// A chunk arrived from the source.
    Received(u64),
    /// A chunk was handed to a target's upload. Bytes that are sent twice are reported twice.
    Sent(u64),
    /// A target's upload holds the first `to` bytes of a blob; it held `from` before.
    Moved { from: u64, to: u64 },
    /// A target has a blob of this size now.
    Placed { fate: BlobFate, size: u64 },
    /// Blobs of this size, reported as placed before, may be missing and are looked up again.
    Doubted(u64),
    /// The transfer is not stalled: a request was answered, or it waits for its turn.
    Alive,
}

/// How a target came to have a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobFate {
    /// It was sent over the wire.
    Sent,
    /// The target mounted it from another of its repositories.
    Mounted,
    /// It was there already.
    Present,
}

impl BlobFate {
    pub const ALL: [Self; 3] = [Self::Sent, Self::Mounted, Self::Present];

    /// The label of metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Mounted => "mounted",
            Self::Present => "present",
        }
    }
}

/// Counts events of all transfers of a process.
pub trait TransferListener: Debug + Send + Sync {
    /// Called for every chunk, so it must neither wait nor allocate then. `store`: the registry
    /// (or folder of layouts) at which it happened; empty where it concerns the whole transfer.
    fn on_event(&self, transfer: &TransferId, store: &str, event: TransferEvent);
}
