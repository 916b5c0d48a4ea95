//! Taking one tag from a manifest that stays.
//!
//! The protocol allows it (distribution-spec, "Deleting tags"), and registries answer the request in
//! four ways: they do it, they refuse, they delete all tags of the manifest, or the manifest too. So
//! it is tried first on a manifest that is pushed for it (`probe`). And each time, what else the
//! registry deleted is noticed and put back; where that cannot be found out, the next run does it
//! (`recover`), because the manifest is in the audit.

use jiff::Timestamp;

use super::failure::StepFailure;
use super::probe::{Probe, placeholder};
use super::step::StepOutcome;
use crate::oci::{Digest, Manifest, Tag};
use crate::repository::{Cause, Error, Placement, Reference, Repository, Result, Untag};
use crate::state::RegistryAbilities;

/// What became of a tag.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Untagged {
    /// It is gone, and the manifest is there; with a note for people.
    Done(Option<String>),
    /// It was gone.
    Gone,
    /// It points at something else by now.
    Moved(Digest),
    /// It is still there.
    Stays(StepFailure),
    /// What the registry deleted could not be found out, or not be put back.
    Unfinished(StepFailure),
}

/// A tag that is to be taken from its manifest.
pub(super) struct Untagging<'a> {
    pub repository: &'a dyn Repository,
    pub abilities: &'a dyn RegistryAbilities,
    pub now: Timestamp,
    pub tag: &'a Tag,
    pub digest: &'a Digest,
    /// The other tags of the manifest, which must stay.
    pub others: &'a [&'a Tag],
    /// The manifest, where the registry may delete more than the tag.
    pub manifest: Option<&'a Manifest>,
    /// A placeholder may be pushed to the tag, to be deleted with it.
    pub overwrite: bool,
}

