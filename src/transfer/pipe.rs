//! The byte pipe: source → SHA-256 → the uploads of one or several targets at the same time.
//!
//! Every byte of every blob passes [`Pipe::pump`], and nothing else moves bytes: a limit on
//! bandwidth belongs there. The last chunk is held back until the digest is known, so a target
//! never gets a whole blob with wrong bytes in it.

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::blob_turns::SourceWait;
use super::checkpoints::{Checkpoints, STRIDE};
use super::events::TransferEvent;
use super::journal::UploadJournal;
use super::on_wire::BlobOnWire;
use super::reporter::{Reporter, UploadPosition};
use super::retry::Pauses;
use super::source_reader::{Read, SourceReader, corrupt};
use super::target::left_behind;
use crate::hashing::Hashing;
use crate::oci::Descriptor;
use crate::repository::{
    BlobBody, BodyAborted, Cause, Error, Repository, Result, Traffic, UploadSession, unless_stalled,
};

/// Chunks on their way to one target: the memory that a slow target costs.
const CHUNKS_IN_FLIGHT: usize = 2;

/// An upload of a blob that was opened at a target.
pub(super) struct Upload<'a> {
    pub target: &'a dyn Repository,
    pub session: UploadSession,
    pub position: UploadPosition<'a>,
    /// Other targets get the blob as well, and do not wait for this one.
    pub has_company: bool,
}

impl<'a> Upload<'a> {
    /// Waits for the target. `None`: it has stalled, and others do not wait for it.
    async fn answer<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        if self.has_company {
            unless_stalled(self.target, Traffic::Write, work).await
        } else {
            Some(work.await)
        }
    }
}

/// How reading the source ended.
pub(super) enum ReadEnd {
    /// Every byte was read, and the digest is right.
    Whole,
    /// All targets had ended their uploads before.
    Unwanted,
    /// The source has a blob of this size instead. No target has got its last bytes.
    OtherSize(u64),
}

/// One blob on its way from its source.
pub(super) struct Pipe<'a> {
    pub source: &'a dyn Repository,
    pub blob: &'a Descriptor,
    pub reporter: &'a Reporter<'a>,
    pub on_wire: &'a BlobOnWire<'a>,
    pub journal: &'a UploadJournal,
    pub pauses: Pauses,
    /// For those who wait for the blob, too.
    pub wait: &'a SourceWait,
}

/// The pipe's end at one target.
struct Sink<'a> {
    upload: &'a Upload<'a>,
    /// Bytes before this one are at the target already.
    wants_from: u64,
    sender: mpsc::Sender<std::result::Result<Bytes, BodyAborted>>,
    /// Done when the target's upload has begun to take bytes, or has ended.
    begun: Option<oneshot::Receiver<()>>,
    /// The target's upload has ended. It may end before it has read everything, and its
    /// receiver of bytes need neither read on nor be closed then.
    ended: CancellationToken,
    /// Ends the target's upload: it has stalled, and others go on without it.
    left: CancellationToken,
    gone: bool,
}

impl<'a> Sink<'a> {
    /// Opens a pipe to an upload; the future is the upload's request.
    fn open(
        upload: &'a Upload<'a>,
        blob: &'a Descriptor,
    ) -> (Self, impl Future<Output = Result<()>>) {
        let (sender, receiver) = mpsc::channel(CHUNKS_IN_FLIGHT);
        let (begin, begun) = oneshot::channel();
        let (ended, left) = (CancellationToken::new(), CancellationToken::new());
        let (at_end, is_left) = (ended.clone().drop_guard(), left.clone());
        let wants_from = upload.session.offset.min(blob.size);
        upload.position.move_to(wants_from);
        let parts = (receiver, Some(begin));
        let chunks = futures_util::stream::unfold(parts, |(mut receiver, begin)| async {
            if let Some(begin) = begin {
                // An error says that nobody waits for it any more.
                let _ = begin.send(());
            }
            receiver.recv().await.map(|chunk| (chunk, (receiver, None)))
        });
        let body = BlobBody { length: blob.size - wants_from, chunks: chunks.boxed() };
        let request = upload.target.finish_upload(&upload.session, &blob.digest, body);
        let request = async move {
            let _at_end = at_end;
            let sent = is_left.run_until_cancelled(request).await;
            sent.unwrap_or_else(|| Err(left_behind(upload.target)))
        };
        let begun = Some(begun);
        (Self { upload, wants_from, sender, begun, ended, left, gone: false }, request)
    }

    /// Waits until the target takes bytes, or has ended its upload.
    async fn until_begun(&mut self) {
        let Some(begun) = self.begun.take() else { return };
        let begun = async {
            tokio::select! {
                _ = begun => {}
                () = self.ended.cancelled() => {}
            }
        };
        if self.upload.answer(begun).await.is_none() {
            self.leave();
        }
    }

    fn leave(&mut self) {
        self.gone = true;
        self.left.cancel();
    }

