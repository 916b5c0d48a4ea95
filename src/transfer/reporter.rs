//! Transfers under way, and the handle through which each reports what it does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::events::{BlobFate, TransferEvent, TransferId, TransferListener};
use super::job::{Job, Target};
use super::on_wire::{BlobOnWire, BlobsOnWire};
use super::progress::{Progress, TransferStatus};
use crate::fair::{self, Pulses};
use crate::metrics::Metrics;
use crate::trace;

/// All transfers of a process that are under way.
#[derive(Debug)]
pub(super) struct ActiveTransfers {
    begun: AtomicU64,
    active: Mutex<BTreeMap<u64, Arc<Progress>>>,
    pub blobs: BlobsOnWire,
    listeners: Vec<Arc<dyn TransferListener>>,
    pulses: Pulses,
}

/// How much of one blob the upload to one target holds, reported whenever it changes.
#[derive(Debug)]
pub(super) struct UploadPosition<'a> {
    reporter: &'a Reporter<'a>,
    store: &'a str,
    at: AtomicU64,
    /// Bytes that were sent for the image.
    sent: &'a AtomicU64,
}

/// One transfer's handle for its events. The transfer is listed until this is dropped.
#[derive(Debug)]
pub(super) struct Reporter<'a> {
    transfers: &'a ActiveTransfers,
    progress: Arc<Progress>,
    stop: CancellationToken,
}

impl ActiveTransfers {
    pub fn new(listeners: Vec<Arc<dyn TransferListener>>, pulses: Pulses) -> Self {
        let (active, blobs) = (Mutex::default(), BlobsOnWire::default());
        Self { begun: AtomicU64::new(0), active, blobs, listeners, pulses }
    }

    pub fn add_listener(&mut self, listener: Arc<dyn TransferListener>) {
        self.listeners.push(listener);
    }

    pub fn begin(&self, job: &Job) -> Reporter<'_> {
        let target =
            |target: &Target| format!("{}{}", target.repository.name(), target.placement.suffix());
        let id = TransferId {
            number: self.begun.fetch_add(1, Ordering::Relaxed),
            flow: job.flow,
            source: format!("{}{}", job.source.name(), job.reference.suffix()),
            targets: job.targets.iter().map(target).collect(),
        };
        let mut reporter = self.begin_as(id);
        reporter.stop = job.stop.clone();
        reporter
    }

    pub(super) fn begin_as(&self, id: TransferId) -> Reporter<'_> {
        let number = id.number;
        let progress = Arc::new(Progress::new(id));
        self.active.lock().insert(number, progress.clone());
        Reporter { transfers: self, progress, stop: CancellationToken::new() }
    }

    /// The oldest first.
    pub fn list(&self) -> Vec<TransferStatus> {
        self.active.lock().values().map(|progress| progress.status()).collect()
    }
}

impl Reporter<'_> {
    /// The transfer's span for traces.
    pub fn span(&self) -> tracing::Span {
        trace::image(&self.progress.id.source, &self.progress.id.targets)
    }

    pub fn flow(&self) -> fair::Flow {
        self.progress.id.flow
    }

    /// When uploads are to end so that they can be resumed.
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Something happened at a registry, or folder of layouts.
    pub fn report(&self, store: &str, event: TransferEvent) {
        if event != TransferEvent::Alive {
            self.transfers.pulses.progress(self.flow());
        }
        self.progress.on_event(event);
        for listener in &self.transfers.listeners {
            listener.on_event(&self.progress.id, store, event);
        }
    }

    pub fn alive(&self) {
        self.report("", TransferEvent::Alive);
    }

    /// A blob of this size is on the wire until the guard is dropped.
    pub fn on_wire(&self, size: u64) -> BlobOnWire<'_> {
        let TransferId { source, targets, .. } = &self.progress.id;
        // The source is often a digest, where the target has the tag.
        self.transfers.blobs.begin(targets.first().unwrap_or(source), size)
    }

    /// Waits for its turn to bring a blob of this size, which another transfer may bring meanwhile.
    pub async fn awaiting<T>(&self, size: u64, turn: impl Future<Output = T>) -> T {
        let _awaited = self.progress.awaits(size);
        self.waiting(turn).await
    }

    /// Waits for other transfers, which does not count as a stall.
    pub async fn waiting<T>(&self, turn: impl Future<Output = T>) -> T {
        fair::waiting(turn, || self.alive()).await
    }
}

impl<'a> UploadPosition<'a> {
    /// Nothing of the blob has been uploaded. `sent` counts the bytes that will be.
    pub fn start(reporter: &'a Reporter<'a>, store: &'a str, sent: &'a AtomicU64) -> Self {
        Self { reporter, store, at: AtomicU64::new(0), sent }
    }

    /// The target holds the blob's first `to` bytes, which may be fewer than before.
    pub fn move_to(&self, to: u64) {
        let from = self.at.swap(to, Ordering::Relaxed);
        self.reporter.report(self.store, TransferEvent::Moved { from, to });
    }

