//! Reads the bodies of answers: small ones whole, blobs chunk by chunk.

use std::io::Read;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use http::HeaderValue;
use http::header::CONTENT_ENCODING;
use reqwest::Response;
use tokio::time::{Instant, timeout};

use super::exchange::{Shown, Strayed};
use super::{Failed, Origin, Try};
use crate::metrics::NoAnswer;
use crate::registry::answer::Answer;
use crate::registry::call::Call;
use crate::registry::{failure, link};
use crate::repository::{Cause, Error, ErrorKind, Result};

/// As slowly as an answer that is no blob may come, in bytes a second: one that comes byte by byte
/// would keep its run from ending.
const SLOWEST: usize = 1 << 10;
/// And it may take so many idle time-outs in addition.
const IDLE_TIMES: u32 = 5;

impl Origin {
    /// Reads a body to its end, at most `limit` bytes of it, and in a time that grows with its length.
    pub(super) async fn read(&self, mut response: Response, limit: usize) -> Try<Answer> {
        let (status, headers, url) =
            (response.status(), response.headers().clone(), response.url().clone());
        let strayed = !link::same_origin(&self.base, &url)
            || response.extensions().get::<Strayed>().is_some();
        let shown = response.extensions().get::<Shown>().map(|Shown(login)| login.clone());
        let network = self.network_of(&response);
        let idle = self.settings.timeouts.idle;
        let began = Instant::now();
        let mut body = BytesMut::new();
        loop {
            let sending = Duration::from_secs((body.len() / SLOWEST) as u64);
            if began.elapsed() > IDLE_TIMES * idle + sending {
                let message = "the answer comes too slowly".to_owned();
                let cause = Cause::Transport { kind: ErrorKind::TimedOut, message };
                return Err(self.broke_off(cause));
            }
            match timeout(idle, response.chunk()).await {
                Err(_) => return Err(self.broke_off(Cause::TimedOut(idle))),
                Ok(Err(error)) => return Err(self.broke_off(failure::cause(&error))),
                Ok(Ok(None)) => break,
                Ok(Ok(Some(chunk))) => {
                    self.metrics.received(chunk.len());
                    if body.len() + chunk.len() > limit {
                        if status.is_success() {
                            return Err(Failed::Final(Cause::LargerThan(limit)));
                        }
                        break; // Enough of an error's words.
                    }
                    body.extend_from_slice(&chunk);
                }
            }
        }
        let body = match headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes) {
            Some(b"gzip" | b"x-gzip") => unpacked(&body, limit).map_err(Failed::Final)?,
            // It may have grown to twice its length, and may be kept for long.
            _ => Bytes::from(Vec::from(body).into_boxed_slice()),
        };
        Ok(Answer { status, headers, body, url, strayed, shown, network, tries: 1 })
    }

    /// A body as it comes, each chunk within the idle time-out.
    pub fn chunks(&self, call: &Call<'_>, response: Response) -> BoxStream<'static, Result<Bytes>> {
        let (step, subject) = (call.operation.step(), call.what.to_string());
        let (idle, metrics) = (self.settings.timeouts.idle, self.metrics.clone());
        let stream = futures_util::stream::unfold(Some(response), move |response| {
            let (subject, metrics) = (subject.clone(), metrics.clone());
            async move {
                let mut response = response?;
                let cause = match timeout(idle, response.chunk()).await {
                    Ok(Ok(Some(chunk))) => {
                        metrics.received(chunk.len());
                        return Some((Ok(chunk), Some(response)));
                    }
                    Ok(Ok(None)) => return None,
                    Ok(Err(error)) => failure::cause(&error),
                    Err(_) => Cause::TimedOut(idle),
                };
                metrics.unanswered(no_answer(&cause));
                Some((Err(Error::new(step, subject, cause)), None))
            }
        });
        stream.boxed()
    }

    /// There was no answer, or not all of it.
    pub(super) fn broke_off(&self, cause: Cause) -> Failed {
        self.metrics.unanswered(no_answer(&cause));
        Failed::Connection(cause)
    }
}

/// A body that was compressed though nobody asked for that (RFC 9110 §8.4.1), as some proxies do.
fn unpacked(body: &[u8], limit: usize) -> std::result::Result<Bytes, Cause> {
    let mut unpacked = Vec::new();
    let read = MultiGzDecoder::new(body).take(limit as u64 + 1).read_to_end(&mut unpacked);
    match read {
        Ok(_) if unpacked.len() > limit => Err(Cause::LargerThan(limit)),
        Ok(_) => Ok(unpacked.into()),
        // Answers to HEAD have the header and no body.
        Err(_) if body.is_empty() => Ok(Bytes::new()),
        Err(error) => Err(Cause::Protocol(format!("the answer is not valid gzip: {error}"))),
    }
}

fn no_answer(cause: &Cause) -> NoAnswer {
    match cause {
        Cause::TimedOut(_) => NoAnswer::TimedOut,
        _ => NoAnswer::Broken,
    }
}
