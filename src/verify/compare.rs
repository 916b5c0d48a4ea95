//! One image compared: its root, everything below it, and everything that refers to it.
//!
//! What the target should have is worked out from the source as a transfer does it, platform
//! filter included. Every manifest is read and hashed on both sides.

use std::sync::atomic::Ordering;

use futures_util::StreamExt;
use parking_lot::Mutex;

use super::parts::differing_type;
use super::report::{ImageReport, Kind, Outcome, Problem};
use super::{Item, Sides, Verifier};
use crate::oci::{Digest, Manifest};
use crate::repository::{Cause, Error, Placement, Reference, Result};
use crate::transfer::{Found, Graph, Options, survey};

/// Parts of one image that are looked at at once.
const PARALLEL: usize = 8;

/// What a comparison found, with what a repair needs to know.
pub(super) struct Compared {
    pub report: ImageReport,
    /// What the target's tag points at, where that is something else than it should.
    pub found_root: Option<Digest>,
    /// Every blob of the image that was seen in the source's manifests.
    pub blobs: Vec<Digest>,
}

/// A comparison on its way.
struct Comparison<'a> {
    verifier: &'a Verifier,
    sides: &'a Sides,
    problems: Mutex<Vec<Problem>>,
    compared: Compared,
}

impl Verifier {
    /// Compares one image at both sides.
    pub(super) async fn compare(&self, sides: &Sides, item: &Item) -> Compared {
        let mut comparison = Comparison {
            verifier: self,
            sides,
            problems: Mutex::default(),
            compared: Compared { report: blank(sides, item), found_root: None, blobs: Vec::new() },
        };
        let result = comparison.run(item).await;
        let Comparison { problems, mut compared, .. } = comparison;
        let report = &mut compared.report;
        report.problems = problems.into_inner();
        // Looked for at once, found in any order; a part that stands at two places is one.
        report.problems.sort_by(|a, b| (&a.subject, &a.message).cmp(&(&b.subject, &b.message)));
        report.problems.dedup();
        if let Err(error) = result {
            report.problems.insert(0, Problem::unreadable(&error));
            report.outcome = Outcome::Failed;
        } else if !report.problems.is_empty() {
            report.outcome = Outcome::Different;
        }
        compared
    }
}

