//! Compares one image: its root, everything below it, and everything that refers to it.
//!
//! What the target should have is derived from the source as a transfer does it, platform filter
//! included. Every manifest is read and hashed on both sides.

use futures_util::StreamExt;
use parking_lot::Mutex;

use super::checks::{TargetChecks, differing_type};
use super::pairs::{Item, RepositoryPair};
use super::report::{ImageOutcome, ImageReport, Problem, ProblemKind};
use crate::fair::{Claim, Claimant, ClaimsTooMuch, Pulses};
use crate::oci::manifest::MAX_MANIFEST_BYTES;
use crate::oci::{Digest, Manifest};
use crate::repository::{Cause, Error, Placement, Reference, Result, missing};
use crate::transfer::{
    COMPARED_AT_ONCE, Graph, ManifestReader, Options, Referrer, USUAL, read_referrer, survey,
};

/// What a comparison found, and what a repair needs to know.
pub(super) struct Compared {
    pub report: ImageReport,
    /// The digest that the target's tag has, if it is the wrong one.
    pub found_root: Option<Digest>,
    /// Every blob in the source's manifests of the image.
    pub blobs: Vec<Digest>,
}

/// A comparison under way.
struct Comparison<'a> {
    checks: &'a TargetChecks,
    memory: &'a Claimant,
    pulses: &'a Pulses,
    pair: &'a RepositoryPair,
    problems: Mutex<Vec<Problem>>,
    compared: Compared,
}

/// Compares one image at source and target.
pub(super) async fn compare(
    checks: &TargetChecks,
    memory: &Claimant,
    pulses: &Pulses,
    pair: &RepositoryPair,
    item: &Item,
) -> Compared {
    let mut comparison = Comparison {
        checks,
        memory,
        pulses,
        pair,
        problems: Mutex::default(),
        compared: Compared { report: blank(pair, item), found_root: None, blobs: Vec::new() },
    };
    let result = comparison.run(item).await;
    let Comparison { problems, mut compared, .. } = comparison;
    let report = &mut compared.report;
    report.problems = problems.into_inner();
    // Parts are checked at the same time, so problems come in any order; a part that an image has
    // twice is one problem.
    report.problems.sort_by(|a, b| (&a.subject, &a.message).cmp(&(&b.subject, &b.message)));
    report.problems.dedup();
    if let Err(error) = result {
        report.problems.insert(0, Problem::unreadable(&error));
        report.outcome = ImageOutcome::Failed;
    } else if !report.problems.is_empty() {
        let is_unknown = |problem: &Problem| problem.kind == ProblemKind::Unreadable;
        report.outcome = match report.problems.iter().all(is_unknown) {
            true => ImageOutcome::Failed,
            false => ImageOutcome::Different,
        };
    }
    compared
}

