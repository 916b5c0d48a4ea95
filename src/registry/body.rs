//! The body of an upload: streamed, of exact length, and watched for progress.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::transport::Timeouts;
use crate::fair::Pulse;
use crate::metrics::RegistryMetrics;
use crate::repository::{BlobBody, BodyAborted};

/// An upload whose source delivers nothing for so long lets others go first.
const STARVES_AFTER: Duration = Duration::from_secs(1);

/// How much of a body has been sent.
#[derive(Debug)]
pub(super) struct Progress {
    length: u64,
    sent: AtomicU64,
    /// More could be sent, but the source has not delivered it yet.
    starved: AtomicBool,
}

struct Streamed {
    /// Never locked: the mutex only makes the stream `Sync`, which reqwest wants of a body.
    chunks: Mutex<BoxStream<'static, Result<Bytes, BodyAborted>>>,
    left: u64,
    open_ended: bool,
    progress: Arc<Progress>,
    metrics: Arc<RegistryMetrics>,
    /// Told of each chunk that the registry takes.
    pulse: Pulse,
}

/// A request body that announces its exact length, so that no chunked encoding is used. If it is
/// `open_ended`, it may end earlier, and announces nothing.
pub(super) fn streamed(
    body: BlobBody,
    open_ended: bool,
    metrics: Arc<RegistryMetrics>,
    pulse: Pulse,
) -> (reqwest::Body, Arc<Progress>) {
    let BlobBody { length, chunks } = body;
    let (sent, starved) = Default::default();
    let progress = Arc::new(Progress { length, sent, starved });
    let chunks = Mutex::new(chunks);
    let body =
        Streamed { chunks, left: length, open_ended, progress: progress.clone(), metrics, pulse };
    (reqwest::Body::wrap(body), progress)
}

impl http_body::Body for Streamed {
    type Data = Bytes;
    type Error = BodyAborted;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyAborted>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let chunks = self.chunks.get_mut();
        let polled = chunks.as_mut().poll_next(cx);
        self.progress.starved.store(polled.is_pending(), Ordering::Relaxed);
        let Poll::Ready(item) = polled else { return Poll::Pending };
        Poll::Ready(match item {
            // More or less than was announced is the sender's failure, never a valid message.
            Some(Ok(chunk)) if chunk.len() as u64 <= self.left => {
                self.left -= chunk.len() as u64;
                self.progress.sent.fetch_add(chunk.len() as u64, Ordering::Relaxed);
                self.metrics.sent(chunk.len());
                self.pulse.progress();
                Some(Ok(Frame::data(chunk)))
            }
            None if self.open_ended => {
                self.left = 0;
                None
            }
            Some(_) | None => Some(Err(BodyAborted)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        match self.open_ended {
            true => SizeHint::default(),
            false => SizeHint::with_exact(self.left),
        }
    }
}

impl Progress {
    /// Returns when the source has delivered nothing for a while.
    pub async fn starves(&self) {
        let mut known = self.sent.load(Ordering::Relaxed);
        loop {
            tokio::time::sleep(STARVES_AFTER).await;
            let sent = self.sent.load(Ordering::Relaxed);
            if sent == known && self.starved.load(Ordering::Relaxed) {
                return;
            }
            known = sent;
        }
    }

    /// Returns when the registry has accepted nothing for too long, with that time. Waiting for the
    /// source does not count: it has time-outs of its own.
    pub async fn stalled(&self, timeouts: Timeouts) -> Duration {
        let (mut known, mut since) = (0, Instant::now());
        loop {
            let all = known == self.length;
            let allowed = if all { timeouts.commit_of(known) } else { timeouts.idle };
            tokio::time::sleep_until(since + allowed).await;
            let sent = self.sent.load(Ordering::Relaxed);
            if sent == known && !self.starved.load(Ordering::Relaxed) {
                return allowed;
            }
            (known, since) = (sent, Instant::now());
        }
    }
}
