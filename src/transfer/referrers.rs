//! What refers to an image: referrers, by the API or the fallback tag, and cosign's tags.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt};

use super::graph::Graph;
use super::options::Options;
use super::reading::ManifestReader;
use crate::oci::derived::{self, COSIGN_SUFFIXES, cosign_tag, fallback_tag};
use crate::oci::{Digest, Tag};
use crate::repository::{Cause, Error, ErrorKind, Reference, Repository, Result};

/// Subjects of one image that are asked about at once.
pub(super) const PARALLEL: usize = 8;
/// How deep referrers of referrers may nest: real ones (signatures of SBOMs) nest two deep.
pub(super) const MAX_DEPTH: usize = 16;
/// How many referrers one image may have.
pub(super) const MAX_REFERRERS: usize = 10_000;

/// The derived tags in a repository's tag list. They tell, without a request, whether an image has
/// a fallback tag or one of cosign's.
#[derive(Debug, Clone, Default)]
pub struct TagIndex(Arc<HashMap<Tag, Option<Digest>>>);

impl TagIndex {
    pub fn new<'a>(tags: impl IntoIterator<Item = &'a Tag>) -> Self {
        let derived = tags.into_iter().filter(|tag| derived::parse(tag).is_some());
        Self(Arc::new(derived.map(|tag| (tag.clone(), None)).collect()))
    }

    /// The same with what tags point at, as far as that is known: those are not looked up.
    pub fn with_digests(&self, digests: &HashMap<Tag, Digest>) -> Self {
        if digests.is_empty() {
            return self.clone();
        }
        let known = |tag: &Tag| (tag.clone(), digests.get(tag).cloned());
        Self(Arc::new(self.0.keys().map(known).collect()))
    }

    pub fn contains(&self, tag: &Tag) -> bool {
        self.0.contains_key(tag)
    }

    fn digest(&self, tag: &Tag) -> Option<&Digest> {
        self.0.get(tag)?.as_ref()
    }
}

/// Something that refers to a subject: an artifact with a `subject`, or one under a cosign tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referrer {
    pub subject: Digest,
    pub digest: Digest,
    /// Its cosign tag; `None` for an artifact with a `subject`.
    pub tag: Option<Tag>,
}

/// One digest of all referrers of an image, which changes when one is added or removed. `None`:
/// there are none.
pub fn fingerprint(found: &[Referrer]) -> Option<Digest> {
    let mut lines: Vec<String> = found
        .iter()
        .map(|found| {
            let tag = found.tag.as_ref().map_or("", |tag| tag.as_str());
            format!("{} {} {tag}\n", found.subject, found.digest)
        })
        .collect();
    lines.sort_unstable();
    lines.dedup();
    (!lines.is_empty()).then(|| Digest::of(lines.concat().as_bytes()))
}

/// Everything that refers to these subjects, and to what refers to them, in a repository.
pub async fn survey(
    reader: &ManifestReader<'_>,
    subjects: &[Digest],
    tags: &TagIndex,
) -> Result<Vec<Referrer>> {
    survey_but(reader, subjects, &[], tags).await
}

/// The same, but of `bare` subjects only tags are looked at: the referrers API had nothing for them a
/// short time ago, and would cost a request for each.
pub async fn survey_but(
    reader: &ManifestReader<'_>,
    subjects: &[Digest],
    bare: &[Digest],
    tags: &TagIndex,
) -> Result<Vec<Referrer>> {
    let bare: HashSet<&Digest> = bare.iter().collect();
    let mut seen: HashSet<Digest> = subjects.iter().cloned().collect();
    let mut next: Vec<Digest> = subjects.to_vec();
    let mut all = Vec::new();
    let mut depth = 0;
    while !next.is_empty() {
        if depth > MAX_DEPTH {
            return Err(too_many(reader.repository, &next[0]));
        }
        depth += 1;
        let mut asking = futures_util::stream::iter(next)
            .map(|subject| {
                let is_bare = bare.contains(&subject);
                async move {
                    match is_bare {
                        true => of_tags(reader, &subject, Vec::new(), tags).await,
                        false => of_subject(reader, &subject, tags).await,
                    }
                }
            })
            .buffered(PARALLEL);
        next = Vec::new();
        while let Some(found) = asking.try_next().await? {
            let new = found.iter().map(|found| &found.digest);
            next.extend(new.filter(|digest| seen.insert((*digest).clone())).cloned());
            all.extend(found);
            if let Some(surplus) = all.get(MAX_REFERRERS) {
                return Err(too_many(reader.repository, &surplus.digest));
            }
        }
    }
    Ok(all)
}

