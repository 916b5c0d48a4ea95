//! One-off copies: an image, or all tags of a repository, from one place to another.
//!
//! Unlike a rule, a copy remembers nothing: what is at the target is asked for each time.
//!
//! `of_index`: what of an index is copied, where that is not all of it.

mod of_index;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt;
use parking_lot::Mutex;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::fair::Flow;
use crate::oci::selection::TagSelection;
use crate::oci::{Digest, Manifest, Tag};
use crate::repository::{Cause, Error, Failure, Placement, Reference, Repository, Result, missing};
use crate::stores::{Image, OpenImage};
use crate::sync::{Action, Counts, ImageReport, Mode};
use crate::transfer::{self, Carrier, Delivered, Job, Options, TagIndex, TransferOutcome};

pub use of_index::OfIndex;
use of_index::Part;

/// Images under way at once. Bounds memory.
const IMAGES: usize = 16;

/// What is to be copied, and under which names.
#[derive(Debug, Clone)]
pub struct What {
    pub extent: Extent,
    pub of_index: OfIndex,
    /// More tags that the image gets at the target.
    pub more_tags: Vec<Tag>,
    /// Stands behind each tag at the target.
    pub suffix: String,
    pub mode: Mode,
}

/// Which images are copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extent {
    /// The image that the source names.
    Image,
    /// The tags of the repository that are selected, but for those that follow an image (see
    /// `oci::derived`).
    Tags(Box<TagSelection>),
    /// These, whatever the repository's list says.
    Named(Vec<Reference>),
}

impl Extent {
    /// All tags of the repository.
    pub fn all_tags() -> Self {
        Self::Tags(Box::default())
    }
}

impl What {
    /// As it is at the source, under the same names.
    pub fn plain(extent: Extent) -> Self {
        let (of_index, mode) = (OfIndex::Whole, Mode::Apply);
        Self { extent, of_index, more_tags: Vec::new(), suffix: String::new(), mode }
    }

    /// Where an image goes at the target.
    fn placement(&self, tag: Option<Tag>) -> Result<Placement> {
        let Some(tag) = tag else { return Ok(Placement::Digest) };
        let named = format!("{tag}{}", self.suffix);
        named.parse().map(Placement::Tag).map_err(|error| {
            Error::new(
                "name the target of",
                tag.to_string(),
                Cause::Unsupported(format!("{error}")),
            )
        })
    }
}

/// What was done.
#[derive(Debug, Default, Serialize)]
pub struct CopyReport {
    /// The copy was stopped before its end.
    pub interrupted: bool,
    pub counts: Counts,
    /// Bytes of blobs sent to the target.
    pub bytes: u64,
    pub seconds: f64,
    /// By name.
    pub images: Vec<ImageReport>,
    /// What went wrong with more than one image.
    pub failures: Vec<Failure>,
}

impl CopyReport {
    pub fn is_success(&self) -> bool {
        !self.interrupted && self.counts.failed == 0 && self.failures.is_empty()
    }

    /// Adds what another copy of the same command did.
    pub fn add(&mut self, other: Self) {
        self.interrupted |= other.interrupted;
        other.images.iter().for_each(|image| self.counts.add(image.action));
        self.bytes += other.bytes;
        self.images.extend(other.images);
        sort(&mut self.images);
        self.failures.extend(other.failures);
    }
}

/// Who observes a copy.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// Is told how many images there are, as soon as that is known.
    pub found: &'a (dyn Fn(usize) + Sync),
    /// Sees each image as soon as it is settled.
    pub image: &'a (dyn Fn(&ImageReport) + Sync),
}

/// Copies, and finishes the target if nothing went wrong.
pub async fn run(
    carrier: &Carrier,
    source: &OpenImage,
    target: OpenImage,
    what: What,
    options: Options,
    cancel: &CancellationToken,
    watch: Watch<'_>,
) -> CopyReport {
    let (begin, mode) = (Instant::now(), what.mode);
    let settled = Mutex::new(Vec::new());
    let done = |image: ImageReport| {
        (watch.image)(&image);
        settled.lock().push(image);
    };
    let options = Arc::new(options);
    let work = async {
        let copy = Copy::prepare(carrier, source, &target, what, options).await?;
        (watch.found)(copy.images.len());
        copy.run(&done).await;
        Ok(())
    };
    let result: Option<Result<()>> = tokio::select! {
        biased;
        () = cancel.cancelled() => None,
        result = work => Some(result),
    };
    let interrupted = result.is_none();
    let mut failures: Vec<Failure> = result.and_then(Result::err).iter().map(Failure::of).collect();
    let mut images = settled.into_inner();
    sort(&mut images);
    let mut counts = Counts::default();
    images.iter().for_each(|image| counts.add(image.action));
    if !interrupted
        && failures.is_empty()
        && counts.failed == 0
        && mode == Mode::Apply
        && let Err(error) = target.finish().await
    {
        failures.push(Failure::of(&error));
    }
    CopyReport {
        interrupted,
        counts,
        bytes: images.iter().map(|image| image.bytes).sum(),
        seconds: begin.elapsed().as_secs_f64(),
        images,
        failures,
    }
}

