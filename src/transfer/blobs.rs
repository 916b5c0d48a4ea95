//! Sees to it that targets have a blob: known to be there, else mounted, else streamed.
//!
//! A blob that several transfers want at once is brought into a store by one of them; the others
//! wait, and mount it (`blob_turns`).

use std::sync::Arc;

use futures_util::future::join_all;

use super::blob_turns::{BlobTurns, SourceWait};
use super::events::BlobFate;
use super::pipe::Upload;
use super::presence::{Presence, SelfMount};
use super::stream::Streamer;
use super::target::TargetTransfer;
use crate::fair::{LendingPermits, Pulses};
use crate::oci::{Descriptor, Digest};
use crate::repository::{Repository, Result, UploadSession, UploadStart};

/// Blobs on the wire at once, in the whole process: each costs up to a few hundred KiB of memory.
const STREAMS: usize = 48;

/// Brings blobs to targets, for all transfers of a process.
#[derive(Debug)]
pub(super) struct Blobs {
    pub presence: Presence,
    streamer: Streamer,
    streams: LendingPermits,
    turns: BlobTurns,
}

/// What a target needs to have a blob.
enum Need {
    /// Nothing: it has the blob now.
    Nothing(BlobFate),
    /// The bytes, by this upload.
    Bytes(UploadSession),
}

impl Blobs {
    pub fn new(presence: Presence, streamer: Streamer, pulses: Pulses) -> Self {
        let streams = LendingPermits::new(STREAMS, pulses.clone());
        Self { presence, streamer, streams, turns: BlobTurns::new(pulses) }
    }

