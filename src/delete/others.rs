//! Who else needs the manifest of a tag: other tags of it, and images that it is a part of.

use std::collections::HashSet;

use futures_util::{StreamExt, TryStreamExt};

use crate::oci::{Digest, Tag};
use crate::repository::{Error, Reference, Repository, Resolved, Result};

/// Tags are looked at only if there are no more than this: each costs a request.
const MAX_TAGS: usize = 1_000;
/// Tags that are looked up at once.
const PARALLEL: usize = 16;
/// The list of tags is read so often at most until nothing in it is new.
const MAX_LISTS: usize = 4;

/// Who needs a manifest, beside the tag that is to go.
#[derive(Debug, PartialEq, Eq)]
pub enum Others {
    Nobody,
    /// These tags are of the same manifest, sorted.
    Siblings(Vec<Tag>),
    /// The image with this tag is an index that lists the manifest.
    Index(Tag),
    /// There are too many tags to look at each.
    Unknown,
}

/// Who needs the manifest beside `tag`. Ends with a list of tags in which nothing is new, so little
/// time passes between what was seen and what is done about it.
pub async fn find(repository: &dyn Repository, tag: &Tag, digest: &Digest) -> Result<Others> {
    let mut seen = HashSet::from([tag.clone()]);
    let mut read = HashSet::new();
    for _ in 0..MAX_LISTS {
        let mut tags = repository.tags().await?.unwrap_or_default();
        if tags.len() > MAX_TAGS {
            return Ok(Others::Unknown);
        }
        tags.retain(|tag| !seen.contains(tag));
        if tags.is_empty() {
            return Ok(Others::Nobody);
        }
        seen.extend(tags.iter().cloned());
        let found = look_up(repository, tags).await?;
        let siblings = of_digest(&found, digest);
        if !siblings.is_empty() {
            return Ok(Others::Siblings(siblings));
        }
        for (tag, resolved) in found {
            if may_be_index(&resolved)
                && lists(repository, resolved.digest, digest, &mut read).await?
            {
                return Ok(Others::Index(tag));
            }
        }
    }
    Ok(Others::Unknown)
}

/// The tags of a manifest other than `tag`, sorted; `None`: there are too many tags to look at each.
pub async fn siblings(
    repository: &dyn Repository,
    tag: Option<&Tag>,
    digest: &Digest,
) -> Result<Option<Vec<Tag>>> {
    let mut tags = repository.tags().await?.unwrap_or_default();
    if tags.len() > MAX_TAGS {
        return Ok(None);
    }
    tags.retain(|other| Some(other) != tag);
    Ok(Some(of_digest(&look_up(repository, tags).await?, digest)))
}

/// What the tags point at, as far as they are there.
async fn look_up(repository: &dyn Repository, tags: Vec<Tag>) -> Result<Vec<(Tag, Resolved)>> {
    futures_util::stream::iter(tags)
        .map(|tag| async move {
            let resolved = repository.resolve(&Reference::Tag(tag.clone())).await?;
            Ok::<_, Error>(resolved.map(|resolved| (tag, resolved)))
        })
        .buffer_unordered(PARALLEL)
        .try_filter_map(|found| async move { Ok(found) })
        .try_collect()
        .await
}

fn of_digest(found: &[(Tag, Resolved)], digest: &Digest) -> Vec<Tag> {
    let same = found.iter().filter(|(_, resolved)| resolved.digest == *digest);
    let mut tags: Vec<Tag> = same.map(|(tag, _)| tag.clone()).collect();
    tags.sort_unstable();
    tags
}

fn may_be_index(resolved: &Resolved) -> bool {
    use crate::oci::media_type::{essence, is_index, is_manifest};
    resolved.media_type.as_deref().is_none_or(|media_type| {
        let media_type = essence(media_type);
        is_index(&media_type) || !is_manifest(&media_type)
    })
}

/// Whether this index, or one that it lists, lists `wanted`. `read`: what was read already, in vain.
async fn lists(
    repository: &dyn Repository,
    index: Digest,
    wanted: &Digest,
    read: &mut HashSet<Digest>,
) -> Result<bool> {
    let mut waiting = vec![index];
    while let Some(digest) = waiting.pop() {
        if !read.insert(digest.clone()) {
            continue;
        }
        let Some(manifest) = repository.manifest(&Reference::Digest(digest)).await? else {
            continue;
        };
        if manifest.children().iter().any(|child| child.digest == *wanted) {
            return Ok(true);
        }
        let indexes = manifest.children().iter().filter(|child| child.may_be_index());
        waiting.extend(indexes.map(|child| child.digest.clone()));
    }
    Ok(false)
}
