//! Placeholder manifests: indexes of nothing, which need no blobs. On one with two tags it is tried
//! whether a registry can delete a single tag; where it cannot, one can take the place of an image
//! under its tag.

use serde_json::json;

use crate::oci::derived::TRIAL;
use crate::oci::manifest::ManifestError;
use crate::oci::{Digest, Manifest, Tag, media_type};
use crate::repository::{Cause, Error, ErrorKind, Placement, Reference, Repository, Result};

/// Finds out what a registry does, on a placeholder.
pub(super) struct Probe<'a> {
    pub repository: &'a dyn Repository,
}

impl Probe<'_> {
    /// Whether one tag can be deleted without anything else going; if not, why.
    ///
    /// # Errors
    /// Nothing was found out.
    pub async fn can_untag(&self) -> Result<std::result::Result<(), String>> {
        let [one, other] = ["a", "b"].map(|end| {
            // Letters, digits and dashes, shorter than 128.
            Tag::from_valid(format!("{TRIAL}{:016x}-{end}", fastrand::u64(..)))
        });
        // A tag that nobody has: registries that delete by digest only say so at once.
        if let Err(why) = self.delete(&one).await? {
            return Ok(Err(why));
        }
        let placeholder = placeholder(&one, &Digest::of(other.as_str().as_bytes()))
            .map_err(|error| Error::new("try on", self.repository.name(), Cause::from(error)))?;
        for tag in [&one, &other] {
            if let Err(error) =
                self.repository.put_manifest(&Placement::Tag(tag.clone()), &placeholder).await
            {
                self.remove(&placeholder).await;
                let why = error.cause();
                return Ok(Err(format!("it cannot be tried without pushing something: {why}")));
            }
        }
        let found = self.delete_one(&one, &other, &placeholder).await;
        self.remove(&placeholder).await;
        found
    }

    async fn delete_one(
        &self,
        one: &Tag,
        other: &Tag,
        placeholder: &Manifest,
    ) -> Result<std::result::Result<(), String>> {
        if let Err(why) = self.delete(one).await? {
            return Ok(Err(why));
        }
        let there = |reference: Reference| async move {
            Ok::<_, Error>(self.repository.resolve(&reference).await?.is_some())
        };
        if there(Reference::Tag(one.clone())).await? {
            return Ok(Err("it reports the tag as deleted, but the tag is still there".to_owned()));
        }
        if !there(Reference::Tag(other.clone())).await?
            || !there(Reference::Digest(placeholder.digest.clone())).await?
        {
            return Ok(Err(
                "it deletes all tags of a manifest when one of them is deleted".to_owned()
            ));
        }
        Ok(Ok(()))
    }

    /// Whether the registry accepts a request to delete one tag; if not, why.
    async fn delete(&self, tag: &Tag) -> Result<std::result::Result<(), String>> {
        match self.repository.delete(&Reference::Tag(tag.clone())).await {
            Ok(_) => Ok(Ok(())),
            // Where deletion is switched off, the answer is the same; the next deletion by digest will
            // show that.
            Err(error) => match error.kind() {
                ErrorKind::Unsupported | ErrorKind::DigestOnly => {
                    Ok(Err(error.cause().to_string()))
                }
                _ => Err(error),
            },
        }
    }

    /// Removes the placeholder. If that fails, nobody is harmed by what is left: no rule selects it, and
    /// rules about orphans delete it.
    async fn remove(&self, placeholder: &Manifest) {
        let reference = Reference::Digest(placeholder.digest.clone());
        if let Err(error) = self.repository.delete(&reference).await {
            tracing::warn!(%error, "a manifest that was only pushed to try something stays");
        }
    }
}

/// The placeholder for a tag of a digest: always the same manifest, and nobody else's.
pub(super) fn placeholder(
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
