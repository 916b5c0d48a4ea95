//! A registry in memory that holds a generated repository: deletions are refused, cut off or
//! preceded by somebody else's pushes as a test says, and each is held against what must not go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::world::{Item, World};
use crate::oci::{Descriptor, Digest, Document, Manifest, Tag, derived, media_type};
use crate::repository::{
    BlobBody, BlobReader, Cause, Error, ErrorKind, Placement, Reference, Repository, Resolved,
    Result, Stored, UploadSession, UploadStart,
};
use crate::state::ManifestSummary;

/// One repository of it.
#[derive(Debug)]
pub struct Registry {
    name: String,
    inner: Mutex<Inner>,
    /// Told when the process that uses it is to die.
    pub died: Notify,
}

struct Inner {
    world: World,
    blobs: BTreeMap<Digest, Bytes>,
    /// Digests whose deletion is answered 412.
    refused: BTreeSet<Digest>,
    /// So many deletions are answered; the next one never is.
    lives: usize,
    /// Whether that last one is carried out.
    dies_after: bool,
    /// Single tags cannot be deleted.
    digests_only: bool,
    deleted: Vec<Reference>,
    /// What was put there, by nobody but the engine.
    put: BTreeSet<Digest>,
    /// How often it was asked for each kind of thing.
    asked: BTreeMap<&'static str, usize>,
    /// Done when it has answered so many more deletions.
    later: Option<(usize, Change)>,
}

/// What somebody else does to a repository.
type Change = Box<dyn FnOnce(&mut World) + Send>;

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("deleted", &self.deleted).finish_non_exhaustive()
    }
}