    /// Gives the target the part of a chunk that it wants. The chunk begins at byte `begin`.
    async fn send(&mut self, begin: u64, chunk: &Bytes) {
        let skip = usize::try_from(self.wants_from.saturating_sub(begin)).unwrap_or(usize::MAX);
        if self.gone || skip >= chunk.len() {
            return;
        }
        let wanted = chunk.slice(skip..);
        let length = wanted.len();
        self.push(Ok(wanted)).await;
        self.upload.position.sent(length, begin + chunk.len() as u64);
    }

    /// Gives the target bytes, or the word that no more come, unless it is gone.
    async fn push(&mut self, chunk: std::result::Result<Bytes, BodyAborted>) {
        let sent = async {
            tokio::select! {
                biased;
                () = self.ended.cancelled() => false,
                sent = self.sender.send(chunk) => sent.is_ok(),
            }
        };
        match self.upload.answer(sent).await {
            Some(sent) => self.gone |= !sent,
            None => self.leave(),
        }
    }
}

impl Pipe<'_> {
    /// Reads the source once, for all uploads. The first result is the source's; the others are
    /// the uploads', in their order.
    pub async fn run(
        &self,
        checkpoints: &mut Checkpoints,
        uploads: &[&Upload<'_>],
    ) -> (Result<ReadEnd>, Vec<Result<()>>) {
        let (mut sinks, requests): (Vec<_>, Vec<_>) =
            uploads.iter().map(|upload| Sink::open(upload, self.blob)).unzip();
        let pump = async {
            let read = self.pump(checkpoints, &mut sinks);
            let read = self.reporter.stop().run_until_cancelled(read).await;
            let read = read.unwrap_or_else(|| Err(self.interrupted()));
            if matches!(read, Err(_) | Ok(ReadEnd::OtherSize(_))) {
                for sink in &mut sinks {
                    sink.push(Err(BodyAborted)).await;
                }
            }
            drop(sinks);
            read
        };
        tokio::join!(pump, join_all(requests))
    }

    fn interrupted(&self) -> Error {
        let subject = format!("{}@{}", self.source.name(), self.blob.digest);
        Error::new("copy blob", subject, Cause::Interrupted)
    }

    /// Reads, hashes and hands out the blob, from the lowest byte that a target wants.
    async fn pump(&self, checkpoints: &mut Checkpoints, sinks: &mut [Sink<'_>]) -> Result<ReadEnd> {
        self.until_all_have_begun(sinks).await;
        let lowest = sinks.iter().map(|sink| sink.wants_from).min().unwrap_or_default();
        let (start, hasher) = checkpoints.at_or_before(lowest);
        let mut hashing = Hashing::new(hasher);
        let mut source = SourceReader::new(self.source, self.blob, start, self.pauses);
        let mut next_checkpoint = start + STRIDE;
        let mut held: Option<(u64, Bytes)> = None;
        while source.is_unread() {
            if sinks.iter().all(|sink| sink.gone) {
                return Ok(ReadEnd::Unwanted); // Each target's own error says why.
            }
            let begin = source.at();
            self.wait.begin();
            let chunk = match source.next().await? {
                Read::Bytes(chunk) => chunk,
                Read::BrokeOff => continue,
                Read::OtherSize(size) => return Ok(ReadEnd::OtherSize(size)),
            };
            self.wait.end();
            self.on_wire.reached(source.at());
            hashing.update(&chunk).await;
            self.reporter.report(self.source.store(), TransferEvent::Received(chunk.len() as u64));
            if let Some((begin, chunk)) = held.replace((begin, chunk)) {
                hand_out(sinks, begin, &chunk).await;
            }
            if source.at() >= next_checkpoint {
                next_checkpoint = source.at() + STRIDE;
                let targets = sinks.iter().map(|sink| sink.upload.target);
                let hasher = hashing.state().await;
                self.journal.add_checkpoint(self.blob, targets, source.at(), &hasher);
                checkpoints.add(source.at(), hasher);
            }
        }
        let found = hashing.finish().await;
        if found != self.blob.digest {
            let what = format!("has {} bytes whose digest is {found}", source.at());
            return Err(corrupt(self.source, self.blob, &what));
        }
        if let Some((begin, chunk)) = held {
            hand_out(sinks, begin, &chunk).await;
        }
        Ok(ReadEnd::Whole)
    }

    /// Waits before the source is opened: an upload may have to wait for its turn, and the source
    /// would close a connection that is idle meanwhile.
    async fn until_all_have_begun(&self, sinks: &mut [Sink<'_>]) {
        self.reporter.waiting(join_all(sinks.iter_mut().map(Sink::until_begun))).await;
    }
}

async fn hand_out(sinks: &mut [Sink<'_>], begin: u64, chunk: &Bytes) {
    for sink in sinks {
        sink.send(begin, chunk).await;
    }
}