impl Comparison<'_> {
    /// An error means that the source could not be read.
    async fn run(&mut self, item: &Item) -> Result<()> {
        let (pair, source) = (self.pair, ManifestReader::quiet(&*self.pair.source, self.memory));
        let Some(root) = source.read(&item.reference).await? else {
            return Err(missing("read", &*pair.source, &item.reference).await);
        };
        self.progress();
        self.compared.report.source_digest = Some(root.digest.to_string());
        let graph = Graph::gather(&source, root, &pair.options).await?;
        self.compared.report.expected_digest = Some(graph.root.digest.to_string());
        self.compared.report.notes = graph.notes.clone();
        let there = self.root(item, &graph.root).await;
        self.below(&graph, &pair.options, there).await;
        if pair.options.referrers && there {
            let subjects = graph.manifests().map(|manifest| manifest.digest.clone()).collect();
            drop(graph);
            self.referrers(subjects).await?;
        }
        Ok(())
    }

    /// Whether the target has the right root. Without it nothing below is checked, because the
    /// whole image has to be copied.
    async fn root(&mut self, item: &Item, wanted: &Manifest) -> bool {
        let reference = match &item.placement {
            Placement::Tag(tag) => Reference::Tag(tag.clone()),
            Placement::Digest | Placement::Part => Reference::Digest(wanted.digest.clone()),
        };
        let subject = self.compared.report.target.clone();
        self.checks.count_manifest();
        // Memory for what should be there: a target that does not answer keeps no more of it.
        let mut limit = wanted.raw.len().clamp(USUAL, MAX_MANIFEST_BYTES);
        let (_claim, found) = loop {
            let claim = match self.room(limit).await {
                Ok(claim) => claim,
                Err(error) => {
                    self.note(Some(Problem::unreadable(&error)));
                    return false;
                }
            };
            match self.pair.target.manifest_within(&reference, limit).await {
                Err(error)
                    if limit < MAX_MANIFEST_BYTES
                        && matches!(error.cause(), Cause::LargerThan(_)) =>
                {
                    limit = MAX_MANIFEST_BYTES;
                }
                found => break (claim, found),
            }
        };
        self.progress();
        let (kind, message) = match found {
            Err(error) => {
                self.note(Some(Problem::of_manifest(&error)));
                return false;
            }
            Ok(None) => (ProblemKind::ImageMissing, "the image is missing".to_owned()),
            Ok(Some(found)) if found.digest != wanted.digest => {
                let message = format!("it is {} instead of {}", found.digest, wanted.digest);
                self.compared.found_root = Some(found.digest);
                (ProblemKind::ImageDiffers, message)
            }
            Ok(Some(found)) => match differing_type(wanted, &found) {
                Some(message) => (ProblemKind::ImageDiffers, message),
                None => return true,
            },
        };
        self.note(Some(Problem::new(kind, subject, message)));
        false
    }

    /// Counts what an image consists of, and checks all of it but the root.
    async fn below(&mut self, graph: &Graph, options: &Options, check: bool) {
        let (blobs, note) = graph.blobs(options);
        let report = &mut self.compared.report;
        if let Some(note) = note.filter(|note| !report.notes.contains(note)) {
            report.notes.push(note);
        }
        report.manifests += graph.manifests().count() as u64;
        report.blobs += blobs.len() as u64;
        report.bytes += blobs.iter().map(|blob| blob.size).sum::<u64>();
        self.compared.blobs.extend(blobs.iter().map(|blob| blob.digest.clone()));
        if !check {
            return;
        }
        let (this, target) = (&*self, &*self.pair.target);
        futures_util::stream::iter(graph.levels.iter().flatten())
            .for_each_concurrent(COMPARED_AT_ONCE, |manifest| async move {
                this.part(manifest).await;
            })
            .await;
        futures_util::stream::iter(&blobs)
            .for_each_concurrent(COMPARED_AT_ONCE, |blob| async move {
                let alive = || this.progress();
                this.note(this.checks.blob(target, blob, &alive).await);
                alive();
            })
            .await;
    }

    /// Compares a manifest with the one that the target has.
    async fn part(&self, manifest: &Manifest) {
        // Claimed here, because other images wait for what `checks` does.
        let problem = match self.room(manifest.raw.len()).await {
            Ok(_claim) => self.checks.manifest(&*self.pair.target, manifest).await,
            Err(error) => Some(Problem::unreadable(&error)),
        };
        self.progress();
        self.note(problem);
    }

    /// Whatever the images are in: a layout is asked without any request.
    fn progress(&self) {
        self.pulses.progress(self.pair.flow);
    }

    /// Memory for what the target has.
    async fn room(&self, bytes: usize) -> Result<Claim> {
        let claim = self.memory.claim(bytes as u64, u64::MAX).await;
        claim.map_err(|_: ClaimsTooMuch| {
            let message = "the manifests of the image take too much memory".to_owned();
            Error::new("read", self.compared.report.target.clone(), Cause::Protocol(message))
        })
    }

    async fn referrers(&mut self, subjects: Vec<Digest>) -> Result<()> {
        let pair = self.pair;
        let [source, target] = [&pair.source, &pair.target]
            .map(|repository| ManifestReader::quiet(&**repository, self.memory));
        let found = survey(&source, &subjects, &pair.source_tags).await?;
        if found.is_empty() {
            return Ok(());
        }
        let there = match pair.target_tags().await {
            Ok(tags) => survey(&target, &subjects, &tags).await,
            Err(error) => Err(error),
        };
        let there = match there {
            Ok(there) => there,
            Err(error) => {
                self.note(Some(Problem::unreadable(&error)));
                return Ok(());
            }
        };
        for found in found {
            self.referrer(&found, &there).await?;
        }
        Ok(())
    }

    async fn referrer(&mut self, found: &Referrer, there: &[Referrer]) -> Result<()> {
        let options = self.pair.options.of_referrer();
        let source = ManifestReader::quiet(&*self.pair.source, self.memory);
        let Some(graph) = read_referrer(&source, found, &options).await? else {
            let note = format!(
                "the source lists a referrer of {} that it does not have: {}",
                found.subject, found.digest
            );
            self.compared.report.notes.push(note);
            return Ok(());
        };
        self.compared.report.referrers += 1;
        let listed = there.contains(found);
        if listed {
            self.part(&graph.root).await;
        } else {
            self.note(Some(self.unlisted(found, there)));
        }
        self.below(&graph, &options, listed).await;
        Ok(())
    }

    fn unlisted(&self, found: &Referrer, there: &[Referrer]) -> Problem {
        let name = self.pair.target.name();
        let Some(tag) = &found.tag else {
            let subject = format!("{name}@{}", found.digest);
            let message = format!("it is not among the referrers of {}", found.subject);
            return Problem::new(ProblemKind::ReferrerMissing, subject, message);
        };
        let subject = format!("{name}:{tag}");
        match there.iter().find(|other| other.tag.as_ref() == Some(tag)) {
            Some(other) => {
                let message = format!("it is {} instead of {}", other.digest, found.digest);
                Problem::new(ProblemKind::ReferrerDiffers, subject, message)
            }
            None => {
                let message =
                    format!("the tag is missing, which belongs to the image {}", found.subject);
                Problem::new(ProblemKind::ReferrerMissing, subject, message)
            }
        }
    }

    fn note(&self, problem: Option<Problem>) {
        self.problems.lock().extend(problem);
    }
}

fn blank(pair: &RepositoryPair, item: &Item) -> ImageReport {
    let placed = match &item.placement {
        Placement::Tag(tag) => format!(":{tag}"),
        Placement::Digest | Placement::Part => item.reference.suffix(),
    };
    ImageReport {
        source: format!("{}{}", pair.source.name(), item.reference.suffix()),
        target: format!("{}{placed}", pair.target.name()),
        ..ImageReport::default()
    }
}
