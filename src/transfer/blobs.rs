//! Sees to it that targets have a blob: known there, else mounted, else carried over the wire.
//!
//! A blob that several transfers want at once is brought into a store by one of them; the others
//! wait, and mount it.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use super::Carrier;
use super::carry::Wish;
use super::image::Side;
use super::seen::Mark;
use super::underway::Reached;
use crate::oci::{Descriptor, Digest};
use crate::repository::{Repository, Result, UploadSession, UploadStart};

pub(super) use crate::metrics::BlobFate as Fate;

/// How a store answers when asked to mount a blob into a repository from that same repository,
/// which is the cheapest way to ask "do you have it, and if not, I'll upload it".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SelfMount {
    /// It has said "created" once: the answer can be trusted.
    Works,
    /// It opened an upload although the blob was there: blobs are looked up first.
    Ignored,
}

/// What the first step found out about one target.
enum Prepared {
    Has(Fate),
    Wants(UploadSession),
}

impl Carrier {
    /// Sees to it that all `sides` have the blob; failures are noted in the sides.
    ///
    /// `trust`: what the state and this run have noted is believed. Without it every target is
    /// asked, because one of them has just said that something is missing.
    pub(super) async fn ensure(
        &self,
        source: &dyn Repository,
        blob: &Descriptor,
        sides: &[&Side<'_>],
        trust: bool,
    ) {
        let mut wanting: Vec<&Side<'_>> = Vec::new();
        for side in sides.iter().filter(|side| !side.has_failed()) {
            if trust && self.is_known(side, &blob.digest) {
                side.trust(&blob.digest);
                self.settle(side, blob, Ok(Fate::Present));
            } else {
                wanting.push(side);
            }
        }
        // In the order of their stores, so that transfers that lock several never wait for each
        // other in a circle. One of each store at a time: the second mounts from the first.
        wanting.sort_by(|a, b| a.repository().store().cmp(b.repository().store()));
        while !wanting.is_empty() {
            let (mut now, mut later): (Vec<&Side<'_>>, Vec<&Side<'_>>) = (Vec::new(), Vec::new());
            for side in wanting {
                let taken =
                    now.iter().any(|other| other.repository().store() == side.repository().store());
                if taken { later.push(side) } else { now.push(side) }
            }
            self.bring(source, blob, &now, trust).await;
            wanting = later;
        }
    }

    /// Brings a blob to sides of different stores.
    async fn bring(
        &self,
        source: &dyn Repository,
        blob: &Descriptor,
        sides: &[&Side<'_>],
        trust: bool,
    ) {
        let mut locks = Vec::new();
        let (mut takers, mut wishes) = (Vec::new(), Vec::new());
        for side in sides {
            let target = side.repository();
            let key = (target.store().to_owned(), blob.digest.clone());
            let lock = side.tally.waiting(self.locks.lock(&key)).await;
            match self.prepare(source, blob, side, trust).await {
                Ok(Prepared::Has(fate)) => self.settle(side, blob, Ok(fate)),
                Err(error) => self.settle(side, blob, Err(error)),
                Ok(Prepared::Wants(session)) => {
                    takers.push(side);
                    wishes.push(Wish { target, session, reached: Reached::nothing(side.tally) });
                    locks.push(lock);
                }
            }
        }
        let Some(tally) = takers.first().map(|side| side.tally) else { return };
        let _stream = tally.waiting(self.streams.acquire(tally.flow)).await;
        let results = self.carry(source, blob, wishes).await;
        for (side, result) in takers.into_iter().zip(results) {
            self.settle(side, blob, result.map(|()| Fate::Sent));
        }
    }

    /// Finds out, in one request where possible, whether a target has the blob or can mount it.
    async fn prepare(
        &self,
        source: &dyn Repository,
        blob: &Descriptor,
        side: &Side<'_>,
        trust: bool,
    ) -> Result<Prepared> {
        let target = side.repository();
        if trust && self.is_known(side, &blob.digest) {
            side.trust(&blob.digest);
            return Ok(Prepared::Has(Fate::Present));
        }
        if let Some(session) = self.left_upload(blob, target).await {
            return Ok(Prepared::Wants(session));
        }
        if let Some(from) = self.mountable(source, blob, target) {
            let session = match target.start_upload(&blob.digest, Some(&from)).await? {
                UploadStart::Present => return Ok(Prepared::Has(Fate::Mounted)),
                UploadStart::Session(session) => session,
            };
            // The hint was wrong, or the registry does not mount: then it may have the blob.
            self.state.forget_blob(target.store(), &from, &blob.digest);
            if !side.is_fresh() && has(target, blob).await {
                target.cancel_upload(&session).await;
                return Ok(Prepared::Has(Fate::Present));
            }
            return Ok(Prepared::Wants(session));
        }
        let self_mount = self.self_mount(target.store());
        if self_mount == Some(SelfMount::Ignored) && !side.is_fresh() && has(target, blob).await {
            return Ok(Prepared::Has(Fate::Present));
        }
        let session = match target.start_upload(&blob.digest, Some(target.path())).await? {
            UploadStart::Present => {
                self.learn(target.store(), SelfMount::Works);
                return Ok(Prepared::Has(Fate::Present));
            }
            UploadStart::Session(session) => session,
        };
        // It may have the blob and not say so. That is looked up until it is known how this store
        // answers; a repository without any tag has nothing to look up.
        if self_mount.is_none() && !side.is_fresh() && has(target, blob).await {
            self.learn(target.store(), SelfMount::Ignored);
            target.cancel_upload(&session).await;
            return Ok(Prepared::Has(Fate::Present));
        }
        Ok(Prepared::Wants(session))
    }

    /// Another repository of the target's store that holds the blob, as far as is known: the
    /// source itself, where it is one.
    fn mountable(
        &self,
        source: &dyn Repository,
        blob: &Descriptor,
        target: &dyn Repository,
    ) -> Option<String> {
        if source.store() == target.store() && source.path() != target.path() {
            return Some(source.path().to_owned());
        }
        let known = self.state.blob_locations(target.store(), &blob.digest);
        known.into_iter().find(|path| path != target.path())
    }

    fn settle(&self, side: &Side<'_>, blob: &Descriptor, result: Result<Fate>) {
        match result {
            Ok(fate) => {
                if fate != Fate::Present || !self.is_known(side, &blob.digest) {
                    self.note_known(side.repository(), &blob.digest);
                }
                self.meter.blob(fate);
                match fate {
                    // Counted byte by byte.
                    Fate::Sent => side.tally.touch(),
                    Fate::Present | Fate::Mounted => side.tally.found(blob.size),
                }
                self.metrics.transfers().blob(side.repository().store(), fate, blob.size);
                side.count(fate, blob.size);
            }
            Err(error) => side.fail(error),
        }
    }

    fn self_mount(&self, store: &str) -> Option<SelfMount> {
        self.self_mounts.lock().get(store).copied()
    }

    fn learn(&self, store: &str, answer: SelfMount) {
        let mut known = self.self_mounts.lock();
        known.entry(store.to_owned()).or_insert(answer);
    }

    fn is_known(&self, side: &Side<'_>, digest: &Digest) -> bool {
        let target = side.repository();
        if self.seen().contains(mark(target, digest)) {
            return true;
        }
        // A registry need not check that a manifest's blobs are there, so doubts count.
        let noted = || self.state.blob_locations(target.store(), digest);
        !side.target.cleaned && noted().iter().any(|path| path == target.path())
    }

    fn note_known(&self, target: &dyn Repository, digest: &Digest) {
        self.seen().insert(mark(target, digest));
        self.state.add_blobs(target.store(), target.path(), [digest]);
    }

    /// Takes back what was noted of these blobs: the target says that some are missing.
    pub(super) fn forget(&self, target: &dyn Repository, blobs: &[Descriptor]) {
        for blob in blobs {
            self.seen().remove(mark(target, &blob.digest));
            self.state.forget_blob(target.store(), target.path(), &blob.digest);
        }
    }
}

/// Whether a target says that it has a blob. One that cannot say (distribution, of a blob whose
/// link was cut short when its disk was full) gets it anew, which mends it.
async fn has(target: &dyn Repository, blob: &Descriptor) -> bool {
    matches!(target.blob_size(&blob.digest).await, Ok(Some(_)))
}

/// The target's repository and the blob that it has.
fn mark(target: &dyn Repository, digest: &Digest) -> Mark {
    BuildHasherDefault::<DefaultHasher>::default().hash_one((target.name(), digest))
}
