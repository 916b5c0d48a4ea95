//! Streams one blob from its source to one or several targets, in as many attempts as it takes.
//!
//! In each attempt the source is read once, for all targets that still lack the blob (`pipe`). A
//! target that broke off is asked how far it got, and gets the rest in the next attempt.

use super::blob_turns::SourceWait;
use super::checkpoints::Checkpoints;
use super::journal::UploadJournal;
use super::pipe::{Pipe, ReadEnd, Upload};
use super::reporter::Reporter;
use super::retry::{Breaks, MAX_FRUITLESS, Pauses, is_corrupt, may_heal};
use super::source_reader::corrupt;
use crate::oci::Descriptor;
use crate::repository::{Cause, Error, Repository, Result, UploadStart};

/// Streams blobs.
#[derive(Debug)]
pub(super) struct Streamer {
    pub journal: UploadJournal,
    pub pauses: Pauses,
}

/// An upload that has not ended.
struct Unfinished<'a> {
    /// Its index among all uploads of the blob.
    index: usize,
    upload: Upload<'a>,
    breaks: Breaks,
}

/// How reading the source went in one attempt.
enum ReadOutcome {
    /// Every byte was read, and the digest is right.
    Whole,
    /// All targets had ended their uploads before.
    Unwanted,
    /// Wrong bytes came, or the blob has another size: worth another attempt from the start, as a
    /// blob of this size.
    Anew {
        size: u64,
    },
    Failed(Error),
}

/// What an attempt means for one upload.
enum Next {
    /// The target has the blob.
    Done,
    /// It takes part in the next attempt.
    Again,
}

impl Streamer {
    /// Streams the blob into all uploads; the results are in their order. `wait` is told when the source
    /// is waited for.
    pub async fn stream(
        &self,
        reporter: &Reporter<'_>,
        source: &dyn Repository,
        blob: &Descriptor,
        uploads: Vec<Upload<'_>>,
        wait: &SourceWait,
    ) -> Vec<Result<()>> {
        let mut blob = blob.clone();
        let mut results: Vec<Option<Result<()>>> = uploads.iter().map(|_| None).collect();
        let mut checkpoints =
            self.journal.checkpoints(&blob, uploads.iter().map(|upload| upload.target));
        for upload in &uploads {
            self.journal.note_session(&blob, upload.target, &upload.session);
        }
        self.journal.flush(&blob).await;
        let mut unfinished: Vec<Unfinished<'_>> = uploads
            .into_iter()
            .enumerate()
            .map(|(index, upload)| Unfinished { index, upload, breaks: Breaks::default() })
            .collect();
        let mut wrong_reads = 0;
        let on_wire = &reporter.on_wire(blob.size);
        while !unfinished.is_empty() {
            let uploads: Vec<&Upload<'_>> = unfinished.iter().map(|one| &one.upload).collect();
            let (journal, pauses) = (&self.journal, self.pauses);
            let pipe = Pipe { source, blob: &blob, reporter, on_wire, journal, pauses, wait };
            let (read, sent) = pipe.run(&mut checkpoints, &uploads).await;
            let read = read_outcome(source, &blob, read, &mut wrong_reads);
            if let ReadOutcome::Anew { size } = read {
                checkpoints = Checkpoints::new(&blob.digest);
                blob.size = size;
                self.pauses.after(wrong_reads).await;
            }
            let mut again = Vec::new();
            for (mut one, sent) in unfinished.into_iter().zip(sent) {
                match self.after_attempt(&blob, &mut one, &read, sent).await {
                    Ok(Next::Again) => again.push(one),
                    // Its session stays noted, to resume it afterwards or in the next process.
                    Err(error)
                        if matches!(error.cause(), Cause::LeftBehind | Cause::Interrupted) =>
                    {
                        one.upload.position.move_to(0);
                        results[one.index] = Some(Err(error));
                    }
                    ended => {
                        self.journal.clear(&blob, one.upload.target);
                        one.upload.position.move_to(if ended.is_ok() { blob.size } else { 0 });
                        results[one.index] = Some(ended.map(|_| ()));
                    }
                }
            }
            unfinished = again;
        }
        // Every upload has left the loop with a result.
        results.into_iter().flatten().collect()
    }

