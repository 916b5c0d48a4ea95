//! Reads a repository into a snapshot: its tags, all manifests that can be reached from them, and
//! the referrers of those. No manifest is read twice, because the state remembers what is in it, so
//! the second snapshot costs the tag list, one HEAD for each tag, and one for each manifest of which
//! only the name is met.
//!
//! The state remembers contents, which cannot change. Whether a manifest is there, the registry
//! tells each time: by a tag that points at it, by an index that lists it, by a list of referrers,
//! or by its answer. So a manifest that was gone for a while counts as new when it comes back.
//!
//! Nothing in here fails. What cannot be read makes the snapshot incomplete, and then no plan
//! deletes anything.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::StreamExt;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::plan::{Abilities, Builder, Snapshot};
use super::progress::CleanupProgress;
use crate::blocking::joined;
use crate::config::policy::ClockSource;
use crate::fair::MemoryBudget;
use crate::oci::{Digest, Manifest, Tag, derived, media_type};
use crate::repository::{ErrorKind, Reference, Repository, Result, read_small_blob};
use crate::state::{Created, KnownManifests, ListedReferrers, ManifestFacts, ManifestSummary};
use crate::transfer::ManifestReader;

/// How many tags or manifests are requested at once; the registry's connection limit may lower it.
const PARALLEL: usize = 32;
/// The most manifests of one repository, to bound memory.
const MAX_MANIFESTS: usize = 2_000_000;
/// How long an answer about referrers is good enough for a plan that is not carried out.
const REFERRERS_LAST: SignedDuration = SignedDuration::from_hours(24);

/// How a repository is read.
pub struct Gathering<'a> {
    pub repository: &'a dyn Repository,
    /// For manifests.
    pub memory: &'a MemoryBudget,
    pub progress: &'a CleanupProgress,
    pub abilities: Abilities,
    pub known: &'a Arc<dyn KnownManifests>,
    pub now: Timestamp,
    /// Further manifests to look for: those in use, and those that are about to be deleted.
    pub roots: &'a [Digest],
    /// Tags that are in use. A list of tags that is out of date may lack them.
    pub in_use: &'a [Tag],
    /// All tags have been deleted: if there is no list of tags, it is empty.
    pub emptied: bool,
    /// Whether configurations are read, to learn when images were created.
    pub created: bool,
    /// Whether every list of referrers is requested, even if that was done a moment ago.
    pub all_referrers: bool,
}

/// Digests that are to be examined.
#[derive(Default)]
struct Met {
    /// The registry has said in this run that they are there.
    present: Vec<Digest>,
    /// Something names them, which does not tell whether they are there.
    named: Vec<Digest>,
}

