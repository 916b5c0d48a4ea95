//! Reads a repository into a snapshot: its tags, all manifests that can be reached from them, and
//! what refers to those. Only reads, and reads no manifest twice: what a digest names is kept in
//! the state. So the second snapshot costs the tag list, one HEAD a tag, and a question for the
//! referrers of each manifest where the registry answers such.
//!
//! Nothing in here fails. What cannot be had makes the snapshot incomplete, and then no plan
//! deletes anything.

use std::collections::HashSet;

use futures_util::StreamExt;
use jiff::Timestamp;

use super::snapshot::{Abilities, Snapshot};
use super::{Builder, Found};
use crate::config::policy::ClockSource;
use crate::oci::{Digest, Tag, derived};
use crate::repository::{Reference, Repository, Result};
use crate::state::{SeenManifest, State};

/// What can be relied upon in any registry. The protocol has no list of manifests without a tag,
/// and whether one tag can be deleted is only known to who tries.
pub const REGISTRY: Abilities = Abilities { untag: false, lists_untagged: false };

/// Tags or manifests that are asked for at once; the registry's own window bounds it further.
const PARALLEL: usize = 32;
/// What one repository may hold, to bound memory.
const MAX_MANIFESTS: usize = 2_000_000;

/// What was found under a digest.
enum Looked {
    Found { found: Found, first_seen: Timestamp, referrers: Result<Vec<Digest>> },
    Absent,
    Unreadable(String),
}

/// The repository as it is at `now`. `None`: there is no such repository.
pub async fn gather(
    repository: &dyn Repository,
    abilities: Abilities,
    state: &State,
    now: Timestamp,
) -> Option<Snapshot> {
    let mut builder = Builder::new(repository.name(), abilities);
    let tags = match repository.tags().await {
        Ok(tags) => tags?,
        Err(error) => {
            builder.cut_short(error.to_string());
            return Some(builder.finish());
        }
    };
    let mut met = HashSet::new();
    let mut next = resolve(repository, tags, &mut builder).await;
    while !next.is_empty() {
        next.retain(|digest| met.insert(digest.clone()));
        if met.len() > MAX_MANIFESTS {
            builder.cut_short(format!("there are more than {MAX_MANIFESTS} manifests"));
            break;
        }
        let looked = futures_util::stream::iter(std::mem::take(&mut next)).map(|digest| async {
            let looked = look(repository, &digest, state, now).await;
            (digest, looked)
        });
        let mut looked = std::pin::pin!(looked.buffer_unordered(PARALLEL));
        while let Some((digest, looked)) = looked.next().await {
            match looked {
                Looked::Absent => builder.absent(&digest),
                Looked::Unreadable(reason) => builder.unreadable(&digest, reason),
                Looked::Found { found, first_seen, referrers } => {
                    next.extend(found.children.iter().chain(&found.subject).cloned());
                    match referrers {
                        Ok(referrers) => next.extend(referrers),
                        Err(error) => builder.cut_short(error.to_string()),
                    }
                    builder.time(&digest, ClockSource::FirstSeen, first_seen);
                    builder.manifest(&digest, found);
                }
            }
        }
    }
    let snapshot = builder.finish();
    if snapshot.incomplete().is_empty() {
        let there = snapshot.manifests().map(|node| snapshot.digest(node));
        state.forget_manifests_except(repository.name(), there);
    }
    Some(snapshot)
}

/// Where the tags point, and the digests that they are made from.
async fn resolve(
    repository: &dyn Repository,
    tags: Vec<Tag>,
    builder: &mut Builder,
) -> Vec<Digest> {
    let resolved = futures_util::stream::iter(tags).map(|tag| async {
        let resolved = repository.resolve(&Reference::Tag(tag.clone())).await;
        (tag, resolved)
    });
    let mut resolved = std::pin::pin!(resolved.buffer_unordered(PARALLEL));
    let mut digests = Vec::new();
    while let Some((tag, resolved)) = resolved.next().await {
        match resolved {
            Ok(Some(resolved)) => {
                digests.extend(derived::parse(&tag).and_then(|derived| derived.subject()));
                builder.tag(tag, &resolved.digest, false);
                digests.push(resolved.digest);
            }
            Ok(None) => builder.cut_short(format!("tag `{tag}` is listed and not there")),
            Err(error) => builder.cut_short(error.to_string()),
        }
    }
    digests
}

async fn look(
    repository: &dyn Repository,
    digest: &Digest,
    state: &State,
    now: Timestamp,
) -> Looked {
    let (found, first_seen) = match state.manifest(repository.name(), digest) {
        Some(seen) => found(seen),
        None => {
            let manifest = match repository.manifest(&Reference::Digest(digest.clone())).await {
                Ok(Some(manifest)) => manifest,
                Ok(None) => return Looked::Absent,
                Err(error) => return Looked::Unreadable(error.to_string()),
            };
            match Found::of(&manifest) {
                Ok(found) => {
                    state.set_manifest(repository.name(), digest, &seen(&found, now));
                    (found, now)
                }
                Err(reason) => return Looked::Unreadable(reason),
            }
        }
    };
    let referrers = repository
        .referrers(digest)
        .await
        .map(|listed| listed.into_iter().flatten().map(|descriptor| descriptor.digest).collect());
    Looked::Found { found, first_seen, referrers }
}

fn seen(found: &Found, first_seen: Timestamp) -> SeenManifest {
    let Found { is_index, children, subject, artifact_type, size, blobs } = found.clone();
    SeenManifest { first_seen, size, is_index, children, subject, artifact_type, blobs }
}

fn found(seen: SeenManifest) -> (Found, Timestamp) {
    let SeenManifest { first_seen, size, is_index, children, subject, artifact_type, blobs } = seen;
    (Found { is_index, children, subject, artifact_type, size, blobs }, first_seen)
}