impl Registry {
    pub fn new(name: &str, world: World) -> Arc<Self> {
        let mut blobs = BTreeMap::new();
        for item in world.items.values() {
            for (digest, size) in &item.found.blobs {
                blobs.insert(digest.clone(), content(digest, *size));
            }
        }
        Arc::new(Self {
            name: name.to_owned(),
            inner: Mutex::new(Inner {
                world,
                blobs,
                refused: BTreeSet::new(),
                lives: usize::MAX,
                dies_after: false,
                digests_only: false,
                deleted: Vec::new(),
                put: BTreeSet::new(),
                asked: BTreeMap::new(),
                later: None,
            }),
            died: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    pub fn world(&self) -> World {
        self.lock().world.clone()
    }

    pub fn change(&self, change: impl FnOnce(&mut World)) {
        change(&mut self.lock().world);
    }

    pub fn refuse(&self, digests: BTreeSet<Digest>) {
        self.lock().refused = digests;
    }

    pub fn only_by_digest(&self) {
        self.lock().digests_only = true;
    }

    /// Dies at the deletion after so many, before or after it is carried out.
    pub fn die_at(&self, lives: usize, after: bool) {
        let mut inner = self.lock();
        (inner.lives, inner.dies_after) = (lives, after);
    }

    pub fn deleted(&self) -> Vec<Reference> {
        self.lock().deleted.clone()
    }

    /// Somebody changes it when so many more deletions were answered.
    pub fn change_after(&self, deletions: usize, change: impl FnOnce(&mut World) + Send + 'static) {
        self.lock().later = Some((deletions, Box::new(change)));
    }

    /// How often each was asked for since the last time this was called: `tags`, `resolve`,
    /// `manifest`, `blob`, `referrers`, and `write` for all that changes something.
    pub fn take_asked(&self) -> BTreeMap<&'static str, usize> {
        std::mem::take(&mut self.lock().asked)
    }

    fn asked_for(&self, what: &'static str) -> MutexGuard<'_, Inner> {
        let mut inner = self.lock();
        *inner.asked.entry(what).or_default() += 1;
        inner
    }

    fn error(&self, kind: ErrorKind) -> Error {
        let cause =
            Cause::Refused { kind, status: "no".to_owned(), message: "DENIED: no".to_owned() };
        Error::new("delete", &self.name, cause)
    }
}

impl Inner {
    /// Deletes; `false`: it was not there.
    fn delete(&mut self, reference: &Reference) -> bool {
        let is_trial = match reference {
            Reference::Tag(tag) => is_trial(tag),
            Reference::Digest(digest) => self.put.contains(digest),
        };
        if !is_trial {
            self.deleted.push(reference.clone());
        }
        match reference {
            Reference::Tag(tag) => self.world.tags.remove(tag).is_some(),
            Reference::Digest(digest) => {
                self.world.tags.retain(|_, (target, _)| target != digest);
                self.world.items.remove(digest).is_some()
            }
        }
    }

    /// What somebody else does by now.
    fn change(&mut self) {
        match self.later.take() {
            Some((0 | 1, change)) => change(&mut self.world),
            Some((left, change)) => self.later = Some((left - 1, change)),
            None => {}
        }
    }

    fn find(&self, reference: &Reference) -> Option<(Digest, &Item)> {
        let digest = match reference {
            Reference::Tag(tag) => &self.world.tags.get(tag)?.0,
            Reference::Digest(digest) => digest,
        };
        Some((digest.clone(), self.world.items.get(digest)?))
    }
}

/// Whether a tag is one on which the engine tries what the registry can do.
pub fn is_trial(tag: &Tag) -> bool {
    derived::parse(tag).is_some_and(|tag| tag.is_trial())
}

/// What has one of the digests that are generated.
fn content(digest: &Digest, size: u64) -> Bytes {
    let of = |byte: u8| Bytes::from(vec![byte; usize::try_from(size).unwrap()]);
    let found = (0..=u8::MAX).map(of).find(|content| digest.matches(content));
    found.expect("a blob is a byte, repeated")
}

fn descriptor(digest: &Digest, media_type: &str, size: u64) -> Descriptor {
    Descriptor::new(media_type, digest.clone(), size)
}

/// A manifest whose digest is only claimed: who asks for it by that has it verified.
fn manifest(digest: Digest, found: &ManifestSummary) -> Manifest {
    let part = |digest: &Digest| descriptor(digest, media_type::OCI_MANIFEST, 100);
    let blob =
        |(digest, size): &(Digest, u64)| descriptor(digest, "application/octet-stream", *size);
    Manifest {
        raw: Bytes::from(vec![0; usize::try_from(found.size).unwrap()]),
        media_type: match found.is_index {
            true => media_type::OCI_INDEX.to_owned(),
            false => media_type::OCI_MANIFEST.to_owned(),
        },
        digest,
        document: match found.is_index {
            true => Document::Index { children: found.children.iter().map(part).collect() },
            false => Document::Image { blobs: found.blobs.iter().map(blob).collect() },
        },
        subject: found.subject.as_ref().map(part),
        artifact_type: found.artifact_type.clone(),
        annotations: None,
    }
}

#[async_trait]
impl Repository for Registry {
    fn name(&self) -> &str {
        &self.name
    }

    fn store(&self) -> &str {
        self.name.split('/').next().unwrap()
    }

    fn path(&self) -> &str {
        self.name.split_once('/').unwrap().1
    }

    async fn tags(&self) -> Result<Option<Vec<Tag>>> {
        Ok(Some(self.asked_for("tags").world.tags.keys().cloned().collect()))
    }

    async fn resolve(&self, reference: &Reference) -> Result<Option<Resolved>> {
        let found = self.asked_for("resolve").find(reference).map(|(digest, _)| digest);
        Ok(found.map(|digest| Resolved { digest, media_type: None }))
    }

    async fn manifest_within(&self, reference: &Reference, _: usize) -> Result<Option<Manifest>> {
        let inner = self.asked_for("manifest");
        Ok(inner.find(reference).map(|(digest, item)| manifest(digest, &item.found)))
    }

    async fn blob_size(&self, digest: &Digest) -> Result<Option<u64>> {
        Ok(self.lock().blobs.get(digest).map(|blob| blob.len() as u64))
    }

    async fn blob(&self, digest: &Digest, offset: u64) -> Result<BlobReader> {
        assert_eq!(offset, 0);
        let blob = self.asked_for("blob").blobs.get(digest).cloned().expect("the blob is there");
        let size = Some(blob.len() as u64);
        Ok(BlobReader { offset: 0, size, chunks: futures_util::stream::iter([Ok(blob)]).boxed() })
    }

    async fn start_upload(&self, digest: &Digest, _: Option<&str>) -> Result<UploadStart> {
        Ok(match self.asked_for("write").blobs.contains_key(digest) {
            true => UploadStart::Present,
            false => {
                UploadStart::Session(UploadSession { location: digest.to_string(), offset: 0 })
            }
        })
    }

    async fn finish_upload(
        &self,
        _: &UploadSession,
        digest: &Digest,
        body: BlobBody,
    ) -> Result<()> {
        let chunks: Vec<Bytes> = body.chunks.try_collect().await.unwrap();
        let bytes = Bytes::from(chunks.concat());
        assert!(digest.matches(&bytes));
        self.lock().blobs.insert(digest.clone(), bytes);
        Ok(())
    }

    async fn upload_status(&self, _: &UploadSession) -> Result<Option<UploadSession>> {
        Ok(None)
    }

    async fn cancel_upload(&self, _: &UploadSession) {}

    async fn put_manifest(&self, placement: &Placement, manifest: &Manifest) -> Result<Stored> {
        let found = ManifestSummary {
            subject: manifest.subject.as_ref().map(|subject| subject.digest.clone()),
            ..ManifestSummary::of(manifest).unwrap()
        };
        let mut inner = self.asked_for("write");
        assert!(found.blobs.iter().all(|(digest, _)| inner.blobs.contains_key(digest)));
        if !inner.world.items.contains_key(&manifest.digest) {
            inner.put.insert(manifest.digest.clone());
        }
        let item = Item { found, times: Vec::new(), locked: false };
        inner.world.items.entry(manifest.digest.clone()).or_insert(item);
        if let Placement::Tag(tag) = placement {
            inner.world.tags.insert(tag.clone(), (manifest.digest.clone(), false));
        }
        Ok(Stored { lists_referrer: true, at_once: true })
    }

    async fn referrers(&self, subject: &Digest) -> Result<Option<Vec<Digest>>> {
        let inner = self.asked_for("referrers");
        let of = |item: &&Item| item.found.subject.as_ref() == Some(subject);
        let listed = inner.world.items.iter().filter(|(_, item)| of(item));
        Ok(Some(listed.map(|(digest, _)| digest.clone()).collect()))
    }

    async fn delete(&self, reference: &Reference) -> Result<bool> {
        {
            let mut inner = self.asked_for("write");
            if matches!(reference, Reference::Tag(_)) && inner.digests_only {
                return Err(self.error(ErrorKind::Unsupported));
            }
            if matches!(reference, Reference::Digest(digest) if inner.refused.contains(digest)) {
                return Err(self.error(ErrorKind::Policy));
            }
            if inner.lives > 0 {
                inner.lives -= 1;
                let found = inner.delete(reference);
                inner.change();
                return Ok(found);
            }
            if inner.dies_after {
                inner.delete(reference);
                inner.change();
            }
        }
        self.died.notify_one();
        std::future::pending().await
    }
}
