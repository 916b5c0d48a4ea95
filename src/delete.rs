//! One tag or one manifest is deleted, and nothing that was not meant.
//!
//! Deleting a manifest takes all its tags along. Some registries can do nothing else: there, a
//! tag is only deleted when its siblings, the other tags of its manifest, may go too.

use futures_util::{StreamExt, TryStreamExt};
use serde::Serialize;

use crate::oci::{Digest, Tag};
use crate::repository::{Cause, Error, ErrorKind, Reference, Repository, Result};

/// Siblings are looked for among so many tags at most: each costs a request.
const MAX_TAGS: usize = 1_000;
/// Tags that are looked up at once.
const PARALLEL: usize = 16;

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
    let found = found.ok_or_else(|| missing(repository, &reference.suffix()))?;
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
        deletion.reason = Some(format!("the tag points at {} now, not at {wanted}", found.digest));
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
        // The registry deletes by digest only.
        Err(error) if !deletion.manifest && error.kind() == ErrorKind::DigestOnly => {
            deletion.siblings = siblings(repository, tag, &found.digest).await?;
            deletion.action = Action::Refused;
            deletion.reason = Some(explain(&deletion));
        }
        Err(error) => return Err(error),
    }
    Ok(deletion)
}

fn explain(deletion: &Deletion) -> String {
    let digest = &deletion.digest;
    let shared = match deletion.siblings.as_deref() {
        None => format!("any other tag of {digest} would go too"),
        Some([]) => format!("no other tag has {digest}, but the manifest itself would go"),
        Some(tags) => {
            let tags: Vec<&str> = tags.iter().map(Tag::as_str).collect();
            format!("{digest} also has the tags {}, which would go too", tags.join(", "))
        }
    };
    format!("the registry deletes by digest only, and {shared}")
}

/// The other tags of a manifest, sorted.
async fn siblings(
    repository: &dyn Repository,
    tag: Option<&Tag>,
    digest: &Digest,
) -> Result<Option<Vec<Tag>>> {
    let tags = repository.tags().await?.unwrap_or_default();
    if tags.len() > MAX_TAGS {
        return Ok(None);
    }
    let others = tags.into_iter().filter(|other| Some(other) != tag);
    let mut found: Vec<Tag> = futures_util::stream::iter(others)
        .map(|other| async move {
            let resolved = repository.resolve(&Reference::Tag(other.clone())).await?;
            Ok::<_, Error>(resolved.filter(|resolved| resolved.digest == *digest).map(|_| other))
        })
        .buffer_unordered(PARALLEL)
        .try_filter_map(|sibling| async move { Ok(sibling) })
        .try_collect()
        .await?;
    found.sort_unstable();
    Ok(Some(found))
}

fn missing(repository: &dyn Repository, suffix: &str) -> Error {
    Error::new("delete", format!("{}{suffix}", repository.name()), Cause::Missing)
}
