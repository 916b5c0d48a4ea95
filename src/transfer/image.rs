//! One image on its way: what is put, in which order, and what became of it at each target.
//!
//! Blobs, then children, then parents, then what refers to the image, the tag last: whatever
//! happens and whenever, a tag never points at something incomplete.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tracing::Instrument;

use super::blobs::Fate;
use super::referrers::TagIndex;
use super::underway::Tally;
use super::{Carrier, Found, Graph, Options, span};
use crate::fair::Flow;
use crate::oci::{Descriptor, Digest, Manifest, Tag};
use crate::repository::{
    Cause, Error, ErrorKind, Placement, Reference, Repository, Result, Stored,
};

/// Blobs and manifests of one image that are dealt with at once.
const PARALLEL: usize = 12;

/// An image to be moved.
pub struct Job {
    pub source: Arc<dyn Repository>,
    /// Which manifest of the source is read.
    pub reference: Reference,
    /// The derived tags of the source, where they are known.
    pub source_tags: TagIndex,
    pub targets: Vec<Target>,
    pub options: Arc<Options>,
    /// Whose turns it takes where transfers share something.
    pub flow: Flow,
}

/// One place that the image goes to.
pub struct Target {
    pub repository: Arc<dyn Repository>,
    /// `Digest` or `Tag`.
    pub placement: Placement,
    /// What the tag points at now, where that was asked.
    pub current: Option<Digest>,
    /// On what condition a tag is put.
    pub condition: Condition,
    /// The repository had no tags when it was last listed.
    pub fresh: bool,
    /// What is known of the repository from before this run is out of date: it has no tags any
    /// more, or the one that was put there is gone. Somebody cleans up, so blobs may be gone too.
    pub cleaned: bool,
}

/// What a tag must be at the target to be put there: asked directly before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Whatever it is; nothing is asked.
    Always,
    Absent,
    Is(Digest),
}

/// What became of an image.
#[derive(Debug)]
pub struct Outcome {
    pub source_digest: Digest,
    /// In the order of the targets.
    pub targets: Vec<Result<Delivered>>,
    pub notes: Vec<String>,
    /// Every manifest of the image: what referrers are looked for under.
    pub subjects: Vec<Digest>,
    /// What refers to the image at the source.
    pub referrers: Vec<Found>,
}

/// What one target got.
#[derive(Debug, Clone)]
pub struct Delivered {
    /// Of the manifest that the tag points at now.
    pub digest: Digest,
    /// The target had exactly this already.
    pub unchanged: bool,
    pub sent_bytes: u64,
    pub blobs_sent: u64,
    pub blobs_mounted: u64,
    pub blobs_present: u64,
    /// Referrers that the target refuses to store, or that cannot be read at the source;
    /// everything else is there.
    pub refused_referrers: Vec<Error>,
}

/// A target during the transfer.
pub(super) struct Side<'a> {
    pub target: &'a Target,
    /// Of the whole transfer.
    pub tally: &'a Tally,
    failed: Mutex<Option<Error>>,
    refused: Mutex<Vec<Error>>,
    /// Blobs that were taken to be there without a look in this transfer.
    trusted: Mutex<HashSet<Digest>>,
    bytes: AtomicU64,
    fates: [AtomicU64; 3],
}

impl<'a> Side<'a> {
    fn new(target: &'a Target, tally: &'a Tally) -> Self {
        Self {
            target,
            tally,
            failed: Mutex::default(),
            refused: Mutex::default(),
            trusted: Mutex::default(),
            bytes: AtomicU64::new(0),
            fates: Default::default(),
        }
    }

    pub fn repository(&self) -> &dyn Repository {
        &*self.target.repository
    }

    pub fn is_fresh(&self) -> bool {
        self.target.fresh
    }

    pub fn has_failed(&self) -> bool {
        self.failed.lock().is_some()
    }

    /// Notes the first failure: it is the cause of those that follow.
    pub fn fail(&self, error: Error) {
        self.failed.lock().get_or_insert(error);
    }

    /// Takes a failure for a refusal of what was just brought, if it is such a one.
    pub fn excuse(&self, is_refusal: impl Fn(&Error) -> bool) {
        let error = self.failed.lock().take_if(|error| is_refusal(error));
        self.refused.lock().extend(error);
    }

    pub fn trust(&self, blob: &Digest) {
        self.trusted.lock().insert(blob.clone());
    }

    /// Whether any of these was taken to be there; from now on they are looked at.
    fn distrust(&self, blobs: &[Descriptor]) -> bool {
        let mut trusted = self.trusted.lock();
        blobs.iter().filter(|blob| trusted.remove(&blob.digest)).count() > 0
    }

    pub fn count(&self, fate: Fate, size: u64) {
        self.fates[fate as usize].fetch_add(1, Ordering::Relaxed);
        if fate == Fate::Sent {
            self.bytes.fetch_add(size, Ordering::Relaxed);
        }
    }

