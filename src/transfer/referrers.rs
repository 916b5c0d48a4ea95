//! What follows an image: referrers, by the API or the fallback tag, and cosign's tags.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::{StreamExt, TryStreamExt};

use super::image::{Role, Side, Trip};
use super::{Carrier, Graph};
use crate::oci::derived::{self, COSIGN_SUFFIXES, cosign_tag, fallback_tag};
use crate::oci::{Descriptor, Digest, Manifest, Tag};
use crate::repository::{Cause, Error, ErrorKind, Placement, Reference, Repository, Result};

/// Subjects of one image that are asked about at once.
const PARALLEL: usize = 8;
/// Signatures of SBOMs of images: real ones nest two deep.
const MAX_DEPTH: usize = 16;
/// What one image may bring along.
const MAX_REFERRERS: usize = 10_000;

/// The derived tags of a repository, out of its tag list. They tell, without a request, whether
/// an image has a fallback tag or one of cosign's.
#[derive(Debug, Clone, Default)]
pub struct TagIndex(Arc<HashSet<Tag>>);

impl TagIndex {
    pub fn new(tags: &[Tag]) -> Self {
        Self(Arc::new(tags.iter().filter(|tag| derived::parse(tag).is_some()).cloned().collect()))
    }

    pub fn contains(&self, tag: &Tag) -> bool {
        self.0.contains(tag)
    }
}

/// Something that refers to a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub subject: Digest,
    pub digest: Digest,
    /// cosign's tag under which it stands; `None` for a referrer.
    pub tag: Option<Tag>,
}

/// One digest for all that refers to an image: another one means that something came or went.
/// `None`: nothing does.
pub fn fingerprint(found: &[Found]) -> Option<Digest> {
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
    repository: &dyn Repository,
    subjects: &[Digest],
    tags: &TagIndex,
) -> Result<Vec<Found>> {
    let mut seen: HashSet<Digest> = subjects.iter().cloned().collect();
    let mut next: Vec<Digest> = subjects.to_vec();
    let mut all = Vec::new();
    while !next.is_empty() {
        let found: Vec<Vec<Found>> = futures_util::stream::iter(next)
            .map(|subject| async move { of(repository, &subject, tags).await })
            .buffered(PARALLEL)
            .try_collect()
            .await?;
        let found: Vec<Found> = found.into_iter().flatten().collect();
        next = found
            .iter()
            .map(|found| found.digest.clone())
            .filter(|digest| seen.insert(digest.clone()))
            .collect();
        all.extend(found);
    }
    Ok(all)
}

/// What refers to one subject directly.
async fn of(repository: &dyn Repository, subject: &Digest, tags: &TagIndex) -> Result<Vec<Found>> {
    let referrer = |descriptor: &Descriptor| Found {
        subject: subject.clone(),
        digest: descriptor.digest.clone(),
        tag: None,
    };
    let listed = repository.referrers(subject).await?;
    let mut found: Vec<Found> = listed.iter().flatten().map(referrer).collect();
    // Also beside the API: a registry that got it by an update may not know what clients listed.
    if tags.contains(&fallback_tag(subject))
        && let Some(index) = repository.manifest(&Reference::Tag(fallback_tag(subject))).await?
    {
        found.extend(index.children().iter().map(referrer));
    }
    for suffix in COSIGN_SUFFIXES {
        let tag = cosign_tag(subject, suffix);
        if tags.contains(&tag)
            && let Some(resolved) = repository.resolve(&Reference::Tag(tag.clone())).await?
        {
            found.push(Found { subject: subject.clone(), digest: resolved.digest, tag: Some(tag) });
        }
    }
    let mut seen = HashSet::new();
    found.retain(|found| seen.insert((found.digest.clone(), found.tag.clone())));
    Ok(found)
}

