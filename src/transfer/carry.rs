//! Carries one blob from its source to one or several targets: read once, hashed on the way,
//! committed only when every byte was right.
//!
//! The last chunk is held back until the digest is known, so a target never gets a whole blob
//! with wrong bytes in it. A source that breaks off is asked for the rest by range; a target that
//! breaks off is asked how far it got, and gets the rest.

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::Carrier;
use super::resume::{Breaks, FRUITLESS};
use super::trail::{STRIDE, Trail};
use super::underway::Reached;
use crate::oci::{Descriptor, Digest};
use crate::repository::{
    BlobBody, BlobReader, BodyAborted, Cause, Error, ErrorKind, Repository, Result, UploadSession,
    UploadStart,
};
use crate::state::{Point, UploadKey};

/// Blobs of this size and more are journalled: smaller ones are sent anew sooner than resumed.
pub const JOURNALLED: u64 = 64 << 20;
/// Chunks on their way to one target: the memory that a slow target costs.
const CHUNKS_IN_FLIGHT: usize = 2;

/// A target that wants a blob, and the upload that was begun there.
pub(super) struct Wish<'a> {
    pub target: &'a dyn Repository,
    pub session: UploadSession,
    pub reached: Reached<'a>,
}

/// One try's view of a target: where its bytes go.
struct Sink<'a> {
    /// Done when the target's upload has begun to take bytes, or has ended.
    begun: Option<oneshot::Receiver<()>>,
    sender: mpsc::Sender<std::result::Result<Bytes, BodyAborted>>,
    reached: &'a Reached<'a>,
    /// Bytes before this one are there already.
    wants_from: u64,
    /// The target's upload has ended. It may do so before it has read everything, and what it
    /// sent its bytes by need neither read on nor be closed.
    ended: CancellationToken,
    gone: bool,
}

impl Sink<'_> {
    /// Gives the target bytes, or the word that no more come, unless it is gone.
    async fn send(&mut self, chunk: std::result::Result<Bytes, BodyAborted>) {
        self.gone |= tokio::select! {
            biased;
            () = self.ended.cancelled() => true,
            sent = self.sender.send(chunk) => sent.is_err(),
        };
    }
}

/// How reading the source went.
enum ReadOutcome {
    /// Every byte was there and right.
    Whole,
    /// All targets were gone before the end.
    Unwanted,
    /// Wrong bytes came: worth another try from the start.
    Anew,
    Failed(Error),
}

