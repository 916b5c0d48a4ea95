//! Taking one tag from a manifest that stays.
//!
//! The protocol has it (distribution-spec, "Deleting tags"), and registries answer it in four
//! ways: they do it, they refuse, they take all tags of the manifest, or the manifest too. So it is
//! tried first on a manifest of no use that is pushed for it (`throwaway`). And every time it is
//! looked at afterwards: what went along is put back.

use jiff::Timestamp;

use super::setback::Setback;
use super::throwaway::{Throwaway, dummy};
use crate::cleanup::report::Outcome;
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
    /// On disk every tag goes by itself.
    pub is_layout: bool,
    pub state: &'a State,
    pub now: Timestamp,
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
        if self.is_layout {
            return Ok(match self.repository.delete(&Reference::Tag(self.tag.clone())).await? {
                true => Taken::Done(None),
                false => Taken::Gone,
            });
        }
        match self.able().await? {
            Ok(()) => self.take_alone().await,
            Err(_) if self.overwrite => self.overwrite().await,
            Err(why) => {
                let reason = format!(
                    "shared-digest: the manifest stays, and this registry cannot take one tag away ({why}); untag = \"overwrite\" in the rule would push something else to the tag and delete that"
                );
                let outcome = Outcome::Refused;
                Ok(Taken::Stays(Setback { outcome, reason, is_general: false }))
            }
        }
    }

    /// Whether single tags can be deleted here; why not.
    async fn able(&self) -> Result<std::result::Result<(), String>> {
        let name = self.repository.name();
        match self.state.ability(name, Ability::Untag, self.now) {
            Some(true) => return Ok(Ok(())),
            Some(false) => return Ok(Err("it was tried before".to_owned())),
            None => {}
        }
        let able = Throwaway { repository: self.repository }.untags().await?;
        self.state.set_ability(name, Ability::Untag, able.is_ok(), self.now);
        Ok(able)
    }

    async fn resolve(&self, reference: &Reference) -> Result<Option<Digest>> {
        Ok(self.repository.resolve(reference).await?.map(|resolved| resolved.digest))
    }

    /// Deletes the tag, and looks whether anything else has gone.
    async fn take_alone(&self) -> Result<Taken> {
        // Had before: afterwards it may be too late.
        let by_digest = Reference::Digest(self.digest.clone());
        let Some(manifest) = self.repository.manifest(&by_digest).await? else {
            return Ok(Taken::Gone);
        };
        // Whatever is answered, or not: it may have been carried out.
        let done = self.repository.delete(&Reference::Tag(self.tag.clone())).await;
        let mut lost = Vec::new();
        if self.resolve(&by_digest).await?.is_none() && self.others.is_empty() {
            lost.push(Placement::Part);
        }
        for tag in self.others {
            if self.resolve(&Reference::Tag((*tag).clone())).await?.is_none() {
                lost.push(Placement::Tag((*tag).clone()));
            }
        }
        if lost.is_empty() {
            return match done {
                Ok(true) => Ok(Taken::Done(None)),
                Ok(false) => Ok(Taken::Gone),
                Err(_) if self.resolve(&Reference::Tag(self.tag.clone())).await?.is_none() => {
                    Ok(Taken::Done(None))
                }
                Err(error) => Err(error),
            };
        }
        self.state.set_ability(self.repository.name(), Ability::Untag, false, self.now);
        self.put_back(&manifest, &lost).await
    }

    /// The registry took more than it was asked for.
    async fn put_back(&self, manifest: &Manifest, lost: &[Placement]) -> Result<Taken> {
        let mut failures = Vec::new();
        for placement in lost {
            if let Err(error) = self.repository.put_manifest(placement, manifest).await {
                let what = match placement {
                    Placement::Tag(tag) => format!("tag `{tag}`"),
                    Placement::Part | Placement::Digest => "the manifest".to_owned(),
                };
                failures.push(format!("{what} is LOST and could not be put back: {error}"));
            }
        }
        if failures.is_empty() {
            let note = "the registry took more than the tag: what went along was put back, and single tags are not asked for there again";
            return Ok(Taken::Done(Some(note.to_owned())));
        }
        let reason = format!(
            "the registry took more than the tag it was asked for; {}",
            failures.join("; ")
        );
        Ok(Taken::Stays(Setback { outcome: Outcome::Failed, reason, is_general: true }))
    }

    /// Moves the tag to a manifest of its own, and deletes that with it.
    async fn overwrite(&self) -> Result<Taken> {
        let dummy = dummy(self.tag, self.digest).map_err(|error| self.fail(error.into()))?;
        let placement = Placement::Tag(self.tag.clone());
        let by_digest = Reference::Digest(self.digest.clone());
        let Some(manifest) = self.repository.manifest(&by_digest).await? else {
            return Ok(Taken::Gone);
        };
        self.repository.put_manifest(&placement, &dummy).await?;
        let deleted = self.repository.delete(&Reference::Digest(dummy.digest.clone())).await;
        let Err(error) = deleted else { return Ok(Taken::Done(None)) };
        // Better the old tag than one at nothing.
        if let Err(other) = self.repository.put_manifest(&placement, &manifest).await {
            let cause = Cause::Protocol(format!(
                "{}, and the tag, which points at an empty index now, could not be put back: {}",
                error.cause(),
                other.cause()
            ));
            return Err(self.fail(cause));
        }
        Err(error)
    }

    fn fail(&self, cause: Cause) -> Error {
        let name = format!("{}:{}", self.repository.name(), self.tag);
        Error::new("untag", name, cause)
    }
}