fn sort(images: &mut [ImageReport]) {
    images.sort_by(|a, b| (&a.source, &a.target).cmp(&(&b.source, &b.target)));
}

/// A copy of which everything is known but the images themselves.
struct Copy<'a> {
    carrier: &'a Carrier,
    of_index: OfIndex,
    mode: Mode,
    source: Arc<dyn Repository>,
    target: Arc<dyn Repository>,
    options: Arc<Options>,
    /// What is read, and where it goes.
    images: Vec<(Reference, Placement)>,
    source_tags: TagIndex,
    /// `None`: not listed. `Some(None)`: there is no such repository yet.
    target_tags: Option<Option<HashSet<Tag>>>,
}

impl<'a> Copy<'a> {
    async fn prepare(
        carrier: &'a Carrier,
        source: &OpenImage,
        target: &OpenImage,
        what: What,
        options: Arc<Options>,
    ) -> Result<Self> {
        let repository = source.repository();
        let lists = matches!(what.extent, Extent::Tags(_));
        // The list tells of every signature and fallback tag at once.
        let listed = if lists || options.referrers { repository.tags().await? } else { None };
        let source_tags = TagIndex::new(listed.as_deref().unwrap_or_default());
        let named = match &what.extent {
            Extent::Tags(selection) => {
                let tags = listed.ok_or_else(|| {
                    Error::new("list tags of", repository.name(), Cause::NoRepository)
                })?;
                let references = selection.select(tags).into_iter().map(Reference::Tag);
                references.map(|reference| (reference, None)).collect()
            }
            Extent::Named(references) => {
                references.iter().map(|reference| (reference.clone(), None)).collect()
            }
            Extent::Image => {
                let Image { reference, tag } = source.image().await?;
                vec![(reference, target.tag().cloned().or(tag))]
            }
        };
        let target_tags = match lists {
            true => Some(target.repository().tags().await?.map(|tags| tags.into_iter().collect())),
            false => None,
        };
        let mut images = Vec::new();
        for (reference, tag) in named {
            let tag = match (&reference, tag) {
                (_, Some(tag)) => Some(tag),
                (Reference::Tag(tag), None) => Some(tag.clone()),
                (Reference::Digest(_), None) => None,
            };
            images.push((reference.clone(), what.placement(tag)?));
            for tag in &what.more_tags {
                images.push((reference.clone(), what.placement(Some(tag.clone()))?));
            }
        }
        Ok(Self {
            carrier,
            of_index: what.of_index,
            mode: what.mode,
            source: repository.clone(),
            target: target.repository().clone(),
            options,
            images,
            source_tags,
            target_tags,
        })
    }

    async fn run(&self, done: &(dyn Fn(ImageReport) + Sync)) {
        futures_util::stream::iter(&self.images)
            .for_each_concurrent(IMAGES, |(reference, placement)| async move {
                let begin = Instant::now();
                let report = match self.image(reference, placement).await {
                    Ok(report) => report,
                    Err(error) => ImageReport {
                        action: Action::Failed,
                        reason: "copy requested".to_owned(),
                        errors: vec![Failure::of(&error)],
                        ..self.blank(reference, placement)
                    },
                };
                done(ImageReport { seconds: begin.elapsed().as_secs_f64(), ..report });
            })
            .await;
    }

    async fn image(&self, named: &Reference, placement: &Placement) -> Result<ImageReport> {
        match of_index::part(&*self.source, named, &self.of_index).await? {
            Part::Whole => self.whole(named, placement).await,
            Part::Image { digest, note } => {
                let report = self.whole(&Reference::Digest(digest), placement).await?;
                let mut notes = report.notes;
                notes.push(note);
                let source = self.blank(named, placement).source;
                Ok(ImageReport { source, notes, ..report })
            }
            Part::Index(index) => self.index(named, placement, &index).await,
        }
    }