impl Carrier {
    /// Brings along what refers to these subjects, each with all below it.
    pub(super) async fn deliver_referrers(
        &self,
        trip: &Trip<'_>,
        mut subjects: Vec<Digest>,
    ) -> Result<()> {
        {
            let mut surveyed = trip.surveyed.lock();
            subjects.retain(|subject| surveyed.insert(subject.clone()));
        }
        let found: Vec<(Digest, Result<Vec<Found>>)> = futures_util::stream::iter(subjects)
            .map(|subject| async move {
                let found = of(trip.source(), &subject, &trip.job.source_tags).await;
                (subject, found)
            })
            .buffered(PARALLEL)
            .collect()
            .await;
        for (subject, found) in found {
            match found {
                Ok(found) => {
                    for found in found {
                        self.deliver_referrer(trip, found).await?;
                    }
                }
                Err(error) if is_unreadable(&error) => {
                    tracing::debug!(%error, %subject, "what refers to it cannot be listed");
                    trip.refuse(&error);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Brings along one referrer. One that cannot be read, now or ever, is reported, and the image
    /// goes without it.
    async fn deliver_referrer(&self, trip: &Trip<'_>, found: Found) -> Result<()> {
        let count = trip.found.lock().len();
        if trip.nested.load(Ordering::Relaxed) >= MAX_DEPTH || count >= MAX_REFERRERS {
            let message = format!(
                "more than {MAX_REFERRERS} referrers, or more than {MAX_DEPTH} of referrers of referrers, belong to one image"
            );
            let subject = format!("{}@{}", trip.source().name(), found.digest);
            trip.refuse(&Error::new("read", subject, Cause::Unsupported(message)));
            return Ok(());
        }
        let role = found.tag.clone().map_or(Role::Referrer, Role::Derived);
        let graph = match self.referrer(trip, &found).await {
            Ok(Some(graph)) => graph,
            Ok(None) => return Ok(()),
            Err(error) if is_unreadable(&error) => {
                trip.refuse(&error);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        trip.found.lock().push(found);
        let live = trip.live();
        trip.nested.fetch_add(1, Ordering::Relaxed);
        let delivered = self.deliver(trip, graph, role).await;
        trip.nested.fetch_sub(1, Ordering::Relaxed);
        delivered?;
        let blob_of_source = format!("{}@", trip.source().name());
        for side in live {
            side.excuse(|error| {
                is_unreadable(error) && error.subject().starts_with(&blob_of_source)
            });
        }
        Ok(())
    }

    /// Reads a referrer with all below it. `None`: it is listed, but not there.
    async fn referrer(&self, trip: &Trip<'_>, found: &Found) -> Result<Option<Graph>> {
        let reference = Reference::Digest(found.digest.clone());
        let Some(manifest) = trip.source().manifest(&reference).await? else {
            trip.note(format!(
                "a referrer of {} is listed but not there: {}",
                found.subject, found.digest
            ));
            return Ok(None);
        };
        // Referrers come whole, whatever platforms the image is filtered for.
        let options = super::Options { platforms: Vec::new(), ..(*trip.job.options).clone() };
        Graph::gather(trip.source(), manifest, &options).await.map(Some)
    }

    /// Adds a referrer to the fallback tag of its subject, keeping what others listed there
    /// (distribution-spec, "Pushing Manifests with Subject").
    pub(super) async fn list_by_tag(
        &self,
        side: &Side<'_>,
        subject: &Digest,
        referrer: &Manifest,
    ) -> Result<()> {
        let target = side.repository();
        let tag = fallback_tag(subject);
        let lock_key = (format!("{}:{tag}", target.name()), subject.clone());
        let _alone = self.locks.lock(&lock_key).await;
        let listed = target.manifest(&Reference::Tag(tag.clone())).await?;
        let entry = referrer.referrer_descriptor();
        let failed = |cause| {
            Error::new("update the referrers list", format!("{}:{tag}", target.name()), cause)
        };
        let index = match listed {
            None => Manifest::index_of(&[entry]),
            Some(index) if index.children().iter().any(|child| child.digest == entry.digest) => {
                return Ok(());
            }
            Some(index) if index.blobs().is_empty() => index.with_added(&entry),
            Some(_) => {
                let message =
                    "something that is no index stands under the tag for the list of its referrers";
                return Err(failed(Cause::Protocol(message.to_owned())));
            }
        };
        let index = index.map_err(|error| failed(error.into()))?;
        target.put_manifest(&Placement::Tag(tag), &index).await?;
        Ok(())
    }
}

/// Whether something at the source is broken in itself, so that trying again will not help.
fn is_unreadable(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Malformed | ErrorKind::Corrupt | ErrorKind::Missing | ErrorKind::Unsupported
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(subject: &str, digest: &str, tag: Option<&str>) -> Found {
        Found {
            subject: Digest::of(subject.as_bytes()),
            digest: Digest::of(digest.as_bytes()),
            tag: tag.map(|tag| tag.parse().unwrap()),
        }
    }

    #[test]
    fn fingerprints_tell_sets_apart_and_ignore_order() {
        let (a, b, c) =
            (found("s", "a", None), found("s", "b", None), found("s", "b", Some("x.sig")));
        assert_eq!(fingerprint(&[]), None);
        assert_eq!(
            fingerprint(&[a.clone(), b.clone()]),
            fingerprint(&[b.clone(), a.clone(), a.clone()])
        );
        assert_ne!(fingerprint(&[a.clone(), b]), fingerprint(&[a.clone(), c]));
        assert_ne!(fingerprint(std::slice::from_ref(&a)), None);
    }
}