impl Comparison<'_> {
    /// An error means that the source could not be read.
    async fn run(&mut self, item: &Item) -> Result<()> {
        let (sides, source) = (self.sides, &*self.sides.source);
        let root = source.manifest(&item.reference).await?.ok_or_else(|| {
            let name = format!("{}{}", source.name(), item.reference.suffix());
            Error::new("read", name, Cause::Missing)
        })?;
        self.compared.report.source_digest = Some(root.digest.to_string());
        let graph = Graph::gather(source, root, &sides.options).await?;
        self.compared.report.expected_digest = Some(graph.root.digest.to_string());
        self.compared.report.notes = graph.notes.clone();
        let there = self.root(item, &graph.root).await;
        self.below(&graph, &sides.options, there).await;
        if sides.options.referrers && there {
            let subjects = graph.manifests().map(|manifest| manifest.digest.clone()).collect();
            self.referrers(subjects).await?;
        }
        Ok(())
    }

    /// Whether the target has the right root. What is below a root that it does not have is not
    /// looked at: the whole image has to be copied.
    async fn root(&mut self, item: &Item, wanted: &Manifest) -> bool {
        let reference = match &item.placement {
            Placement::Tag(tag) => Reference::Tag(tag.clone()),
            Placement::Digest | Placement::Part => Reference::Digest(wanted.digest.clone()),
        };
        let subject = self.compared.report.target.clone();
        self.verifier.tally.manifests.fetch_add(1, Ordering::Relaxed);
        let (kind, message) = match self.sides.target.manifest(&reference).await {
            Err(error) => {
                self.note(Some(Problem::of_manifest(&error)));
                return false;
            }
            Ok(None) => (Kind::ImageMissing, "the image is missing".to_owned()),
            Ok(Some(found)) if found.digest != wanted.digest => {
                let message = format!("it is {} instead of {}", found.digest, wanted.digest);
                self.compared.found_root = Some(found.digest);
                (Kind::ImageDiffers, message)
            }
            Ok(Some(found)) => match differing_type(wanted, &found) {
                Some(message) => (Kind::ImageDiffers, message),
                None => return true,
            },
        };
        self.note(Some(Problem::new(kind, subject, message)));
        false
    }

    /// Counts what an image consists of, and looks at all of it but the root itself.
    async fn below(&mut self, graph: &Graph, options: &Options, look: bool) {
        let (blobs, note) = graph.blobs(options);
        let report = &mut self.compared.report;
        if let Some(note) = note.filter(|note| !report.notes.contains(note)) {
            report.notes.push(note);
        }
        report.manifests += graph.manifests().count() as u64;
        report.blobs += blobs.len() as u64;
        report.bytes += blobs.iter().map(|blob| blob.size).sum::<u64>();
        self.compared.blobs.extend(blobs.iter().map(|blob| blob.digest.clone()));
        if !look {
            return;
        }
        let (this, target) = (&*self, &*self.sides.target);
        futures_util::stream::iter(graph.levels.iter().flatten())
            .for_each_concurrent(PARALLEL, |manifest| async move {
                this.note(this.verifier.manifest(target, manifest).await);
            })
            .await;
        futures_util::stream::iter(&blobs)
            .for_each_concurrent(PARALLEL, |blob| async move {
                this.note(this.verifier.blob(target, blob).await);
            })
            .await;
    }

    async fn referrers(&mut self, subjects: Vec<Digest>) -> Result<()> {
        let sides = self.sides;
        let found = survey(&*sides.source, &subjects, &sides.source_tags).await?;
        if found.is_empty() {
            return Ok(());
        }
        let there = match sides.target_tags().await {
            Ok(tags) => survey(&*sides.target, &subjects, &tags).await,
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

    async fn referrer(&mut self, found: &Found, there: &[Found]) -> Result<()> {
        let reference = Reference::Digest(found.digest.clone());
        let Some(root) = self.sides.source.manifest(&reference).await? else {
            let note = format!(
                "the source lists a referrer of {} that it does not have: {}",
                found.subject, found.digest
            );
            self.compared.report.notes.push(note);
            return Ok(());
        };
        self.compared.report.referrers += 1;
        let listed = there.contains(found);
        if !listed {
            self.note(Some(self.unlisted(found, there)));
        }
        // Referrers come whole, whatever platforms the image is filtered for.
        let options = Options { platforms: Vec::new(), ..(*self.sides.options).clone() };
        let graph = Graph::gather(&*self.sides.source, root, &options).await?;
        if listed {
            self.note(self.verifier.manifest(&*self.sides.target, &graph.root).await);
        }
        self.below(&graph, &options, listed).await;
        Ok(())
    }

    fn unlisted(&self, found: &Found, there: &[Found]) -> Problem {
        let name = self.sides.target.name();
        let Some(tag) = &found.tag else {
            let subject = format!("{name}@{}", found.digest);
            let message = format!("it is not among the referrers of {}", found.subject);
            return Problem::new(Kind::ReferrerMissing, subject, message);
        };
        let subject = format!("{name}:{tag}");
        match there.iter().find(|other| other.tag.as_ref() == Some(tag)) {
            Some(other) => {
                let message = format!("it is {} instead of {}", other.digest, found.digest);
                Problem::new(Kind::ReferrerDiffers, subject, message)
            }
            None => {
                let message =
                    format!("the tag is missing, which belongs to the image {}", found.subject);
                Problem::new(Kind::ReferrerMissing, subject, message)
            }
        }
    }

    fn note(&self, problem: Option<Problem>) {
        let mut problems = self.problems.lock();
        problems.extend(problem);
    }
}

fn blank(sides: &Sides, item: &Item) -> ImageReport {
    let placed = match &item.placement {
        Placement::Tag(tag) => format!(":{tag}"),
        Placement::Digest | Placement::Part => item.reference.suffix(),
    };
    ImageReport {
        source: format!("{}{}", sides.source.name(), item.reference.suffix()),
        target: format!("{}{placed}", sides.target.name()),
        outcome: Outcome::Equal,
        source_digest: None,
        expected_digest: None,
        manifests: 0,
        blobs: 0,
        bytes: 0,
        referrers: 0,
        problems: Vec::new(),
        repair: None,
        notes: Vec::new(),
    }
}
