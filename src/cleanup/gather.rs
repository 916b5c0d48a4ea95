//! Reads a repository into a snapshot: its tags, all manifests that can be reached from them, and
//! what refers to those. Only reads, and reads no manifest twice: what a digest names is kept in
//! the state. So the second snapshot costs the tag list and one HEAD a tag.
//!
//! Nothing in here fails. What cannot be had makes the snapshot incomplete, and then no plan
//! deletes anything.

use std::collections::HashSet;

use futures_util::StreamExt;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::plan::snapshot::{Abilities, Snapshot};
use super::{Builder, Found};
use crate::config::policy::ClockSource;
use crate::layout::{Layout, Listed};
use crate::oci::{Digest, Manifest, Tag, derived, media_type};
use crate::repository::{ErrorKind, Reference, Repository, Result, read_small_blob};
use crate::state::{Created, SeenManifest, SeenReferrers, State};

/// Tags or manifests that are asked for at once; the registry's own window bounds it further.
const PARALLEL: usize = 32;
/// What one repository may hold, to bound memory.
const MAX_MANIFESTS: usize = 2_000_000;
/// How long an answer about referrers is good enough for who only plans.
const REFERRERS_LAST: SignedDuration = SignedDuration::from_hours(24);

/// How a repository is read.
pub struct Gathering<'a> {
    pub repository: &'a dyn Repository,
    pub abilities: Abilities,
    pub state: &'a State,
    pub now: Timestamp,
    /// Further manifests to look for: in use, or listed without a tag.
    pub roots: &'a [Digest],
    /// Tags that are in use, which a list that lags may lack.
    pub in_use: &'a [Tag],
    /// All tags that there were have been deleted: no list of tags is an empty one.
    pub emptied: bool,
    /// Where the repository is a layout: what it lists, also without a tag, and when files were
    /// written is known.
    pub layout: Option<&'a Layout>,
    /// Whether configurations are read, for when images were created.
    pub created: bool,
    /// Whether every list of referrers is asked for, however lately that was done.
    pub all_referrers: bool,
}

/// What was found under a digest.
enum Looked {
    Found { seen: Box<SeenManifest>, referrers: Result<Vec<Digest>> },
    Absent,
    Unreadable(String),
}

