//! Reads a blob from its source, and continues by `Range` where the source broke off.

use bytes::Bytes;
use futures_util::StreamExt;

use super::retry::{Breaks, Pauses, may_heal};
use crate::oci::Descriptor;
use crate::repository::{BlobReader, Cause, Error, Repository, Result};

/// A blob at its source, read from some byte on to its end.
pub(super) struct SourceReader<'a> {
    source: &'a dyn Repository,
    blob: &'a Descriptor,
    pauses: Pauses,
    /// The next byte to be read.
    at: u64,
    open: Option<BlobReader>,
    breaks: Breaks,
}

/// What came of reading on.
pub(super) enum Read {
    Bytes(Bytes),
    /// The source broke off and was waited for; the next call continues.
    BrokeOff,
    /// The source has a blob of this size, which is not the descriptor's. Nothing was read.
    OtherSize(u64),
}

impl<'a> SourceReader<'a> {
    /// Reads from byte `at` on. The source is opened by the first read.
    pub fn new(source: &'a dyn Repository, blob: &'a Descriptor, at: u64, pauses: Pauses) -> Self {
        Self { source, blob, pauses, at, open: None, breaks: Breaks::default() }
    }

    /// Whether there is more to read.
    pub fn is_unread(&self) -> bool {
        // What is said to be empty is not if its digest says so: the source tells.
        let is_doubtful = || self.open.is_none() && !self.blob.digest.matches(b"");
        self.at < self.blob.size || (self.blob.size == 0 && is_doubtful())
    }

    /// How many bytes of the blob have been read.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// The next bytes, while there are any.
    ///
    /// # Errors
    /// The source cannot be opened, keeps breaking off without progress, or sends more bytes than
    /// it or the descriptor says.
    pub async fn next(&mut self) -> Result<Read> {
        let error = match self.next_chunk().await {
            Ok(Some(Read::Bytes(chunk))) => {
                if chunk.len() as u64 > self.blob.size - self.at {
                    let what = "is longer than its descriptor says";
                    return Err(corrupt(self.source, self.blob, what));
                }
                self.at += chunk.len() as u64;
                return Ok(Read::Bytes(chunk));
            }
            Ok(Some(read)) => return Ok(read),
            Ok(None) => ended_early(self.source, self.blob),
            Err(error) => error,
        };
        // The source itself has tried as often as makes sense to open the blob.
        let was_open = self.open.take().is_some();
        let earlier = self.breaks.count();
        if !was_open || !may_heal(&error) || !self.breaks.go_on(self.at) {
            return Err(error.clone().after(earlier + error.attempts()));
        }
        tracing::debug!(%error, source = self.source.name(), at = self.at, "the source broke off, resuming");
        self.pauses.after(self.breaks.fruitless()).await;
        Ok(Read::BrokeOff)
    }

    /// The next bytes of the open source, which is opened if it is not.
    async fn next_chunk(&mut self) -> Result<Option<Read>> {
        let open = match &mut self.open {
            Some(open) => open,
            closed => closed.insert(self.source.blob(&self.blob.digest, self.at).await?),
        };
        if let Some(size) = open.size.filter(|size| *size != self.blob.size) {
            return Ok(Some(Read::OtherSize(size)));
        }
        loop {
            let Some(chunk) = open.chunks.next().await.transpose()? else { return Ok(None) };
            let begin = open.offset;
            open.offset += chunk.len() as u64;
            // A server that ignores ranges sends the bytes before `at` once more.
            if open.offset > self.at {
                let skip = usize::try_from(self.at.saturating_sub(begin)).unwrap_or_default();
                return Ok(Some(Read::Bytes(chunk.slice(skip..))));
            }
        }
    }
}

pub(super) fn corrupt(source: &dyn Repository, blob: &Descriptor, what: &str) -> Error {
    let message = format!("the blob {what}; nothing of it was kept at the target");
    Error::new("get blob", format!("{}@{}", source.name(), blob.digest), Cause::Corrupt(message))
}

/// Fewer bytes than promised are a broken answer, whatever its length said.
fn ended_early(source: &dyn Repository, blob: &Descriptor) -> Error {
    let message = "the blob ends before the size that its descriptor says";
    let subject = format!("{}@{}", source.name(), blob.digest);
    Error::new("get blob", subject, Cause::connection(message))
}
