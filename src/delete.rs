//! One tag or one manifest is deleted, and nothing that was not meant.
//!
//! Deleting a manifest takes all its tags along. Some registries can do nothing else. There, a tag is
//! deleted with its manifest if nothing else needs that; otherwise only if its siblings, the other
//! tags of its manifest, may go too.

mod others;

use others::{Others, siblings};
use serde::Serialize;

use crate::oci::{Digest, Tag};
use crate::repository::missing as absent;
use crate::repository::{Cause, Error, ErrorKind, Reference, Repository, Result};

/// What is to be deleted.
#[derive(Debug, Clone)]
pub enum What {
    /// This tag alone; with a digest, only if it points there.
    Tag { tag: Tag, digest: Option<Digest> },
    /// The manifest that this tag points at, with all its tags.
    WithSiblings { tag: Tag, digest: Option<Digest> },
    /// This manifest, with all its tags.
    Digest(Digest),
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    Deleted,
    /// Only in a dry run.
    WouldDelete,
    /// It would take along what was not meant: nothing was deleted.
    Refused,
}

/// The JSON of `tranship delete`: see docs/json.md.
#[derive(Debug, Serialize)]
pub struct Deletion {
    pub repository: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<Tag>,
    pub digest: Digest,
    pub action: Action,
    /// Whether the manifest itself is meant, with all its tags.
    pub manifest: bool,
    /// The other tags with this digest. They go too if `manifest`. `None`: nobody looked, or the
    /// repository has too many tags to look at each.
    pub siblings: Option<Vec<Tag>>,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Deletes what is meant. An error is also that it is not there.
pub async fn run(repository: &dyn Repository, what: &What, dry_run: bool) -> Result<Deletion> {
    let (tag, wanted, reference) = match what {
        What::Digest(digest) => (None, None, Reference::Digest(digest.clone())),
        What::Tag { tag, digest } | What::WithSiblings { tag, digest } => {
            (Some(tag), digest.as_ref(), Reference::Tag(tag.clone()))
        }
    };
    let found = repository.resolve(&reference).await?;
    let Some(found) = found else {
        return Err(absent("delete", repository, &reference).await);
    };
    let mut deletion = Deletion {
        repository: repository.name().to_owned(),
        tag: tag.cloned(),
        digest: found.digest.clone(),
        action: Action::WouldDelete,
        manifest: !matches!(what, What::Tag { .. }),
        siblings: None,
        reason: None,
    };
    if let Some(wanted) = wanted.filter(|wanted| **wanted != found.digest) {
        deletion.action = Action::Refused;
        deletion.reason = Some(moved(&found.digest, wanted));
        return Ok(deletion);
    }
    if dry_run || deletion.manifest {
        deletion.siblings = siblings(repository, tag, &found.digest).await?;
    }
    if dry_run {
        return Ok(deletion);
    }
    let target =
        if deletion.manifest { Reference::Digest(found.digest.clone()) } else { reference };
    match repository.delete(&target).await {
        Ok(true) => deletion.action = Action::Deleted,
        Ok(false) => return Err(missing(repository, &target.suffix())),
        Err(error) if error.kind() == ErrorKind::DigestOnly => {
            if let What::Tag { tag, .. } = what {
                by_digest(repository, tag, &mut deletion).await?;
            } else {
                return Err(error);
            }
        }
        Err(error) => return Err(error),
    }
    Ok(deletion)
}

/// Deletes the manifest of a tag in place of the tag, if nobody else needs it.
async fn by_digest(repository: &dyn Repository, tag: &Tag, deletion: &mut Deletion) -> Result<()> {
    let digest = deletion.digest.clone();
    let mut refuse = |siblings, why: String| {
        deletion.siblings = siblings;
        deletion.action = Action::Refused;
        deletion.reason = Some(format!("the registry deletes by digest only, and {why}"));
    };
    match others::find(repository, tag, &digest).await? {
        Others::Unknown => refuse(None, format!("any other tag of {digest} would go too")),
        Others::Siblings(tags) => {
            let names: Vec<&str> = tags.iter().map(Tag::as_str).collect();
            let why =
                format!("{digest} also has the tags {}, which would go too", names.join(", "));
            refuse(Some(tags), why);
        }
        Others::Index(other) => {
            refuse(Some(Vec::new()), format!("{digest} is a part of the image `{other}`"));
        }
        Others::Nobody => {
            // Directly before: somebody may have pushed to the tag.
            let by_tag = Reference::Tag(tag.clone());
            match repository.resolve(&by_tag).await? {
                None => return Err(missing(repository, &by_tag.suffix())),
                Some(found) if found.digest != digest => {
                    deletion.action = Action::Refused;
                    deletion.reason = Some(moved(&found.digest, &digest));
                }
                Some(_) => {
                    let target = Reference::Digest(digest);
                    if !repository.delete(&target).await? {
                        return Err(missing(repository, &target.suffix()));
                    }
                    deletion.action = Action::Deleted;
                    deletion.manifest = true;
                    deletion.siblings = Some(Vec::new());
                }
            }
        }
    }
    Ok(())
}

fn moved(now: &Digest, wanted: &Digest) -> String {
    format!("the tag points at {now} now, not at {wanted}")
}

fn missing(repository: &dyn Repository, suffix: &str) -> Error {
    Error::new("delete", format!("{}{suffix}", repository.name()), Cause::Missing)
}