impl Gathering<'_> {
    /// The repository as it is now. `None`: there is no such repository.
    pub async fn run(&self) -> Option<Snapshot> {
        let mut builder = Builder::new(self.repository.name(), self.abilities);
        let tags = match self.repository.tags().await {
            // A layout without images is there; a registry does not tell.
            Ok(None) if self.layout.is_some() || self.emptied => Vec::new(),
            Ok(tags) => tags?,
            Err(error) => {
                builder.cut_short(error.to_string());
                return Some(builder.finish());
            }
        };
        let unlisted: Vec<Tag> =
            self.in_use.iter().filter(|tag| !tags.contains(tag)).cloned().collect();
        let mut next = self.resolve(tags, true, &mut builder).await;
        next.extend(self.resolve(unlisted, false, &mut builder).await);
        next.extend(self.roots.iter().cloned());
        next.extend(self.listed(&mut builder).await);
        self.walk(next, &mut builder).await;
        let snapshot = builder.finish();
        if snapshot.incomplete().is_empty() {
            let is_there = |digest: &Digest| {
                snapshot.find(digest).is_some_and(|node| snapshot.is_present(node))
            };
            self.state.keep_manifests(self.repository.name(), is_there);
        }
        Some(snapshot)
    }

    /// Where the tags point, and the digests that they are made from. `listed`: they should be there.
    async fn resolve(&self, tags: Vec<Tag>, listed: bool, builder: &mut Builder) -> Vec<Digest> {
        let resolved = futures_util::stream::iter(tags).map(|tag| async {
            let resolved = self.repository.resolve(&Reference::Tag(tag.clone())).await;
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
                Ok(None) if listed => {
                    builder.cut_short(format!("tag `{tag}` is listed and not there"));
                }
                Ok(None) => {}
                Err(error) => builder.cut_short(error.to_string()),
            }
        }
        digests
    }

    /// What a layout lists, tagged or not.
    async fn listed(&self, builder: &mut Builder) -> Vec<Digest> {
        let Some(layout) = self.layout else { return Vec::new() };
        let mut digests = Vec::new();
        match layout.listed().await {
            Ok(listed) => {
                for entry in listed {
                    match entry {
                        Listed::Manifest { digest, .. } => digests.push(digest),
                        Listed::NotUnderstood(reason) => builder.cut_short(reason),
                    }
                }
            }
            Err(error) => builder.cut_short(error.to_string()),
        }
        digests
    }

    /// Looks at these manifests and at all that they lead to.
    async fn walk(&self, mut next: Vec<Digest>, builder: &mut Builder) {
        let mut met = HashSet::new();
        while !next.is_empty() {
            next.retain(|digest| met.insert(digest.clone()));
            if met.len() > MAX_MANIFESTS {
                builder.cut_short(format!("there are more than {MAX_MANIFESTS} manifests"));
                break;
            }
            let looked =
                futures_util::stream::iter(std::mem::take(&mut next)).map(|digest| async {
                    let looked = self.look(&digest).await;
                    let written = match self.layout {
                        Some(layout) => Some(layout.written(&digest).await),
                        None => None,
                    };
                    (digest, looked, written)
                });
            let mut looked = std::pin::pin!(looked.buffer_unordered(PARALLEL));
            while let Some((digest, looked, written)) = looked.next().await {
                match looked {
                    Looked::Absent => builder.absent(&digest),
                    Looked::Unreadable(reason) => builder.unreadable(&digest, reason),
                    Looked::Found { seen, referrers } => {
                        next.extend(seen.children.iter().chain(&seen.subject).cloned());
                        match referrers {
                            Ok(referrers) => next.extend(referrers),
                            Err(error) => builder.cut_short(error.to_string()),
                        }
                        if let Some(Ok(Some(at))) = written {
                            builder.time(&digest, ClockSource::Pushed, at);
                        }
                        builder.time(&digest, ClockSource::FirstSeen, seen.first_seen);
                        if let Some(Created::At(at)) = seen.created {
                            builder.time(&digest, ClockSource::Created, at);
                        }
                        builder.manifest(&digest, found(*seen));
                    }
                }
            }
        }
    }

    async fn look(&self, digest: &Digest) -> Looked {
        let name = self.repository.name();
        let known = self.state.manifest(name, digest);
        let is_enough = |seen: &&SeenManifest| !self.created || seen.created.is_some();
        let mut seen = match known.as_ref().filter(is_enough) {
            Some(seen) => seen.clone(),
            None => {
                let manifest = self.repository.manifest(&Reference::Digest(digest.clone())).await;
                let read = match manifest {
                    Ok(None) => return Looked::Absent,
                    Ok(Some(manifest)) => self.read(&manifest).await,
                    Err(error) => Err(error.to_string()),
                };
                match read {
                    Ok(read) => read,
                    Err(reason) => return Looked::Unreadable(reason),
                }
            }
        };
        if let Some(known) = &known {
            seen.first_seen = known.first_seen;
        }
        let referrers = self.referrers(digest, &mut seen).await;
        if known.as_ref() != Some(&seen) {
            self.state.set_manifest(name, digest, &seen);
        }
        Looked::Found { seen: Box::new(seen), referrers }
    }

    /// What a manifest and its configuration say, first seen now.
    async fn read(&self, manifest: &Manifest) -> std::result::Result<SeenManifest, String> {
        let Found { is_index, children, subject, artifact_type, size, blobs } =
            Found::of(manifest)?;
        let created = match self.created {
            true => Some(self.created(manifest).await.map_err(|error| error.to_string())?),
            false => None,
        };
        Ok(SeenManifest {
            first_seen: self.now,
            size,
            is_index,
            children,
            subject,
            artifact_type,
            blobs,
            created,
            referrers: None,
        })
    }

    /// When an image's configuration says that it was made. Anything but an image says nothing.
    async fn created(&self, manifest: &Manifest) -> Result<Created> {
        #[derive(Deserialize)]
        struct Configuration {
            created: Option<String>,
        }
        let config = manifest.blobs().first();
        let Some(config) = config.filter(|it| media_type::is_image_config(&it.media_type)) else {
            return Ok(Created::Silent);
        };
        let bytes = match read_small_blob(self.repository, &config.digest).await {
            Ok(bytes) => bytes,
            // An image without its configuration cannot be run, but it can be old.
            Err(error) if error.kind() == ErrorKind::Missing => return Ok(Created::Silent),
            Err(error) => return Err(error),
        };
        let said = serde_json::from_slice::<Configuration>(&bytes).ok();
        let at = said.and_then(|said| said.created?.parse().ok());
        Ok(at.map_or(Created::Silent, Created::At))
    }

    /// What the registry lists as referrers, from its last answer where that is good enough.
    async fn referrers(&self, digest: &Digest, seen: &mut SeenManifest) -> Result<Vec<Digest>> {
        let lasts = |referrers: &&SeenReferrers| {
            let age = self.now.duration_since(referrers.at);
            // Of an answer from the future it is not known how old it is.
            !self.all_referrers && !age.is_negative() && age < REFERRERS_LAST
        };
        if let Some(last) = seen.referrers.as_ref().filter(lasts) {
            return Ok(last.digests.clone());
        }
        if self.layout.is_some() {
            // Whatever refers to something is listed itself.
            return Ok(Vec::new());
        }
        // Without such an API there are tags instead; that, too, need not be found out each time.
        let listed = self.repository.referrers(digest).await?.unwrap_or_default();
        let digests: Vec<_> = listed.into_iter().map(|descriptor| descriptor.digest).collect();
        seen.referrers = Some(SeenReferrers { at: self.now, digests: digests.clone() });
        Ok(digests)
    }
}

fn found(seen: SeenManifest) -> Found {
    let SeenManifest { size, is_index, children, subject, artifact_type, blobs, .. } = seen;
    Found { is_index, children, subject, artifact_type, size, blobs }
}
