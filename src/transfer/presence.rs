//! Which blobs targets are known to have, from this process and from the state.
//!
//! All of it is a hint that saves requests. A target that says that a blob is missing makes the
//! hints for that image forgotten.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

use parking_lot::Mutex;

use super::recent::RecentBlobs;
use crate::oci::{Descriptor, Digest};
use crate::repository::Repository;
use crate::state::BlobLocations;

/// How a store answers when asked to mount a blob into a repository from that same repository:
/// the cheapest way to ask "do you have it, and if not, I will upload it".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SelfMount {
    /// It has answered "created" once, so the answer can be trusted.
    Works,
    /// It opened an upload although the blob was there, so blobs are looked up first.
    Ignored,
}

/// What is known of blobs at targets.
#[derive(Debug)]
pub(super) struct Presence {
    known: Arc<dyn BlobLocations>,
    recent: Mutex<RecentBlobs>,
    /// By store.
    self_mounts: Mutex<HashMap<String, SelfMount>>,
}

impl Presence {
    pub fn new(known: Arc<dyn BlobLocations>) -> Self {
        Self { known, recent: Mutex::default(), self_mounts: Mutex::default() }
    }

    /// Whether a target is known to have a blob. `cleaned`: what the state says of this target is
    /// out of date.
    pub fn is_known(&self, target: &dyn Repository, digest: &Digest, cleaned: bool) -> bool {
        if self.recent.lock().contains(hash(target, digest)) {
            return true;
        }
        // A registry need not check that a manifest's blobs are there, so doubts count.
        let noted = || self.known.get(target.store(), digest);
        !cleaned && noted().iter().any(|path| path == target.path())
    }

    /// Notes that a target has a blob.
    pub fn note(&self, target: &dyn Repository, digest: &Digest) {
        self.recent.lock().insert(hash(target, digest));
        self.known.add(target.store(), target.path(), digest);
    }

    /// Forgets these blobs, because the target says that some are missing.
    pub fn forget(&self, target: &dyn Repository, blobs: &[Descriptor]) {
        for blob in blobs {
            self.recent.lock().remove(hash(target, &blob.digest));
            self.forget_at(target.store(), target.path(), &blob.digest);
        }
    }

    /// Forgets that a repository of this store has the blob.
    pub fn forget_at(&self, store: &str, path: &str, digest: &Digest) {
        self.known.forget(store, path, digest);
    }

    /// Another repository of the target's store from which the blob can be mounted, as far as is
    /// known: the source itself, where it is in that store.
    pub fn mountable_from(
        &self,
        source: &dyn Repository,
        digest: &Digest,
        target: &dyn Repository,
    ) -> Option<String> {
        if source.store() == target.store() && source.path() != target.path() {
            return Some(source.path().to_owned());
        }
        let known = self.known.get(target.store(), digest);
        known.into_iter().find(|path| path != target.path())
    }

    pub fn self_mount(&self, store: &str) -> Option<SelfMount> {
        self.self_mounts.lock().get(store).copied()
    }

    /// Notes how a store answered for the first time.
    pub fn learn_self_mount(&self, store: &str, answer: SelfMount) {
        self.self_mounts.lock().entry(store.to_owned()).or_insert(answer);
    }
}

fn hash(target: &dyn Repository, digest: &Digest) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one((target.name(), digest))
}