    /// An image with all that belongs to it.
    async fn whole(&self, reference: &Reference, placement: &Placement) -> Result<ImageReport> {
        let current = self.current(reference, placement).await?;
        let mut job = Job {
            source: self.source.clone(),
            reference: reference.clone(),
            source_tags: self.source_tags.clone(),
            targets: vec![transfer::Target {
                repository: self.target.clone(),
                placement: placement.clone(),
                current: current.clone(),
                condition: transfer::Condition::Always,
                fresh: matches!(self.target_tags, Some(None)),
                cleaned: false,
            }],
            options: self.options.clone(),
            flow: Flow::ALONE,
            stop: CancellationToken::new(),
        };
        let looks = self.mode == Mode::DryRun;
        if current.is_some() || looks {
            // A look costs nothing where a manifest that is read counts as a pull.
            let resolved = self.source.resolve(reference).await?;
            let Some(resolved) = resolved else {
                return Err(missing("look up", &*self.source, reference).await);
            };
            let has_it = current.as_ref() == Some(&resolved.digest);
            if has_it && (looks || !self.options.referrers) {
                return Ok(self.unchanged(reference, placement, &resolved.digest));
            }
            if looks {
                let (action, reason) = (Action::WouldCopy, reason(current.is_some()).to_owned());
                let source_digest = Some(resolved.digest.to_string());
                let blank = self.blank(reference, placement);
                return Ok(ImageReport { action, reason, source_digest, ..blank });
            }
            // What was looked up is what is read, even if the tag moves meanwhile.
            job.reference = Reference::Digest(resolved.digest);
        }
        let outcome = self.carrier.transfer(&job).await?;
        // One target was asked for, so there is one answer.
        let delivered = match outcome.targets.first() {
            Some(Ok(delivered)) => delivered,
            Some(Err(error)) => return Err(error.clone()),
            None => return Err(missing("look up", &*self.source, reference).await),
        };
        Ok(self.delivered(reference, placement, current.is_some(), &outcome, delivered))
    }

    /// An index without its images.
    async fn index(
        &self,
        named: &Reference,
        placement: &Placement,
        index: &Manifest,
    ) -> Result<ImageReport> {
        let current = self.current(named, placement).await?;
        if current.as_ref() == Some(&index.digest) {
            return Ok(self.unchanged(named, placement, &index.digest));
        }
        let reason = reason(current.is_some()).to_owned();
        let digest = Some(index.digest.to_string());
        let blank = self.blank(named, placement);
        if self.mode == Mode::DryRun {
            let action = Action::WouldCopy;
            return Ok(ImageReport { action, reason, source_digest: digest, ..blank });
        }
        self.target.put_manifest(placement, index).await?;
        Ok(ImageReport {
            action: Action::Copied,
            reason,
            source_digest: digest.clone(),
            target_digest: digest,
            notes: vec!["the index without its images".to_owned()],
            ..blank
        })
    }

    fn unchanged(
        &self,
        reference: &Reference,
        placement: &Placement,
        digest: &Digest,
    ) -> ImageReport {
        ImageReport {
            action: Action::Unchanged,
            reason: HAS_IT.to_owned(),
            source_digest: Some(digest.to_string()),
            target_digest: Some(digest.to_string()),
            ..self.blank(reference, placement)
        }
    }

    /// What the target has in this place now, and not damaged.
    async fn current(
        &self,
        reference: &Reference,
        placement: &Placement,
    ) -> Result<Option<Digest>> {
        let reference = match placement {
            Placement::Tag(tag) => &Reference::Tag(tag.clone()),
            Placement::Digest | Placement::Part => reference,
        };
        if let (Some(listed), Placement::Tag(tag)) = (&self.target_tags, placement)
            && !listed.as_ref().is_some_and(|tags| tags.contains(tag))
        {
            return Ok(None);
        }
        let Some(found) = self.target.resolve(reference).await? else { return Ok(None) };
        Ok(self.target.is_complete(&found.digest).await?.then_some(found.digest))
    }

    fn delivered(
        &self,
        reference: &Reference,
        placement: &Placement,
        had_another: bool,
        outcome: &TransferOutcome,
        delivered: &Delivered,
    ) -> ImageReport {
        let refused = !delivered.refused_referrers.is_empty();
        let moved = delivered.blobs_sent + delivered.blobs_mounted > 0;
        let (action, reason) = match (refused, delivered.unchanged, moved, had_another) {
            (true, ..) => (Action::Failed, "not all of its referrers could be copied"),
            (_, true, false, _) => (Action::Unchanged, HAS_IT),
            (_, true, true, _) => (Action::Copied, "its referrers have changed"),
            (_, false, ..) => (Action::Copied, reason(had_another)),
        };
        let report = self.blank(reference, placement).delivered(outcome, delivered);
        ImageReport { action, reason: reason.to_owned(), ..report }
    }

    fn blank(&self, reference: &Reference, placement: &Placement) -> ImageReport {
        let (source, target) = ((&*self.source, reference), (&*self.target, placement));
        ImageReport::new(source, target, Action::Failed, "")
    }
}

/// Why nothing was done.
const HAS_IT: &str = "the target has it already";

/// Why an image is copied.
fn reason(has_another: bool) -> &'static str {
    if has_another { "the target differs" } else { "the target lacks it" }
}