impl Untagging<'_> {
    pub async fn run(&self) -> Untagged {
        match self.untag().await {
            Ok(untagged) => untagged,
            Err(error) => Untagged::Stays(StepFailure::of(&error)),
        }
    }

    async fn untag(&self) -> Result<Untagged> {
        let Some(manifest) = self.manifest else {
            if let Some(other) = self.has_changed().await? {
                return Ok(other);
            }
            return Ok(match self.repository.delete(&Reference::Tag(self.tag.clone())).await? {
                true => Untagged::Done(None),
                false => Untagged::Gone,
            });
        };
        match self.can_untag().await? {
            Ok(()) => self.delete_and_look(manifest).await,
            Err(_) if self.overwrite => self.overwrite(manifest).await,
            Err(why) => {
                let reason = format!(
                    "shared-digest: the manifest stays, and this registry cannot take one tag away ({why}); untag = \"overwrite\" in the rule would push something else to the tag and delete that"
                );
                let outcome = StepOutcome::Refused;
                Ok(Untagged::Stays(StepFailure { outcome, reason, is_general: false }))
            }
        }
    }

    /// Whether single tags can be deleted here; if not, why.
    async fn can_untag(&self) -> Result<std::result::Result<(), String>> {
        if self.repository.capabilities().untag == Untag::No {
            return Ok(Err("it deletes by digest only".to_owned()));
        }
        let name = self.repository.name();
        match self.abilities.can_untag(name, self.now) {
            Some(true) => return Ok(Ok(())),
            Some(false) => return Ok(Err("it was tried before".to_owned())),
            None => {}
        }
        let found = Probe { repository: self.repository }.can_untag().await?;
        self.abilities.set_can_untag(name, found.is_ok(), self.now);
        Ok(found)
    }

    /// Whether the tag is something else by now. Called directly before each write: somebody may have
    /// pushed to it while the registry was tried out.
    async fn has_changed(&self) -> Result<Option<Untagged>> {
        Ok(match self.resolve(&Reference::Tag(self.tag.clone())).await? {
            None => Some(Untagged::Gone),
            Some(found) if found != *self.digest => Some(Untagged::Moved(found)),
            Some(_) => None,
        })
    }

    async fn resolve(&self, reference: &Reference) -> Result<Option<Digest>> {
        Ok(self.repository.resolve(reference).await?.map(|resolved| resolved.digest))
    }

    /// Deletes the tag, and looks whether anything else has gone.
    async fn delete_and_look(&self, manifest: &Manifest) -> Result<Untagged> {
        if let Some(other) = self.has_changed().await? {
            return Ok(other);
        }
        // Whatever the answer is, the deletion may have been carried out.
        let deleted = self.repository.delete(&Reference::Tag(self.tag.clone())).await;
        let lost = match what_is_lost(self.repository, self.digest, self.others).await {
            Ok(lost) => lost,
            Err(error) => {
                let StepFailure { outcome, reason, is_general } = StepFailure::of(&error);
                let reason = format!(
                    "whether the registry deleted more than the tag is not known, the next run finds out: {reason}"
                );
                return Ok(Untagged::Unfinished(StepFailure { outcome, reason, is_general }));
            }
        };
        if lost.is_empty() {
            return match deleted {
                Ok(true) => Ok(Untagged::Done(None)),
                Ok(false) => Ok(Untagged::Gone),
                Err(_) if self.resolve(&Reference::Tag(self.tag.clone())).await?.is_none() => {
                    Ok(Untagged::Done(None))
                }
                Err(error) => Err(error),
            };
        }
        self.abilities.set_can_untag(self.repository.name(), false, self.now);
        let failures = put_back(self.repository, manifest, &lost).await;
        if failures.is_empty() {
            let note = "the registry deleted more than the tag: the rest was restored, and single tags are no longer deleted there";
            return Ok(Untagged::Done(Some(note.to_owned())));
        }
        let reason = format!(
            "the registry deleted more than the tag; the next run tries again to restore the rest; {}",
            failures.join("; ")
        );
        let outcome = StepOutcome::Failed;
        Ok(Untagged::Unfinished(StepFailure { outcome, reason, is_general: true }))
    }

    /// Moves the tag to a placeholder, and deletes that with the tag.
    async fn overwrite(&self, manifest: &Manifest) -> Result<Untagged> {
        let placeholder =
            placeholder(self.tag, self.digest).map_err(|error| self.error(error.into()))?;
        let placement = Placement::Tag(self.tag.clone());
        if let Some(other) = self.has_changed().await? {
            return Ok(other);
        }
        self.repository.put_manifest(&placement, &placeholder).await?;
        let deleted = self.repository.delete(&Reference::Digest(placeholder.digest.clone())).await;
        let Err(error) = deleted else { return Ok(Untagged::Done(None)) };
        // The tag must not be left at a placeholder.
        if let Err(other) = self.repository.put_manifest(&placement, manifest).await {
            let cause = Cause::Protocol(format!(
                "{}, and the tag, which points at an empty index now, could not be put back: {}",
                error.cause(),
                other.cause()
            ));
            return Err(self.error(cause));
        }
        Err(error)
    }

    fn error(&self, cause: Cause) -> Error {
        let name = format!("{}:{}", self.repository.name(), self.tag);
        Error::new("untag", name, cause)
    }
}

/// What of a manifest is gone and should be there: its other tags, or the manifest itself where it
/// has none.
pub(super) async fn what_is_lost(
    repository: &dyn Repository,
    digest: &Digest,
    others: &[&Tag],
) -> Result<Vec<Placement>> {
    let mut lost = Vec::new();
    if others.is_empty() && repository.resolve(&Reference::Digest(digest.clone())).await?.is_none()
    {
        lost.push(Placement::Part);
    }
    for tag in others {
        if repository.resolve(&Reference::Tag((*tag).clone())).await?.is_none() {
            lost.push(Placement::Tag((*tag).clone()));
        }
    }
    Ok(lost)
}

/// Restores what the registry deleted besides a tag. Gives what could not be restored, and why.
pub(super) async fn put_back(
    repository: &dyn Repository,
    manifest: &Manifest,
    lost: &[Placement],
) -> Vec<String> {
    let mut failures = Vec::new();
    for placement in lost {
        if let Err(error) = repository.put_manifest(placement, manifest).await {
            let what = match placement {
                Placement::Tag(tag) => format!("tag `{tag}`"),
                Placement::Part | Placement::Digest => "the manifest".to_owned(),
            };
            failures.push(format!("{what} is LOST and could not be put back: {error}"));
        }
    }
    failures
}