/// What refers to one subject directly: if it is more than an image may have, no more than one too many.
pub(super) async fn of_subject(
    reader: &ManifestReader<'_>,
    subject: &Digest,
    tags: &TagIndex,
) -> Result<Vec<Referrer>> {
    let listed = reader.repository.referrers(subject).await?.unwrap_or_default();
    of_tags(reader, subject, listed, tags).await
}

/// What refers to a subject according to tags, together with what the API has listed.
async fn of_tags(
    reader: &ManifestReader<'_>,
    subject: &Digest,
    listed: Vec<Digest>,
    tags: &TagIndex,
) -> Result<Vec<Referrer>> {
    let repository = reader.repository;
    let referrer = |digest| Referrer { subject: subject.clone(), digest, tag: None };
    let mut found: Vec<Referrer> =
        listed.into_iter().take(MAX_REFERRERS + 1).map(referrer).collect();
    // Also beside the API: a registry that got it by an update may not know what clients listed.
    if tags.contains(&fallback_tag(subject))
        && let Some(index) = reader.read(&Reference::Tag(fallback_tag(subject))).await?
        // Some registries serve the subject itself under such a tag.
        && index.digest != *subject
    {
        let children = index.children().iter().take(MAX_REFERRERS + 1);
        found.extend(children.map(|child| referrer(child.digest.clone())));
    }
    for suffix in COSIGN_SUFFIXES {
        let tag = cosign_tag(subject, suffix);
        if !tags.contains(&tag) {
            continue;
        }
        let digest = match tags.digest(&tag) {
            Some(known) => Some(known.clone()),
            None => repository.resolve(&Reference::Tag(tag.clone())).await?.map(|it| it.digest),
        };
        found.extend(digest.map(|digest| Referrer {
            subject: subject.clone(),
            digest,
            tag: Some(tag),
        }));
    }
    let mut seen = HashSet::new();
    found.retain(|found| seen.insert((found.digest.clone(), found.tag.clone())));
    found.truncate(MAX_REFERRERS + 1);
    Ok(found)
}

/// Reads a referrer with everything below it. `None`: it is listed, but not there.
pub async fn read(
    reader: &ManifestReader<'_>,
    referrer: &Referrer,
    options: &Options,
) -> Result<Option<Graph>> {
    let reference = Reference::Digest(referrer.digest.clone());
    let Some(manifest) = reader.read(&reference).await? else { return Ok(None) };
    Graph::gather(reader, manifest, options).await.map(Some)
}

/// The error for a referrer beyond the bounds.
pub(super) fn too_many(source: &dyn Repository, digest: &Digest) -> Error {
    let message = format!(
        "more than {MAX_REFERRERS} referrers, or more than {MAX_DEPTH} of referrers of referrers, belong to one image"
    );
    Error::new("read", format!("{}@{digest}", source.name()), Cause::Unsupported(message))
}

/// Whether something at the source is broken in itself, so that trying again will not help.
pub(super) fn is_unreadable(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Malformed | ErrorKind::Corrupt | ErrorKind::Missing | ErrorKind::Unsupported
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(subject: &str, digest: &str, tag: Option<&str>) -> Referrer {
        Referrer {
            subject: Digest::of(subject.as_bytes()),
            digest: Digest::of(digest.as_bytes()),
            tag: tag.map(|tag| tag.parse().unwrap()),
        }
    }

    #[test]
    fn fingerprints_tell_sets_apart_and_ignore_order() {
        let (a, b) = (|| found("s", "a", None), || found("s", "b", None));
        let signature = found("s", "b", Some("x.sig"));
        assert_eq!(fingerprint(&[]), None);
        assert_eq!(fingerprint(&[a(), b()]), fingerprint(&[b(), a(), a()]));
        assert_ne!(fingerprint(&[a(), b()]), fingerprint(&[a(), signature]));
        assert_ne!(fingerprint(&[a()]), None);
    }
}
