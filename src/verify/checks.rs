//! Checks of the parts of images at targets: is a manifest there, is a blob there, are its bytes
//! right? Each part is checked once, however many images share it.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::StreamExt;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::memo::Memo;
use super::report::{Checked, Problem, ProblemKind};
use crate::hashing::Hashing;
use crate::oci::{Descriptor, Digest, Manifest};
use crate::repository::{Error, Reference, Repository};
use crate::transfer::BlobsOnWire;

/// Blobs downloaded from one store at once: the downloads of one that is stuck hold up no others.
const DOWNLOADS: usize = 16;
/// Attempts at one download, each continuing where the one before broke off.
const TRIES: u32 = 4;

/// What was found of the parts of images.
#[derive(Debug)]
pub(super) struct TargetChecks {
    /// Every blob of the target is downloaded and hashed.
    pub read: bool,
    manifests: Memo,
    blobs: Memo,
    bytes: Memo,
    /// By store.
    downloads: Mutex<HashMap<String, Arc<Semaphore>>>,
    counts: Mutex<Checked>,
    /// The blobs that are being downloaded.
    pub on_wire: BlobsOnWire,
}

impl TargetChecks {
    pub fn new(read: bool) -> Self {
        Self {
            read,
            manifests: Memo::default(),
            blobs: Memo::default(),
            bytes: Memo::default(),
            downloads: Mutex::default(),
            counts: Mutex::default(),
            on_wire: BlobsOnWire::default(),
        }
    }

    /// How much was checked until now.
    pub fn checked(&self) -> Checked {
        *self.counts.lock()
    }

    /// Counts a manifest that was read and compared elsewhere: the root of an image.
    pub fn count_manifest(&self) {
        self.counts.lock().manifests += 1;
    }

    /// Forgets what was found wrong, so that it is checked again.
    pub fn forget_problems(&self) {
        for memo in [&self.manifests, &self.blobs, &self.bytes] {
            memo.forget_problems();
        }
    }

    /// What is wrong with a manifest at the target, read there by its digest.
    pub async fn manifest(&self, target: &dyn Repository, wanted: &Manifest) -> Option<Problem> {
        let look = async {
            let subject = || format!("{}@{}", target.name(), wanted.digest);
            self.count_manifest();
            match target.manifest(&Reference::Digest(wanted.digest.clone())).await {
                Err(error) => Some(Problem::of_manifest(&error)),
                Ok(None) => Some(Problem::new(
                    ProblemKind::ManifestMissing,
                    subject(),
                    "the manifest is missing",
                )),
                Ok(Some(found)) => differing_type(wanted, &found)
                    .map(|message| Problem::new(ProblemKind::ManifestDiffers, subject(), message)),
            }
        };
        self.manifests.finding(target.name(), &wanted.digest, look).await
    }

    /// What is wrong with a blob at the target. `alive` is called while its bytes come.
    pub async fn blob(
        &self,
        target: &dyn Repository,
        blob: &Descriptor,
        alive: &(dyn Fn() + Sync),
    ) -> Option<Problem> {
        let look = self.look_up(target, blob, alive);
        let problem = self.blobs.finding(target.name(), &blob.digest, look).await;
        if problem.is_some() || !self.read {
            return problem;
        }
        self.bytes(target, blob, alive).await
    }

    /// What is wrong with the bytes of a blob. Repositories of one store share their blobs: reading
    /// one of them is enough.
    async fn bytes(
        &self,
        target: &dyn Repository,
        blob: &Descriptor,
        alive: &(dyn Fn() + Sync),
    ) -> Option<Problem> {
        let check = self.check_bytes(target, blob, alive);
        self.bytes.finding(target.store(), &blob.digest, check).await
    }

    async fn look_up(
        &self,
        target: &dyn Repository,
        blob: &Descriptor,
        alive: &(dyn Fn() + Sync),
    ) -> Option<Problem> {
        self.counts.lock().blobs += 1;
        match target.blob_size(&blob.digest).await {
            Err(error) => Some(Problem::unreadable(&error)),
            Ok(None) => Some(Problem::new(
                ProblemKind::BlobMissing,
                subject(target, blob),
                format!("the blob is missing ({} bytes)", blob.size),
            )),
            // The descriptor may be wrong, and the same at the source: the digest tells.
            Ok(Some(size))
                if size != blob.size && self.bytes(target, blob, alive).await.is_some() =>
            {
                let message = format!("the blob has {size} bytes instead of {}", blob.size);
                Some(Problem::new(ProblemKind::BlobSize, subject(target, blob), message))
            }
            Ok(Some(size)) => {
                self.counts.lock().bytes += size;
                None
            }
        }
    }

    async fn check_bytes(
        &self,
        target: &dyn Repository,
        blob: &Descriptor,
        alive: &(dyn Fn() + Sync),
    ) -> Option<Problem> {
        let downloads = self.downloads_of(target.store());
        // The semaphore is never closed.
        let _permit = downloads.acquire().await;
        match self.hash(target, blob, alive).await {
            Err(error) => Some(Problem::unreadable(&error)),
            Ok(found) if found == blob.digest => None,
            Ok(found) => Some(Problem::new(
                ProblemKind::BlobBytes,
                subject(target, blob),
                format!("the blob's bytes are wrong, their digest is {found}"),
            )),
        }
    }

    fn downloads_of(&self, store: &str) -> Arc<Semaphore> {
        let mut all = self.downloads.lock();
        let new = || Arc::new(Semaphore::new(DOWNLOADS));
        Arc::clone(all.entry(store.to_owned()).or_insert_with(new))
    }

    /// The digest of a blob's bytes. Reading ends soon after the size that the blob should have, or
    /// that the target says it has.
    async fn hash(
        &self,
        target: &dyn Repository,
        blob: &Descriptor,
        alive: &(dyn Fn() + Sync),
    ) -> Result<Digest, Error> {
        let (mut hashing, mut read, mut tries) = (Hashing::new(blob.digest.hasher()), 0, 0);
        let on_wire = self.on_wire.begin(&subject(target, blob), blob.size);
        loop {
            tries += 1;
            let outcome = async {
                let mut reader = target.blob(&blob.digest, read).await?;
                if reader.offset == 0 {
                    (hashing, read) = (Hashing::new(blob.digest.hasher()), 0);
                }
                let size = reader.size.map_or(blob.size, |size| size.max(blob.size));
                while read <= size
                    && let Some(chunk) = reader.chunks.next().await
                {
                    let chunk = chunk?;
                    hashing.update(&chunk).await;
                    read += chunk.len() as u64;
                    on_wire.reached(read);
                    self.counts.lock().bytes_read += chunk.len() as u64;
                    alive();
                }
                Ok(())
            };
            match outcome.await {
                Ok(()) => return Ok(hashing.finish().await),
                Err(error) if tries >= TRIES || read >= blob.size => return Err(error),
                Err(error) => tracing::debug!(%error, read, "reading the blob broke off, going on"),
            }
        }
    }
}

fn subject(target: &dyn Repository, blob: &Descriptor) -> String {
    format!("{}@{}", target.name(), blob.digest)
}

/// The same bytes under another media type are another image to clients that pull it.
pub(super) fn differing_type(wanted: &Manifest, found: &Manifest) -> Option<String> {
    (wanted.media_type != found.media_type).then(|| {
        format!(
            "the manifest is served as `{}` instead of `{}`",
            found.media_type, wanted.media_type
        )
    })
}