    fn finish(self, digest: Digest, unchanged: bool) -> Result<Delivered> {
        if let Some(error) = self.failed.lock().take() {
            return Err(error);
        }
        let fate = |fate: Fate| self.fates[fate as usize].load(Ordering::Relaxed);
        Ok(Delivered {
            digest,
            unchanged,
            sent_bytes: self.bytes.load(Ordering::Relaxed),
            blobs_sent: fate(Fate::Sent),
            blobs_mounted: fate(Fate::Mounted),
            blobs_present: fate(Fate::Present),
            refused_referrers: std::mem::take(&mut self.refused.lock()),
        })
    }
}

/// What all parts of one transfer share.
pub(super) struct Trip<'a> {
    pub job: &'a Job,
    pub tally: &'a Tally,
    pub sides: Vec<Side<'a>>,
    /// Subjects whose referrers were looked for.
    pub surveyed: Mutex<HashSet<Digest>>,
    pub found: Mutex<Vec<Found>>,
    notes: Mutex<Vec<String>>,
    /// Referrers of referrers of the image that are being brought just now.
    pub nested: AtomicUsize,
}

impl Trip<'_> {
    pub fn source(&self) -> &dyn Repository {
        &*self.job.source
    }

    pub fn note(&self, note: String) {
        let mut notes = self.notes.lock();
        if !notes.contains(&note) {
            notes.push(note);
        }
    }

    /// Something that belongs to the image cannot be had: every side goes without it.
    pub fn refuse(&self, error: &Error) {
        for side in self.live() {
            side.refused.lock().push(error.clone());
        }
    }

    pub fn live(&self) -> Vec<&Side<'_>> {
        self.sides.iter().filter(|side| !side.has_failed()).collect()
    }
}

/// Where an image is put: as what the job asks for, or as something that belongs to it.
#[derive(Debug, Clone)]
pub(super) enum Role {
    Asked,
    Referrer,
    Derived(Tag),
}

impl Carrier {
    /// Moves an image to all targets. Each target fails by itself; an error means that the
    /// source could not be read, so no target has anything new.
    pub async fn transfer(&self, job: &Job) -> Result<Outcome> {
        let listed = self.underway.begin(job);
        let span = listed.span();
        let result = self.carry_out(job, &listed).instrument(span.clone()).await;
        span::settled(&span, &result);
        result
    }

    async fn carry_out(&self, job: &Job, tally: &Tally) -> Result<Outcome> {
        let found = job.source.manifest(&job.reference).await?;
        let root = found.ok_or_else(|| {
            let name = format!("{}{}", job.source.name(), job.reference.suffix());
            Error::new("read", name, Cause::Missing)
        })?;
        let source_digest = root.digest.clone();
        tally.touch();
        let trip = Trip {
            job,
            tally,
            sides: job.targets.iter().map(|target| Side::new(target, tally)).collect(),
            surveyed: Mutex::default(),
            nested: AtomicUsize::new(0),
            found: Mutex::default(),
            notes: Mutex::default(),
        };
        let graph = Graph::gather(&*job.source, root, &job.options).await?;
        let digest = graph.root.digest.clone();
        let subjects = graph.manifests().map(|manifest| manifest.digest.clone()).collect();
        self.deliver(&trip, graph, Role::Asked).await?;
        let Trip { sides, found, notes, .. } = trip;
        let targets = sides
            .into_iter()
            .map(|side| {
                let unchanged = side.target.current.as_ref() == Some(&digest);
                side.finish(digest.clone(), unchanged)
            })
            .collect();
        Ok(Outcome {
            source_digest,
            targets,
            notes: notes.into_inner(),
            subjects,
            referrers: found.into_inner(),
        })
    }

