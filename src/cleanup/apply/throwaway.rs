//! Manifests of no use: an index of nothing, which needs no blobs. On one with two tags it is tried
//! whether a registry can take one tag away, and one takes the place of another where it cannot.

use serde_json::json;

use crate::oci::manifest::ManifestError;
use crate::oci::{Digest, Manifest, Tag, media_type};
use crate::repository::{Cause, Error, ErrorKind, Placement, Reference, Repository, Result};

/// The first part of the tags on which it is tried.
const TRIAL: &str = "tranship-trial-";

/// Tries things on a manifest of no use.
pub(in crate::cleanup) struct Throwaway<'a> {
    pub repository: &'a dyn Repository,
}

impl Throwaway<'_> {
    /// Whether one tag can be deleted without anything else going; why not.
    ///
    /// # Errors
    /// Nothing was found out.
    pub async fn untags(&self) -> Result<std::result::Result<(), String>> {
        let [one, other] = ["a", "b"].map(|end| {
            // Letters, digits and dashes, shorter than 128.
            Tag::from_valid(format!("{TRIAL}{:016x}-{end}", fastrand::u64(..)))
        });
        // A tag that nobody has: registries that delete by digest only say so at once.
        if let Err(why) = self.delete(&one).await? {
            return Ok(Err(why));
        }
        let dummy = dummy(&one, &Digest::of(other.as_str().as_bytes()))
            .map_err(|error| Error::new("try on", self.repository.name(), Cause::from(error)))?;
        for tag in [&one, &other] {
            if let Err(error) =
                self.repository.put_manifest(&Placement::Tag(tag.clone()), &dummy).await
            {
                self.remove(&dummy).await;
                let why = error.cause();
                return Ok(Err(format!("it cannot be tried without pushing something: {why}")));
            }
        }
        let found = self.take_one(&one, &other, &dummy).await;
        self.remove(&dummy).await;
        found
    }

    async fn take_one(
        &self,
        one: &Tag,
        other: &Tag,
        dummy: &Manifest,
    ) -> Result<std::result::Result<(), String>> {
        if let Err(why) = self.delete(one).await? {
            return Ok(Err(why));
        }
        let there = |reference: Reference| async move {
            Ok::<_, Error>(self.repository.resolve(&reference).await?.is_some())
        };
        if there(Reference::Tag(one.clone())).await? {
            return Ok(Err("it says that the tag is deleted, and it is not".to_owned()));
        }
        if !there(Reference::Tag(other.clone())).await?
            || !there(Reference::Digest(dummy.digest.clone())).await?
        {
            return Ok(Err("it takes all tags when it is asked for one".to_owned()));
        }
        Ok(Ok(()))
    }

    /// Whether the registry takes a request to delete one tag; why not.
    async fn delete(&self, tag: &Tag) -> Result<std::result::Result<(), String>> {
        match self.repository.delete(&Reference::Tag(tag.clone())).await {
            Ok(_) => Ok(Ok(())),
            Err(error) if says_no(&error) => Ok(Err(error.cause().to_string())),
            Err(error) => Err(error),
        }
    }

    /// What is left of it is of no use, and in nobody's way.
    async fn remove(&self, dummy: &Manifest) {
        let reference = Reference::Digest(dummy.digest.clone());
        if let Err(error) = self.repository.delete(&reference).await {
            tracing::warn!(%error, "a manifest that was only pushed to try something stays");
        }
    }
}

/// Whether the answer means that single tags cannot be deleted. With deletion switched off the
/// answer is the same, which the next deletion by digest will show.
fn says_no(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::DigestOnly)
}

/// The index of nothing that takes a tag away from a digest: always the same one, and nobody
/// else's.
pub(in crate::cleanup) fn dummy(
    tag: &Tag,
    digest: &Digest,
) -> std::result::Result<Manifest, ManifestError> {
    let document = json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_INDEX,
        "manifests": [],
        "annotations": {
            "org.opencontainers.image.description": "pushed by tranship to take a tag away",
            "tranship.untag": format!("{tag} of {digest}"),
        },
    });
    Manifest::parse(document.to_string().into(), None, None)
}