impl Carrier {
    /// Carries the blob to all who wish it; the results are in their order.
    pub(super) async fn carry(
        &self,
        source: &dyn Repository,
        blob: &Descriptor,
        wishes: Vec<Wish<'_>>,
    ) -> Vec<Result<()>> {
        let mut results: Vec<Option<Result<()>>> = wishes.iter().map(|_| None).collect();
        let mut wishes: Vec<(usize, Wish<'_>, Breaks)> = wishes
            .into_iter()
            .enumerate()
            .map(|(at, wish)| (at, wish, Breaks::default()))
            .collect();
        let mut trail = self.journalled_trail(blob, &wishes);
        self.flush_journal(blob).await;
        let mut wrong_bytes = 0;
        loop {
            let (read, sent) = self.attempt(source, blob, &mut trail, &wishes).await;
            let read = match read {
                // Bytes go wrong on bad lines and in bad caches too: read them anew, from the
                // first one on.
                Err(error) if is_corrupt(&error) && wrong_bytes < FRUITLESS / 2 => {
                    wrong_bytes += 1;
                    tracing::debug!(%error, "reading the blob anew");
                    trail = Trail::new(&blob.digest);
                    self.pause(wrong_bytes).await;
                    ReadOutcome::Anew
                }
                Err(error) if is_corrupt(&error) => {
                    ReadOutcome::Failed(error.after(wrong_bytes + 1))
                }
                Err(error) => ReadOutcome::Failed(error),
                Ok(outcome) => outcome,
            };
            let mut again = Vec::new();
            for ((at, mut wish, mut breaks), sent) in wishes.into_iter().zip(sent) {
                let result = match (sent, &read) {
                    (Ok(()), ReadOutcome::Whole) => Ok(true),
                    (_, ReadOutcome::Failed(error)) => {
                        wish.target.cancel_upload(&wish.session).await;
                        Err(error.clone())
                    }
                    (_, ReadOutcome::Anew) => {
                        wish.target.cancel_upload(&wish.session).await;
                        self.begin(blob, &mut wish).await
                    }
                    (Ok(()), ReadOutcome::Unwanted) => {
                        let error = answered_early(wish.target, blob);
                        self.begin_again(blob, &mut wish, &mut breaks, error).await
                    }
                    (Err(error), _) => self.begin_again(blob, &mut wish, &mut breaks, error).await,
                };
                match result {
                    Ok(false) => again.push((at, wish, breaks)),
                    result => {
                        self.state.clear_upload(&key(blob, wish.target));
                        wish.reached.set(if result.is_ok() { blob.size } else { 0 });
                        results[at] = Some(result.map(|_| ()));
                    }
                }
            }
            if again.is_empty() {
                // Every wish has left the loop with a result.
                return results.into_iter().flatten().collect();
            }
            wishes = again;
        }
    }

    /// After a target failed: waits, then asks where its upload stands, or begins a new one.
    /// `true`: the target has the blob after all.
    async fn begin_again(
        &self,
        blob: &Descriptor,
        wish: &mut Wish<'_>,
        breaks: &mut Breaks,
        error: Error,
    ) -> Result<bool> {
        if !may_heal(&error) {
            wish.target.cancel_upload(&wish.session).await;
            return Err(error.clone().after(breaks.count() + error.attempts()));
        }
        let status = wish.target.upload_status(&wish.session).await.unwrap_or(None);
        let reached = status.as_ref().map_or(0, |session| session.offset);
        if !breaks.go_on(reached) {
            wish.target.cancel_upload(&wish.session).await;
            return Err(error.after(breaks.count()));
        }
        tracing::debug!(%error, target = wish.target.name(), reached, "the upload broke off, going on");
        self.pause(breaks.fruitless()).await;
        if let Some(session) = status {
            wish.session = session;
            return Ok(false);
        }
        self.begin(blob, wish).await
    }

    /// Begins a new upload. It may turn out that the blob is there and only the answer was lost:
    /// asking to mount it from the repository itself tells. `true`: it is.
    async fn begin(&self, blob: &Descriptor, wish: &mut Wish<'_>) -> Result<bool> {
        self.state.clear_upload(&key(blob, wish.target));
        match wish.target.start_upload(&blob.digest, Some(wish.target.path())).await? {
            UploadStart::Present => Ok(true),
            UploadStart::Session(session) => {
                wish.session = session;
                self.journal_session(blob, wish);
                self.flush_journal(blob).await;
                Ok(false)
            }
        }
    }

    /// Reads the source once, for all wishes. The first result is the source's; then each
    /// target's, in order.
    async fn attempt(
        &self,
        source: &dyn Repository,
        blob: &Descriptor,
        trail: &mut Trail,
        wishes: &[(usize, Wish<'_>, Breaks)],
    ) -> (Result<ReadOutcome>, Vec<Result<()>>) {
        let mut sinks = Vec::with_capacity(wishes.len());
        let mut uploads = Vec::with_capacity(wishes.len());
        for (_, wish, _) in wishes {
            let (sender, receiver) = mpsc::channel(CHUNKS_IN_FLIGHT);
            let from = wish.session.offset.min(blob.size);
            let (begin, begun) = oneshot::channel();
            let ended = CancellationToken::new();
            let at_end = ended.clone().drop_guard();
            let reached = &wish.reached;
            reached.set(from);
            let begun = Some(begun);
            sinks.push(Sink { begun, sender, reached, wants_from: from, ended, gone: false });
            let parts = (receiver, Some(begin));
            let chunks = futures_util::stream::unfold(parts, |(mut receiver, begin)| async {
                if let Some(begin) = begin {
                    // An error says that nobody waits for it any more.
                    let _ = begin.send(());
                }
                receiver.recv().await.map(|chunk| (chunk, (receiver, None)))
            });
            let body = BlobBody { length: blob.size - from, chunks: chunks.boxed() };
            let upload = wish.target.finish_upload(&wish.session, &blob.digest, body);
            uploads.push(async move {
                let _at_end = at_end;
                upload.await
            });
        }
        let keys: Vec<UploadKey<'_>> =
            wishes.iter().map(|(_, wish, _)| key(blob, wish.target)).collect();
        let pump = async {
            let read = self.pump(source, blob, trail, &mut sinks, &keys).await;
            if read.is_err() {
                for sink in &mut sinks {
                    sink.send(Err(BodyAborted)).await;
                }
            }
            drop(sinks);
            read
        };
        tokio::join!(pump, join_all(uploads))
    }

    /// Reads, hashes and hands out the blob, from the lowest byte that a sink wants.
    async fn pump(
        &self,
        source: &dyn Repository,
        blob: &Descriptor,
        trail: &mut Trail,
        sinks: &mut [Sink<'_>],
        keys: &[UploadKey<'_>],
    ) -> Result<ReadOutcome> {
        // The source is not opened before its bytes can go somewhere: an upload may have to wait
        // for its turn, and the source would close an idle connection.
        for sink in sinks.iter_mut() {
            if let Some(begun) = sink.begun.take() {
                let began = async {
                    tokio::select! {
                        _ = begun => {}
                        () = sink.ended.cancelled() => {}
                    }
                };
                sink.reached.tally.waiting(began).await;
            }
        }
        let lowest = sinks.iter().map(|sink| sink.wants_from).min().unwrap_or_default();
        let (mut at, mut hasher) = trail.at_or_before(lowest);
        let mut next_point = at + STRIDE;
        let mut reader: Option<BlobReader> = None;
        let mut breaks = Breaks::default();
        let mut held: Option<(u64, Bytes)> = None;
        while at < blob.size {
            if sinks.iter().all(|sink| sink.gone) {
                return Ok(ReadOutcome::Unwanted); // Each target's own error says why.
            }
            let chunk = match next_chunk(source, &blob.digest, at, &mut reader).await {
                Ok(Some(chunk)) if chunk.len() as u64 <= blob.size - at => chunk,
                Ok(Some(_)) => {
                    return Err(corrupt(source, blob, "is longer than its descriptor says"));
                }
                other => {
                    let error = match other {
                        Err(error) => error,
                        _ => ended_early(source, blob),
                    };
                    // Opening it was tried as often as makes sense by the source itself.
                    let was_open = reader.take().is_some();
                    let earlier = breaks.count();
                    if !was_open || !may_heal(&error) || !breaks.go_on(at) {
                        return Err(error.clone().after(earlier + error.attempts()));
                    }
                    tracing::debug!(%error, source = source.name(), at, "the source broke off, going on");
                    self.pause(breaks.fruitless()).await;
                    continue;
                }
            };
            hasher.update(&chunk);
            self.meter.received(chunk.len());
            for sink in sinks.iter() {
                sink.reached.tally.touch();
            }
            let begin = at;
            at += chunk.len() as u64;
            if let Some((begin, chunk)) = held.replace((begin, chunk)) {
                self.hand_out(sinks, begin, chunk).await;
            }
            if at >= next_point {
                next_point = at + STRIDE;
                self.add_point(blob, keys, at, &hasher);
                trail.add(at, hasher.clone());
            }
        }
        let found = hasher.finish();
        if found != blob.digest {
            return Err(corrupt(source, blob, &format!("has bytes whose digest is {found}")));
        }
        if let Some((begin, chunk)) = held {
            self.hand_out(sinks, begin, chunk).await;
        }
        Ok(ReadOutcome::Whole)
    }

    async fn hand_out(&self, sinks: &mut [Sink<'_>], begin: u64, chunk: Bytes) {
        for sink in sinks.iter_mut().filter(|sink| !sink.gone) {
            let skip = usize::try_from(sink.wants_from.saturating_sub(begin)).unwrap_or(usize::MAX);
            if skip >= chunk.len() {
                continue;
            }
            let rest = chunk.slice(skip..);
            let length = rest.len();
            self.meter.sent(length);
            sink.send(Ok(rest)).await;
            sink.reached.set(begin + chunk.len() as u64);
            sink.reached.tally.sent(length);
        }
    }

    fn journalled_trail(&self, blob: &Descriptor, wishes: &[(usize, Wish<'_>, Breaks)]) -> Trail {
        if blob.size < JOURNALLED {
            return Trail::new(&blob.digest);
        }
        // Hash states belong to the blob, whichever target's journal kept them.
        let points: Vec<Point> = wishes
            .iter()
            .filter_map(|(_, wish, _)| self.state.upload(&key(blob, wish.target)))
            .flat_map(|journal| journal.points)
            .collect();
        for (_, wish, _) in wishes {
            self.journal_session(blob, wish);
        }
        let mut points: Vec<_> =
            points.iter().map(|point| (point.offset, &point.hash_state[..])).collect();
        points.sort_by_key(|(offset, _)| *offset);
        Trail::from_journal(&blob.digest, points)
    }

    fn journal_session(&self, blob: &Descriptor, wish: &Wish<'_>) {
        if blob.size >= JOURNALLED {
            let key = key(blob, wish.target);
            match self.state.upload(&key) {
                Some(_) => self.state.move_upload(&key, &wish.session),
                None => self.state.begin_upload(&key, &wish.session),
            }
        }
    }

    /// Waits until the sessions of a journalled blob are on the disk: bytes that are sent to one
    /// that nobody remembers are sent in vain.
    async fn flush_journal(&self, blob: &Descriptor) {
        if blob.size >= JOURNALLED {
            self.state.flush().await;
        }
    }

    fn add_point(
        &self,
        blob: &Descriptor,
        keys: &[UploadKey<'_>],
        offset: u64,
        hasher: &crate::oci::Hasher,
    ) {
        if blob.size >= JOURNALLED {
            let point = Point { offset, hash_state: hasher.serialize() };
            for key in keys {
                self.state.add_point(key, &point);
            }
        }
    }

    /// The upload that a killed process has left, if its target still has it.
    pub(super) async fn left_upload(
        &self,
        blob: &Descriptor,
        target: &dyn Repository,
    ) -> Option<UploadSession> {
        if blob.size < JOURNALLED {
            return None;
        }
        let key = key(blob, target);
        let journal = self.state.upload(&key)?;
        match target.upload_status(&journal.session).await {
            Ok(Some(session)) if session.offset <= blob.size => {
                tracing::info!(digest = %blob.digest, target = target.name(), offset = session.offset, "going on with an upload that was begun before");
                Some(session)
            }
            _ => {
                self.state.clear_upload(&key);
                None
            }
        }
    }
}

/// The next bytes from `at` on, opening the source if it is not open.
async fn next_chunk(
    source: &dyn Repository,
    digest: &Digest,
    at: u64,
    reader: &mut Option<BlobReader>,
) -> Result<Option<Bytes>> {
    let open = match reader {
        Some(open) => open,
        None => reader.insert(source.blob(digest, at).await?),
    };
    loop {
        let Some(chunk) = open.chunks.next().await.transpose()? else { return Ok(None) };
        let begin = open.offset;
        open.offset += chunk.len() as u64;
        // A server that ignores ranges sends the bytes before `at` once more.
        if open.offset > at {
            let skip = usize::try_from(at.saturating_sub(begin)).unwrap_or_default();
            return Ok(Some(chunk.slice(skip..)));
        }
    }
}

fn key<'a>(blob: &'a Descriptor, target: &'a dyn Repository) -> UploadKey<'a> {
    UploadKey { store: target.store(), repository: target.path(), digest: &blob.digest }
}

fn corrupt(source: &dyn Repository, blob: &Descriptor, what: &str) -> Error {
    let message = format!("the blob {what}; nothing of it was kept at the target");
    Error::new("get blob", format!("{}@{}", source.name(), blob.digest), Cause::Corrupt(message))
}

/// Fewer bytes than promised are a broken answer, whatever its length said.
fn ended_early(source: &dyn Repository, blob: &Descriptor) -> Error {
    let message = "the blob ends before the size that its descriptor says";
    let subject = format!("{}@{}", source.name(), blob.digest);
    Error::new("get blob", subject, Cause::connection(message))
}

/// It may have the blob already: that is asked.
fn answered_early(target: &dyn Repository, blob: &Descriptor) -> Error {
    let message = "the target says that it has the blob, but did not take all of its bytes";
    let subject = format!("{}@{}", target.name(), blob.digest);
    Error::new("upload blob", subject, Cause::connection(message))
}

fn is_corrupt(error: &Error) -> bool {
    error.kind() == ErrorKind::Corrupt
}

/// Whether the same bytes may arrive next time.
fn may_heal(error: &Error) -> bool {
    use ErrorKind::*;
    match error.kind() {
        Connection | Closed | NameResolution | NotTls | ClientCertificate
        | UntrustedCertificate | TimedOut | Unavailable | Throttled | Corrupt => true,
        // The upload is lost, or stands elsewhere.
        Missing => true,
        // The next try takes another form of upload.
        Invalid | Unsupported | TooLarge => true,
        // The next try has a new token.
        Unauthenticated => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
