//! Deleting a manifest with all its tags.
//!
//! One request is enough nearly everywhere. Google's registries want the tags to be deleted first, and
//! answer with [`ErrorKind::Tagged`] otherwise.

use super::failure::StepFailure;
use crate::oci::{Digest, Manifest, Tag};
use crate::repository::{ErrorKind, Placement, Reference, Repository, Result};

/// What became of a manifest.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Deleted {
    Done,
    /// It was gone.
    Gone,
    /// This tag points at something else by now.
    Moved(Tag),
    /// It is still there, with its tags.
    Stays(StepFailure),
}

/// A manifest that is to be deleted.
pub(super) struct ManifestDeletion<'a> {
    pub repository: &'a dyn Repository,
    pub digest: &'a Digest,
    /// All its tags, as they were a moment ago.
    pub tags: &'a [&'a Tag],
}

impl ManifestDeletion<'_> {
    pub async fn run(&self) -> Deleted {
        match self.delete().await {
            Ok(deleted) => deleted,
            Err(error) => Deleted::Stays(StepFailure::of(&error)),
        }
    }

    async fn delete(&self) -> Result<Deleted> {
        let by_digest = Reference::Digest(self.digest.clone());
        match self.repository.delete(&by_digest).await {
            Ok(true) => Ok(Deleted::Done),
            // Some registries answer 404 to every deletion.
            Ok(false) => Ok(match self.resolve(&by_digest).await? {
                None => Deleted::Gone,
                Some(_) => Deleted::Stays(StepFailure::failed(
                    "the registry answers that it does not exist, but still serves it: it may not support deletion",
                )),
            }),
            Err(error) if error.kind() == ErrorKind::Tagged => self.tags_first().await,
            // If the answer was lost or the server failed, it may be gone all the same.
            Err(error) if error.kind().is_uncertain() => match self.resolve(&by_digest).await {
                Ok(None) => Ok(Deleted::Done),
                _ => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    async fn resolve(&self, reference: &Reference) -> Result<Option<Digest>> {
        Ok(self.repository.resolve(reference).await?.map(|resolved| resolved.digest))
    }

    async fn tags_first(&self) -> Result<Deleted> {
        let by_digest = Reference::Digest(self.digest.clone());
        let Some(manifest) = self.repository.manifest(&by_digest).await? else {
            return Ok(Deleted::Gone);
        };
        let mut taken: Vec<&Tag> = Vec::new();
        for tag in self.tags {
            // Directly before the tag is deleted: if somebody has pushed to it meanwhile, it stays.
            let by_tag = Reference::Tag((*tag).clone());
            let error = match self.resolve(&by_tag).await {
                Ok(Some(found)) if found == *self.digest => {
                    match self.repository.delete(&by_tag).await {
                        Ok(_) => {
                            taken.push(tag);
                            continue;
                        }
                        Err(error) => error,
                    }
                }
                Ok(None) => continue,
                Ok(Some(_)) => {
                    let moved = Deleted::Moved((*tag).clone());
                    return Ok(self.put_back(&manifest, &taken, moved).await);
                }
                Err(error) => error,
            };
            let stays = Deleted::Stays(StepFailure::of(&error));
            return Ok(self.put_back(&manifest, &taken, stays).await);
        }
        Ok(match self.repository.delete(&by_digest).await {
            Ok(true) => Deleted::Done,
            Ok(false) => Deleted::Gone,
            Err(error) => {
                let stays = Deleted::Stays(StepFailure::of(&error));
                self.put_back(&manifest, &taken, stays).await
            }
        })
    }

    /// Gives the manifest its tags again.
    async fn put_back(&self, manifest: &Manifest, tags: &[&Tag], instead: Deleted) -> Deleted {
        let mut lost = Vec::new();
        for tag in tags {
            let placement = Placement::Tag((*tag).clone());
            if let Err(error) = self.repository.put_manifest(&placement, manifest).await {
                lost.push(format!("its tag `{tag}` is gone and could not be put back: {error}"));
            }
        }
        if lost.is_empty() { instead } else { Deleted::Stays(StepFailure::failed(lost.join("; "))) }
    }
}