    /// A chunk that ends at `to` was handed to the upload.
    pub fn sent(&self, bytes: usize, to: u64) {
        self.move_to(to);
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
        self.reporter.report(self.store, TransferEvent::Sent(bytes as u64));
    }
}

impl Drop for Reporter<'_> {
    fn drop(&mut self) {
        self.transfers.active.lock().remove(&self.progress.id.number);
    }
}

impl TransferListener for Metrics {
    fn on_event(&self, _: &TransferId, store: &str, event: TransferEvent) {
        if let TransferEvent::Placed { fate, size } = event {
            let saved = if fate == BlobFate::Sent { 0 } else { size };
            self.transfers().blob(store, fate.as_str(), saved);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fair::Flow;

    const STORE: &str = "t";

    fn id() -> TransferId {
        TransferId {
            number: 3,
            flow: Flow::new(7),
            source: "s/app:v1".to_owned(),
            targets: vec!["t/app:v1".to_owned()],
        }
    }

    #[tokio::test(start_paused = true)]
    async fn two_targets_one_that_resumes_and_one_that_begins_anew() {
        let transfers = ActiveTransfers::new(Vec::new(), Pulses::default());
        let transfer = transfers.begin_as(id());
        let present = TransferEvent::Placed { fate: BlobFate::Present, size: 100 };
        let moved = || {
            let status = transfers.list().remove(0);
            (status.bytes_done, status.bytes_sent)
        };
        // A blob of 100 bytes that one target has, and one of 1 000 that no target has.
        transfer.report("", TransferEvent::Expected(2 * 1_100));
        transfer.report(STORE, present);
        let sent = AtomicU64::new(0);
        let one = UploadPosition::start(&transfer, STORE, &sent);
        let other = UploadPosition::start(&transfer, "other", &sent);
        // An earlier process has brought 400 bytes to the first one.
        one.move_to(400);
        assert_eq!(moved(), (500, 0));
        one.sent(300, 700);
        other.sent(700, 700);
        assert_eq!(moved(), (1_500, 1_000));
        // The other one has lost what it had.
        other.move_to(0);
        assert_eq!(moved(), (800, 1_000));
        one.move_to(1_000);
        other.move_to(1_000);
        transfer.report(STORE, TransferEvent::Placed { fate: BlobFate::Sent, size: 1_000 });
        transfer.report(STORE, present);
        let status = transfers.list().remove(0);
        assert_eq!((status.bytes_done, status.bytes_total), (2_200, 2_200));
        drop(transfer);
        assert!(transfers.list().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_another_transfer_brings_is_awaited_until_it_is_there() {
        let transfers = ActiveTransfers::new(Vec::new(), Pulses::default());
        let transfer = transfers.begin_as(id());
        let awaited = || transfers.list().remove(0).bytes_awaited;
        let turn = transfer.awaiting(70, async { awaited() });
        assert_eq!((turn.await, awaited()), (70, 0));
        let given_up = transfer.awaiting(70, std::future::pending::<()>());
        assert!(tokio::time::timeout(Duration::from_secs(1), given_up).await.is_err());
        assert_eq!(awaited(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stall_shows_but_waiting_for_a_turn_is_not_one() {
        let transfers = ActiveTransfers::new(Vec::new(), Pulses::default());
        let transfer = transfers.begin_as(id());
        let status = || transfers.list().remove(0);
        let second = Duration::from_secs(1);
        tokio::time::sleep(90 * second).await;
        assert_eq!(status().last_progress, status().started);
        transfer.alive();
        assert_eq!(status().last_progress.elapsed(), Duration::ZERO);
        tokio::time::sleep(90 * second).await;
        assert_eq!(status().last_progress.elapsed(), 90 * second);
        transfer.waiting(tokio::time::sleep(600 * second)).await;
        assert!(status().last_progress.elapsed() <= fair::HEARTBEAT);
    }

    /// Every listener hears of every event once, with the transfer and where it happened.
    #[test]
    fn listeners_hear_each_event_once() {
        #[derive(Debug, Default)]
        struct Heard(Mutex<Vec<(u64, String, TransferEvent)>>);
        impl TransferListener for Heard {
            fn on_event(&self, transfer: &TransferId, store: &str, event: TransferEvent) {
                self.0.lock().push((transfer.number, store.to_owned(), event));
            }
        }
        let heard = Arc::new(Heard::default());
        let mut transfers = ActiveTransfers::new(vec![heard.clone()], Pulses::default());
        transfers.add_listener(heard.clone());
        let transfer = transfers.begin_as(id());
        UploadPosition::start(&transfer, STORE, &AtomicU64::new(0)).sent(5, 5);
        let expected = [TransferEvent::Moved { from: 0, to: 5 }, TransferEvent::Sent(5)]
            .map(|event| (3, STORE.to_owned(), event));
        let of_both = expected.into_iter().flat_map(|event| [event.clone(), event]);
        assert_eq!(*heard.0.lock(), of_both.collect::<Vec<_>>());
    }
}