    async fn after_attempt(
        &self,
        blob: &Descriptor,
        one: &mut Unfinished<'_>,
        read: &ReadOutcome,
        sent: Result<()>,
    ) -> Result<Next> {
        let upload = &mut one.upload;
        match (sent, read) {
            (Err(error), _) if *error.cause() == Cause::LeftBehind => Err(error),
            (Ok(()), ReadOutcome::Whole) => Ok(Next::Done),
            (_, ReadOutcome::Failed(error)) if *error.cause() == Cause::Interrupted => {
                self.leave(blob, upload).await;
                Err(error.clone())
            }
            (_, ReadOutcome::Failed(error)) => {
                upload.target.cancel_upload(&upload.session).await;
                Err(error.clone())
            }
            (_, ReadOutcome::Anew { .. }) => {
                upload.target.cancel_upload(&upload.session).await;
                self.begin(blob, upload).await
            }
            (Ok(()), ReadOutcome::Unwanted) => {
                let error = answered_early(upload.target, blob);
                self.resume(blob, one, error).await
            }
            (Err(error), _) => self.resume(blob, one, error).await,
        }
    }

    /// After a target failed: waits, then asks where its upload stands, or begins a new one.
    async fn resume(
        &self,
        blob: &Descriptor,
        one: &mut Unfinished<'_>,
        error: Error,
    ) -> Result<Next> {
        let Unfinished { upload, breaks, .. } = one;
        if !may_heal(&error) {
            upload.target.cancel_upload(&upload.session).await;
            return Err(error.clone().after(breaks.count() + error.attempts()));
        }
        let status = upload.target.upload_status(&upload.session).await.unwrap_or(None);
        let reached = status.as_ref().map_or(0, |session| session.offset);
        if !breaks.go_on(reached) {
            upload.target.cancel_upload(&upload.session).await;
            return Err(error.after(breaks.count()));
        }
        tracing::debug!(%error, target = upload.target.name(), reached, "the upload broke off, resuming");
        self.pauses.after(breaks.fruitless()).await;
        if let Some(session) = status {
            upload.session = session;
            self.journal.note_session(blob, upload.target, &upload.session);
            return Ok(Next::Again);
        }
        self.begin(blob, upload).await
    }

    /// Leaves an upload to the next process, with the bytes that the target has by now. The address of
    /// the upload may have changed with them.
    async fn leave(&self, blob: &Descriptor, upload: &Upload<'_>) {
        if let Ok(Some(session)) = upload.target.upload_status(&upload.session).await {
            self.journal.note_session(blob, upload.target, &session);
        }
    }

    /// Begins a new upload. The blob may be there after all, when only the answer was lost: asking
    /// to mount it from the repository itself tells.
    async fn begin(&self, blob: &Descriptor, upload: &mut Upload<'_>) -> Result<Next> {
        let target = upload.target;
        self.journal.clear(blob, target);
        match target.start_upload(&blob.digest, Some(target.path())).await? {
            UploadStart::Present => Ok(Next::Done),
            UploadStart::Session(session) => {
                upload.session = session;
                self.journal.note_session(blob, target, &upload.session);
                self.journal.flush(blob).await;
                Ok(Next::Again)
            }
        }
    }
}

/// Bytes go wrong on bad lines and in bad caches too, so they are read again from the first on,
/// a few times. A descriptor that says another size than the source does not change what its digest
/// names: the source's size is tried.
fn read_outcome(
    source: &dyn Repository,
    blob: &Descriptor,
    read: Result<ReadEnd>,
    wrong_reads: &mut u32,
) -> ReadOutcome {
    let (error, size) = match read {
        Ok(ReadEnd::OtherSize(size)) => {
            let what = format!("has {size} bytes, its descriptor says {}", blob.size);
            (corrupt(source, blob, &what), size)
        }
        Ok(ReadEnd::Whole) => return ReadOutcome::Whole,
        Ok(ReadEnd::Unwanted) => return ReadOutcome::Unwanted,
        Err(error) if is_corrupt(&error) => (error, blob.size),
        Err(error) => return ReadOutcome::Failed(error),
    };
    if *wrong_reads == MAX_FRUITLESS / 2 {
        return ReadOutcome::Failed(error.after(*wrong_reads + 1));
    }
    *wrong_reads += 1;
    tracing::debug!(%error, "reading the blob anew");
    ReadOutcome::Anew { size }
}

/// The target may have the blob already: that is asked.
fn answered_early(target: &dyn Repository, blob: &Descriptor) -> Error {
    let message = "the target says that it has the blob, but did not take all of its bytes";
    let subject = format!("{}@{}", target.name(), blob.digest);
    Error::new("upload blob", subject, Cause::connection(message))
}

#[cfg(test)]
mod tests;