    /// Sees to it that all `targets` have the blob; failures are noted in the targets.
    ///
    /// `trust`: what was noted of blobs is believed. Without it every target is asked, because one
    /// of them has just said that something is missing.
    pub async fn ensure(
        &self,
        source: &dyn Repository,
        blob: &Descriptor,
        targets: &[&TargetTransfer<'_>],
        trust: bool,
    ) {
        let mut lacking: Vec<&TargetTransfer<'_>> = Vec::new();
        for target in targets.iter().filter(|target| !target.has_failed()) {
            if trust && self.is_trusted(target, &blob.digest) {
                self.settle(target, blob, Ok(BlobFate::Present));
            } else {
                lacking.push(target);
            }
        }
        // In the order of their stores, so that transfers that lock several never wait for each
        // other in a circle. One of each store at a time: the second mounts from the first.
        lacking.sort_by(|a, b| a.repository().store().cmp(b.repository().store()));
        while !lacking.is_empty() {
            let mut now: Vec<&TargetTransfer<'_>> = Vec::new();
            let mut later = Vec::new();
            for target in lacking {
                let store = target.repository().store();
                let is_taken = now.iter().any(|other| other.repository().store() == store);
                if is_taken { later.push(target) } else { now.push(target) }
            }
            self.bring(source, blob, &now, trust).await;
            lacking = later;
        }
    }

    /// Brings a blob to targets of different stores.
    async fn bring(
        &self,
        source: &dyn Repository,
        blob: &Descriptor,
        targets: &[&TargetTransfer<'_>],
        trust: bool,
    ) {
        let (mut held, wait) = (Vec::new(), Arc::<SourceWait>::default());
        for target in targets {
            let turn = self.turns.take(target.repository(), &blob.digest, &wait);
            let turn = target.reporter.awaiting(blob.size, turn);
            match target.answer(async { Ok(turn.await) }).await {
                Ok(turn) => held.push((target, turn)),
                Err(error) => self.settle(target, blob, Err(error)),
            }
        }
        let needs = held.into_iter().map(|(target, turn)| async move {
            (target, turn, target.answer(self.need(source, blob, target, trust)).await)
        });
        let (mut turns, mut takers, mut uploads) = (Vec::new(), Vec::new(), Vec::new());
        for (target, turn, need) in join_all(needs).await {
            match need {
                Ok(Need::Nothing(fate)) => self.settle(target, blob, Ok(fate)),
                Err(error) => self.settle(target, blob, Err(error)),
                Ok(Need::Bytes(session)) => {
                    takers.push(target);
                    uploads.push(Upload {
                        target: target.repository(),
                        session,
                        position: target.upload_position(),
                        has_company: target.has_company(),
                    });
                    turns.push(turn);
                }
            }
        }
        let Some(reporter) = takers.first().map(|target| target.reporter) else { return };
        let stream = wait.for_permit(reporter.flow(), self.streams.acquire(reporter.flow()));
        let _stream = reporter.waiting(stream).await;
        let results = self.streamer.stream(reporter, source, blob, uploads, &wait).await;
        for (target, result) in takers.into_iter().zip(results) {
            self.settle(target, blob, result.map(|()| BlobFate::Sent));
        }
    }

    /// Finds out, in one request where possible, whether a target has the blob or can mount it.
    async fn need(
        &self,
        source: &dyn Repository,
        blob: &Descriptor,
        target: &TargetTransfer<'_>,
        trust: bool,
    ) -> Result<Need> {
        if trust && self.is_trusted(target, &blob.digest) {
            return Ok(Need::Nothing(BlobFate::Present));
        }
        let (repository, fresh) = (target.repository(), target.target.fresh);
        if let Some(session) = self.streamer.journal.left_session(blob, repository).await {
            return Ok(Need::Bytes(session));
        }
        match self.presence.mountable_from(source, &blob.digest, repository) {
            Some(from) => self.mount(blob, repository, &from, fresh).await,
            None => self.mount_from_itself(blob, repository, fresh).await,
        }
    }

    /// Asks to mount the blob from another repository.
    async fn mount(
        &self,
        blob: &Descriptor,
        target: &dyn Repository,
        from: &str,
        fresh: bool,
    ) -> Result<Need> {
        let session = match target.start_upload(&blob.digest, Some(from)).await? {
            UploadStart::Present => return Ok(Need::Nothing(BlobFate::Mounted)),
            UploadStart::Session(session) => session,
        };
        // The hint was wrong, or the registry does not mount: then it may have the blob.
        self.presence.forget_at(target.store(), from, &blob.digest);
        if !fresh && has(target, blob).await {
            target.cancel_upload(&session).await;
            return Ok(Need::Nothing(BlobFate::Present));
        }
        Ok(Need::Bytes(session))
    }

    /// Asks to mount the blob from the repository that wants it, which tells whether it is there.
    async fn mount_from_itself(
        &self,
        blob: &Descriptor,
        target: &dyn Repository,
        fresh: bool,
    ) -> Result<Need> {
        let known = self.presence.self_mount(target.store());
        if known == Some(SelfMount::Ignored) && !fresh && has(target, blob).await {
            return Ok(Need::Nothing(BlobFate::Present));
        }
        let session = match target.start_upload(&blob.digest, Some(target.path())).await? {
            UploadStart::Present => {
                self.presence.learn_self_mount(target.store(), SelfMount::Works);
                return Ok(Need::Nothing(BlobFate::Present));
            }
            UploadStart::Session(session) => session,
        };
        // It may have the blob and not say so. That is looked up until it is known how this store
        // answers; a repository without any tag has nothing to look up.
        if known.is_none() && !fresh && has(target, blob).await {
            self.presence.learn_self_mount(target.store(), SelfMount::Ignored);
            target.cancel_upload(&session).await;
            return Ok(Need::Nothing(BlobFate::Present));
        }
        Ok(Need::Bytes(session))
    }

    /// Whether the blob is known to be there. The target remembers that it was not asked.
    fn is_trusted(&self, target: &TargetTransfer<'_>, digest: &Digest) -> bool {
        let is_known = self.is_known(target, digest);
        if is_known {
            target.trust(digest);
        }
        is_known
    }

    fn is_known(&self, target: &TargetTransfer<'_>, digest: &Digest) -> bool {
        self.presence.is_known(target.repository(), digest, target.target.cleaned)
    }

    fn settle(&self, target: &TargetTransfer<'_>, blob: &Descriptor, result: Result<BlobFate>) {
        match result {
            Ok(fate) => {
                if fate != BlobFate::Present || !self.is_known(target, &blob.digest) {
                    self.presence.note(target.repository(), &blob.digest);
                }
                target.placed(fate, blob);
            }
            Err(error) => target.fail(error),
        }
    }
}

/// Whether a target says that it has a blob. One that cannot say (distribution, of a blob whose
/// link was cut short when its disk was full) gets it anew, which mends it.
async fn has(target: &dyn Repository, blob: &Descriptor) -> bool {
    matches!(target.blob_size(&blob.digest).await, Ok(Some(_)))
}
