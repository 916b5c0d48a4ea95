//! The parts of an image at the target: is a manifest there, is a blob there, are its bytes right?

use std::sync::atomic::Ordering;

use futures_util::StreamExt;

use super::Verifier;
use super::report::{Kind, Problem};
use crate::oci::{Descriptor, Digest, Manifest};
use crate::repository::{Error, Reference, Repository};

/// How often a download that breaks off is gone on with.
const TRIES: u32 = 4;

impl Verifier {
    /// What is wrong with a manifest at the target, read there by its digest.
    pub(super) async fn manifest(
        &self,
        target: &dyn Repository,
        wanted: &Manifest,
    ) -> Option<Problem> {
        let look = async {
            let subject = || format!("{}@{}", target.name(), wanted.digest);
            self.tally.manifests.fetch_add(1, Ordering::Relaxed);
            match target.manifest(&Reference::Digest(wanted.digest.clone())).await {
                Err(error) => Some(Problem::of_manifest(&error)),
                Ok(None) => {
                    Some(Problem::new(Kind::ManifestMissing, subject(), "the manifest is missing"))
                }
                Ok(Some(found)) => differing_type(wanted, &found)
                    .map(|message| Problem::new(Kind::ManifestDiffers, subject(), message)),
            }
        };
        self.manifests.finding(target.name(), &wanted.digest, look).await
    }

    /// What is wrong with a blob at the target.
    pub(super) async fn blob(&self, target: &dyn Repository, blob: &Descriptor) -> Option<Problem> {
        let look = self.look_up(target, blob);
        let problem = self.blobs.finding(target.name(), &blob.digest, look).await;
        if problem.is_some() || !self.read {
            return problem;
        }
        // Repositories of one store share their blobs: reading one of them is enough.
        self.bytes.finding(target.store(), &blob.digest, self.read_through(target, blob)).await
    }

    async fn look_up(&self, target: &dyn Repository, blob: &Descriptor) -> Option<Problem> {
        self.tally.blobs.fetch_add(1, Ordering::Relaxed);
        match target.blob_size(&blob.digest).await {
            Err(error) => Some(Problem::unreadable(&error)),
            Ok(None) => Some(Problem::new(
                Kind::BlobMissing,
                subject(target, blob),
                format!("the blob is missing ({} bytes)", blob.size),
            )),
            Ok(Some(size)) if size != blob.size => {
                let message = format!("the blob has {size} bytes instead of {}", blob.size);
                Some(Problem::new(Kind::BlobSize, subject(target, blob), message))
            }
            Ok(Some(size)) => {
                self.tally.bytes.fetch_add(size, Ordering::Relaxed);
                None
            }
        }
    }

    async fn read_through(&self, target: &dyn Repository, blob: &Descriptor) -> Option<Problem> {
        // The semaphore is never closed.
        let _place = self.downloads.acquire().await;
        match self.hash(target, blob).await {
            Err(error) => Some(Problem::unreadable(&error)),
            Ok(found) if found == blob.digest => None,
            Ok(found) => Some(Problem::new(
                Kind::BlobBytes,
                subject(target, blob),
                format!("the blob's bytes are wrong, their digest is {found}"),
            )),
        }
    }

    /// The digest of a blob's bytes. More bytes than the blob should have are not read.
    async fn hash(&self, target: &dyn Repository, blob: &Descriptor) -> Result<Digest, Error> {
        let (mut hasher, mut read, mut tries) = (blob.digest.hasher(), 0, 0);
        loop {
            tries += 1;
            let outcome = async {
                let mut reader = target.blob(&blob.digest, read).await?;
                if reader.offset == 0 {
                    (hasher, read) = (blob.digest.hasher(), 0);
                }
                while read <= blob.size
                    && let Some(chunk) = reader.chunks.next().await
                {
                    let chunk = chunk?;
                    hasher.update(&chunk);
                    read += chunk.len() as u64;
                    self.tally.bytes_read.fetch_add(chunk.len() as u64, Ordering::Relaxed);
                }
                Ok(())
            };
            match outcome.await {
                Ok(()) => return Ok(hasher.finish()),
                Err(error) if tries >= TRIES || read >= blob.size => return Err(error),
                Err(error) => tracing::debug!(%error, read, "reading the blob broke off, going on"),
            }
        }
    }
}

fn subject(target: &dyn Repository, blob: &Descriptor) -> String {
    format!("{}@{}", target.name(), blob.digest)
}

/// The same bytes under another type are another image to those who pull it.
pub(super) fn differing_type(wanted: &Manifest, found: &Manifest) -> Option<String> {
    (wanted.media_type != found.media_type).then(|| {
        format!(
            "the manifest is served as `{}` instead of `{}`",
            found.media_type, wanted.media_type
        )
    })
}
