//! Taking one tag from a manifest that stays.
//!
//! The protocol has it (distribution-spec, "Deleting tags"), and registries answer it in three
//! ways: they do it, they refuse, or they delete the manifest with all its tags. So the first time
//! at a registry the manifest is looked for afterwards, and put back if it is gone.

use super::setback::Setback;
use crate::oci::{Digest, Manifest, Tag};
use crate::repository::{Cause, Error, Placement, Reference, Repository, Result};
use crate::state::{Ability, State};

/// What became of a tag.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::cleanup) enum Taken {
    /// It is gone, and the manifest is there; with what is to be told of that.
    Done(Option<String>),
    /// It was gone.
    Gone,
    /// It has been moved.
    Moved(Digest),
    /// It is still there.
    Stays(Setback),
}

/// A tag that is to be taken away.
pub(in crate::cleanup) struct Taking<'a> {
    pub repository: &'a dyn Repository,
    pub state: &'a State,
    pub tag: &'a Tag,
    pub digest: &'a Digest,
    /// The other tags of the manifest.
    pub others: &'a [&'a Tag],
    /// Whether something of no use may be pushed to the tag, to be deleted with it.
    pub overwrite: bool,
}

impl Taking<'_> {
    pub async fn run(&self) -> Taken {
        match self.take().await {
            Ok(taken) => taken,
            Err(error) => Taken::Stays(Setback::of(&error)),
        }
    }

    async fn take(&self) -> Result<Taken> {
        match self.resolve(&Reference::Tag(self.tag.clone())).await? {
            None => return Ok(Taken::Gone),
            Some(found) if found != *self.digest => return Ok(Taken::Moved(found)),
            Some(_) => {}
        }
        let store = self.repository.store();
        match self.state.ability(store, Ability::Untag) {
            Some(false) => self.otherwise("it was tried before").await,
            Some(true) => self.delete().await,
            None => {
                // Had before: afterwards it may be too late.
                let reference = Reference::Digest(self.digest.clone());
                let Some(manifest) = self.repository.manifest(&reference).await? else {
                    return Ok(Taken::Gone);
                };
                let taken = self.delete().await?;
                if !matches!(taken, Taken::Done(None)) {
                    return Ok(taken);
                }
                if self.resolve(&reference).await?.is_some() {
                    self.state.set_ability(store, Ability::Untag, Some(true));
                    return Ok(taken);
                }
                self.state.set_ability(store, Ability::Untag, Some(false));
                self.put_back(&manifest).await
            }
        }
    }

    async fn resolve(&self, reference: &Reference) -> Result<Option<Digest>> {
        Ok(self.repository.resolve(reference).await?.map(|resolved| resolved.digest))
    }

    async fn delete(&self) -> Result<Taken> {
        match self.repository.delete(&Reference::Tag(self.tag.clone())).await {
            Ok(true) => Ok(Taken::Done(None)),
            Ok(false) => Ok(Taken::Gone),
            Err(error) if cannot(&error) => {
                self.state.set_ability(self.repository.store(), Ability::Untag, Some(false));
                self.otherwise(&error.cause().to_string()).await
            }
            Err(error) => Err(error),
        }
    }

    /// The registry took more than it was asked for.
    async fn put_back(&self, manifest: &Manifest) -> Result<Taken> {
        let placements: Vec<Placement> = match self.others {
            [] => vec![Placement::Part],
            tags => tags.iter().map(|tag| Placement::Tag((*tag).clone())).collect(),
        };
        for placement in placements {
            self.repository.put_manifest(&placement, manifest).await?;
        }
        let note = "the registry deleted the manifest with all its tags when it was asked for one tag; it was put back, and single tags are not asked for there again";
        Ok(Taken::Done(Some(note.to_owned())))
    }

    /// Where the registry deletes by digest only.
    async fn otherwise(&self, why: &str) -> Result<Taken> {
        if self.overwrite {
            return self.overwrite().await;
        }
        let reason = format!(
            "shared-digest: the manifest stays, and this registry cannot take one tag away ({why}); untag = \"overwrite\" in the rule would push something else to the tag and delete that"
        );
        Ok(Taken::Stays(Setback {
            outcome: super::super::report::Outcome::Refused,
            reason,
            is_general: false,
        }))
    }

    /// Moves the tag to a manifest of its own, and deletes that with it.
    async fn overwrite(&self) -> Result<Taken> {
        let dummy = dummy(self.tag, self.digest).map_err(|error| self.fail(error.into()))?;
        let placement = Placement::Tag(self.tag.clone());
        self.repository.put_manifest(&placement, &dummy).await?;
        let deleted = self.repository.delete(&Reference::Digest(dummy.digest.clone())).await;
        let Err(error) = deleted else { return Ok(Taken::Done(None)) };
        // Better the old tag than one at nothing.
        let reference = Reference::Digest(self.digest.clone());
        if let Some(manifest) = self.repository.manifest(&reference).await? {
            self.repository.put_manifest(&placement, &manifest).await?;
        }
        Err(error)
    }

    fn fail(&self, cause: Cause) -> Error {
        let name = format!("{}:{}", self.repository.name(), self.tag);
        Error::new("untag", name, cause)
    }
}

/// Whether the answer means that single tags cannot be deleted. With deletion switched off the
/// answer is the same, which the next deletion by digest will show.
fn cannot(error: &Error) -> bool {
    matches!(error.cause(), Cause::Unsupported(_))
        || error.status() == Some(http::StatusCode::METHOD_NOT_ALLOWED)
        || error.has_code("UNSUPPORTED")
}

/// An index of nothing, which needs no blobs, and which nobody else has.
fn dummy(
    tag: &Tag,
    digest: &Digest,
) -> std::result::Result<Manifest, crate::oci::manifest::ManifestError> {
    let document = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": crate::oci::media_type::OCI_INDEX,
        "manifests": [],
        "annotations": {
            "org.opencontainers.image.description": "pushed by tranship to take a tag away",
            "tranship.untag": format!("{tag} of {digest}"),
        },
    });
    Manifest::parse(document.to_string().into(), None, None)
}