impl Gathering<'_> {
    /// The repository as it is now. `None`: there is no such repository.
    pub async fn run(&self) -> Option<Snapshot> {
        let mut builder = Builder::new(self.repository.name(), self.abilities);
        let tags = match self.repository.tags().await {
            Ok(None) if self.repository.capabilities().exists || self.emptied => Vec::new(),
            Ok(tags) => tags?,
            Err(error) => {
                builder.cut_short(error.to_string());
                return Some(builder.finish());
            }
        };
        let unlisted: Vec<Tag> =
            self.in_use.iter().filter(|tag| !tags.contains(tag)).cloned().collect();
        let mut met = Met::default();
        self.resolve(tags, true, &mut builder, &mut met).await;
        self.resolve(unlisted, false, &mut builder, &mut met).await;
        met.named.extend(self.roots.iter().cloned());
        match self.repository.untagged().await {
            Ok(untagged) => met.present.extend(untagged),
            Err(error) => builder.cut_short(error.to_string()),
        }
        self.walk(met, &mut builder).await;
        for (digest, at) in self.known.restored(self.repository.name()) {
            builder.restored(&digest, at);
        }
        let snapshot = builder.finish();
        match snapshot.incomplete().is_empty() {
            true => Some(self.forget_the_others(snapshot).await),
            false => Some(snapshot),
        }
    }

    /// Forgets all manifests that are not in the snapshot. That reads all that is known of the
    /// repository, which would keep other work waiting.
    async fn forget_the_others(&self, snapshot: Snapshot) -> Snapshot {
        let (known, now) = (Arc::clone(self.known), self.now);
        let name = self.repository.name().to_owned();
        let forget = move || {
            let is_there = |digest: &Digest| {
                snapshot.find(digest).is_some_and(|node| snapshot.is_present(node))
            };
            known.retain(&name, now, &is_there);
            snapshot
        };
        joined(tokio::task::spawn_blocking(forget)).await
    }

    /// Adds the digests that tags point at, and those that derived tags are named after. `listed`: the
    /// tags are in the list, so they should exist.
    async fn resolve(&self, tags: Vec<Tag>, listed: bool, builder: &mut Builder, met: &mut Met) {
        let resolved = futures_util::stream::iter(tags).map(|tag| async {
            let resolved = self.repository.resolve(&Reference::Tag(tag.clone())).await;
            (tag, resolved)
        });
        let mut resolved = std::pin::pin!(resolved.buffer_unordered(PARALLEL));
        while let Some((tag, resolved)) = resolved.next().await {
            match resolved {
                Ok(Some(resolved)) => {
                    met.named.extend(derived::parse(&tag).and_then(|derived| derived.subject()));
                    builder.tag(tag, &resolved.digest, false);
                    met.present.push(resolved.digest);
                }
                Ok(None) if listed => {
                    builder.cut_short(format!("tag `{tag}` is listed and not there"));
                }
                Ok(None) => {}
                Err(error) => builder.cut_short(error.to_string()),
            }
        }
    }

    /// Examines these manifests and all that they lead to.
    async fn walk(&self, mut next: Met, builder: &mut Builder) {
        let mut seen = HashSet::new();
        loop {
            // What is only named comes last: most of it turns out to be there on other grounds.
            let is_present = !next.present.is_empty();
            let batch = if is_present { &mut next.present } else { &mut next.named };
            let mut batch = std::mem::take(batch);
            if batch.is_empty() {
                break;
            }
            batch.retain(|digest| seen.insert(digest.clone()));
            if seen.len() > MAX_MANIFESTS {
                builder.cut_short(format!("there are more than {MAX_MANIFESTS} manifests"));
                break;
            }
            let examined = futures_util::stream::iter(batch).map(|digest| async move {
                let examined = self.examine(&digest, is_present).await;
                let pushed = self.repository.pushed_at(&digest).await;
                (digest, examined, pushed)
            });
            let mut examined = std::pin::pin!(examined.buffer_unordered(PARALLEL));
            while let Some((digest, examined, pushed)) = examined.next().await {
                self.progress.manifest();
                match examined {
                    Ok(None) => builder.absent(&digest),
                    Err(reason) => builder.unreadable(&digest, reason),
                    Ok(Some((seen, referrers))) => {
                        let ManifestSummary { children, subject, .. } = &seen.summary;
                        next.present.extend(children.iter().cloned());
                        next.named.extend(subject.clone());
                        match referrers {
                            Ok(referrers) => next.present.extend(referrers),
                            Err(error) => builder.cut_short(error.to_string()),
                        }
                        // If the time cannot be read, the age is not known, and the manifest stays.
                        if let Ok(Some(at)) = pushed {
                            builder.time(&digest, ClockSource::Pushed, at);
                        }
                        builder.time(&digest, ClockSource::FirstSeen, seen.first_seen);
                        if let Some(Created::At(at)) = seen.created {
                            builder.time(&digest, ClockSource::Created, at);
                        }
                        builder.manifest(&digest, seen.summary);
                    }
                }
            }
        }
    }

    /// A manifest and the referrers that the registry lists. `None`: it is not there. `is_present`: it
    /// is known to be there.
    ///
    /// # Errors
    /// Why it cannot be read, in words.
    async fn examine(
        &self,
        digest: &Digest,
        is_present: bool,
    ) -> std::result::Result<Option<(ManifestFacts, Result<Vec<Digest>>)>, String> {
        let name = self.repository.name();
        let known = self.known.get(name, digest);
        if known.is_some() && !is_present {
            let found = self.repository.resolve(&Reference::Digest(digest.clone())).await;
            if found.map_err(|error| error.to_string())?.is_none() {
                self.known.forget(name, digest);
                return Ok(None);
            }
        }
        let is_enough = |seen: &&ManifestFacts| !self.created || seen.created.is_some();
        let mut seen = match known.as_ref().filter(is_enough) {
            Some(seen) => seen.clone(),
            None => {
                let memory = self.memory.begin();
                let reader = ManifestReader::quiet(self.repository, &memory);
                let manifest = reader.read(&Reference::Digest(digest.clone())).await;
                let Some(manifest) = manifest.map_err(|error| error.to_string())? else {
                    return Ok(None);
                };
                self.read(&manifest).await?
            }
        };
        if let Some(known) = &known {
            seen.first_seen = known.first_seen;
        }
        let referrers = self.referrers(digest, &mut seen).await;
        if known.as_ref() != Some(&seen) {
            self.known.set(name, digest, &seen);
        }
        Ok(Some((seen, referrers)))
    }

    /// What a manifest and its configuration say; it is first seen now.
    async fn read(&self, manifest: &Manifest) -> std::result::Result<ManifestFacts, String> {
        let summary = ManifestSummary::of(manifest)?;
        let created = match self.created {
            true => Some(self.created(manifest).await.map_err(|error| error.to_string())?),
            false => None,
        };
        Ok(ManifestFacts { first_seen: self.now, summary, created, referrers: None })
    }

    /// When an image was created, by its configuration. Other manifests do not say.
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
            // An image whose configuration is missing cannot be run, but it can be deleted.
            Err(error) if error.kind() == ErrorKind::Missing => return Ok(Created::Silent),
            Err(error) => return Err(error),
        };
        let said = serde_json::from_slice::<Configuration>(&bytes).ok();
        let at = said.and_then(|said| said.created?.parse().ok());
        Ok(at.map_or(Created::Silent, Created::At))
    }

    /// The referrers that the registry lists, by its last answer if that is recent enough.
    async fn referrers(&self, digest: &Digest, seen: &mut ManifestFacts) -> Result<Vec<Digest>> {
        let lasts = |referrers: &&ListedReferrers| {
            let age = self.now.duration_since(referrers.at);
            // If the answer is from the future, nobody knows how old it is.
            !self.all_referrers && !age.is_negative() && age < REFERRERS_LAST
        };
        if let Some(last) = seen.referrers.as_ref().filter(lasts) {
            return Ok(last.digests.clone());
        }
        if self.repository.capabilities().lists_untagged {
            // All referrers are listed themselves.
            return Ok(Vec::new());
        }
        // A repository without a referrers API has fallback tags instead. That is remembered as well.
        let digests = self.repository.referrers(digest).await?.unwrap_or_default();
        seen.referrers = Some(ListedReferrers { at: self.now, digests: digests.clone() });
        Ok(digests)
    }
}