    /// Puts an image and all that belongs to it at every side. Boxed, because what belongs to an
    /// image is an image again.
    pub(super) fn deliver<'a>(
        &'a self,
        trip: &'a Trip<'_>,
        mut graph: Graph,
        role: Role,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            for note in std::mem::take(&mut graph.notes) {
                trip.note(note);
            }
            let asked = matches!(role, Role::Asked);
            let has_it =
                |side: &Side<'_>| asked && side.target.current.as_ref() == Some(&graph.root.digest);
            let (blobs, note) = graph.blobs(&trip.job.options);
            if let Some(note) = note {
                trip.note(note);
            }
            let lacking: Vec<&Side<'_>> =
                trip.live().into_iter().filter(|side| !has_it(side)).collect();
            if !lacking.is_empty() {
                trip.tally.expect(size_of_all(&blobs).saturating_mul(lacking.len() as u64));
                futures_util::stream::iter(&blobs)
                    .for_each_concurrent(PARALLEL, |blob| {
                        self.ensure(trip.source(), blob, &lacking, true)
                    })
                    .await;
                for level in graph.levels.iter().rev() {
                    futures_util::stream::iter(level)
                        .for_each_concurrent(PARALLEL, |manifest| async {
                            for side in &lacking {
                                self.put(trip, side, &Placement::Part, manifest, false).await;
                            }
                        })
                        .await;
                }
            }
            if trip.job.options.referrers {
                let subjects: Vec<Digest> =
                    graph.manifests().map(|manifest| manifest.digest.clone()).collect();
                self.deliver_referrers(trip, subjects).await?;
            }
            for side in lacking {
                self.put_root(trip, side, &graph.root, &role).await;
            }
            Ok(())
        })
    }

    async fn put_root(&self, trip: &Trip<'_>, side: &Side<'_>, root: &Manifest, role: &Role) {
        let placement = match role {
            Role::Asked => side.target.placement.clone(),
            Role::Referrer => Placement::Part,
            Role::Derived(tag) => Placement::Tag(tag.clone()),
        };
        if matches!(role, Role::Asked)
            && let Err(error) = self.check_condition(side, &placement, root).await
        {
            return side.fail(error);
        }
        // A registry that takes no such artifacts never will: the image itself may go.
        let optional = matches!(role, Role::Referrer);
        let stored = self.put(trip, side, &placement, root, optional).await;
        let Some(stored) = stored else { return };
        // The target does not list it by itself: then its fallback tag must.
        if let Some(subject) = root.subject.as_ref().filter(|_| !stored.lists_referrer)
            && let Err(error) = self.list_by_tag(side, &subject.digest, root).await
        {
            side.fail(error);
        }
    }

    /// Whether the tag at the target still is what it was when it was decided to put it there.
    async fn check_condition(
        &self,
        side: &Side<'_>,
        placement: &Placement,
        root: &Manifest,
    ) -> Result<()> {
        let expected = match &side.target.condition {
            Condition::Always => return Ok(()),
            Condition::Absent => None,
            Condition::Is(digest) => Some(digest),
        };
        let Placement::Tag(tag) = placement else { return Ok(()) };
        if side.has_failed() {
            return Ok(());
        }
        let target = side.repository();
        let found = target.resolve(&Reference::Tag(tag.clone())).await?;
        let found = found.map(|resolved| resolved.digest);
        // Who put the same there meanwhile did no harm.
        if found.as_ref() == expected || found.as_ref() == Some(&root.digest) {
            return Ok(());
        }
        let subject = format!("{}{}", target.name(), placement.suffix());
        Err(Error::new("overwrite", subject, Cause::Changed { found }))
    }

    /// Puts one manifest; its parts are there. `None`: it failed, which is noted in the side.
    /// What is `optional` may be refused for what it is, and the rest still goes.
    async fn put(
        &self,
        trip: &Trip<'_>,
        side: &Side<'_>,
        placement: &Placement,
        manifest: &Manifest,
        optional: bool,
    ) -> Option<Stored> {
        if side.has_failed() {
            return None;
        }
        let target = side.repository();
        let mut result = target.put_manifest(placement, manifest).await;
        let blobs = self.uncertain_blobs(trip, manifest);
        if let Err(error) = &result
            && (is_missing_blob(error) || may_be_missing_blob(error) && side.distrust(&blobs))
        {
            // What was noted of the target was out of date: somebody cleaned up there.
            tracing::debug!(%error, "looking at every blob again");
            self.forget(target, &blobs);
            trip.tally.doubt(size_of_all(&blobs));
            futures_util::stream::iter(&blobs)
                .for_each_concurrent(PARALLEL, |blob| async move {
                    self.ensure(trip.source(), blob, &[side], false).await;
                })
                .await;
            if side.has_failed() {
                return None;
            }
            result = target.put_manifest(placement, manifest).await;
        }
        match result {
            Ok(stored) => {
                trip.tally.touch();
                Some(stored)
            }
            Err(error) => {
                if optional && is_unwanted(&error) {
                    side.refused.lock().push(error);
                } else {
                    side.fail(error);
                }
                None
            }
        }
    }

    fn uncertain_blobs(&self, trip: &Trip<'_>, manifest: &Manifest) -> Vec<Descriptor> {
        let graph = Graph { root: manifest.clone(), levels: Vec::new(), notes: Vec::new() };
        graph.blobs(&trip.job.options).0
    }
}

/// What they claim to be in bytes, which may be anything.
fn size_of_all(blobs: &[Descriptor]) -> u64 {
    blobs.iter().fold(0, |sum, blob| sum.saturating_add(blob.size))
}

/// Whether a target refused a manifest because it lacks a part of it.
fn is_missing_blob(error: &Error) -> bool {
    error.kind() == ErrorKind::MissingParts
}

/// Whether a target may have meant that a part is missing, without saying so clearly.
fn may_be_missing_blob(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Missing)
}

/// Whether a target refused a manifest for what it is.
fn is_unwanted(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Invalid
            | ErrorKind::Unwanted
            | ErrorKind::Unsupported
            | ErrorKind::MissingParts
            | ErrorKind::Immutable
    )
}
