//! One-off copies: an image, or all tags of a repository, from one place to another.
//!
//! Unlike a rule, a copy remembers nothing: what is at the target is asked for each time.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt;
use parking_lot::Mutex;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::fair::Flow;
use crate::oci::selection::TagSelection;
use crate::oci::{Digest, Tag};
use crate::repository::{Cause, Error, Failure, Placement, Reference, Repository, Result, missing};
use crate::stores::{Image, OpenImage};
use crate::sync::{Action, Counts, ImageReport};
use crate::transfer::{self, Carrier, Delivered, Job, Options, TagIndex, TransferOutcome};

/// Images under way at once. Bounds memory.
const IMAGES: usize = 16;

/// What is to be copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// The image that the source names.
    Image,
    /// Every tag of the repository, but for those that follow an image (see `oci::derived`).
    AllTags,
}

/// What was done.
#[derive(Debug, Serialize)]
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
}

/// Who observes a copy.
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
    extent: Extent,
    options: Options,
    cancel: &CancellationToken,
    watch: Watch<'_>,
) -> CopyReport {
    let begin = Instant::now();
    let settled = Mutex::new(Vec::new());
    let done = |image: ImageReport| {
        (watch.image)(&image);
        settled.lock().push(image);
    };
    let options = Arc::new(options);
    let work = async {
        let copy = Copy::prepare(carrier, source, &target, extent, options).await?;
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
    images.sort_by(|a, b| (&a.source, &a.target).cmp(&(&b.source, &b.target)));
    let mut counts = Counts::default();
    images.iter().for_each(|image| counts.add(image.action));
    if !interrupted
        && failures.is_empty()
        && counts.failed == 0
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

/// A copy of which everything is known but the images themselves.
struct Copy<'a> {
    carrier: &'a Carrier,
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
        extent: Extent,
        options: Arc<Options>,
    ) -> Result<Self> {
        let repository = source.repository();
        let all = extent == Extent::AllTags;
        // The list tells of every signature and fallback tag at once.
        let listed = if all || options.referrers { repository.tags().await? } else { None };
        let source_tags = TagIndex::new(listed.as_deref().unwrap_or_default());
        let (images, target_tags) = if all {
            let Some(tags) = listed else {
                return Err(Error::new("list tags of", repository.name(), Cause::NoRepository));
            };
            let selected = TagSelection::default().select(tags).into_iter();
            let by_tag = |tag: Tag| (Reference::Tag(tag.clone()), Placement::Tag(tag));
            let there = target.repository().tags().await?;
            (selected.map(by_tag).collect(), Some(there.map(|tags| tags.into_iter().collect())))
        } else {
            let Image { reference, tag } = source.image().await?;
            let tag = target.tag().cloned().or(tag);
            (vec![(reference, tag.map_or(Placement::Digest, Placement::Tag))], None)
        };
        Ok(Self {
            carrier,
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

    async fn image(&self, reference: &Reference, placement: &Placement) -> Result<ImageReport> {
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
        if let Some(current) = &current {
            // A look costs nothing where a manifest that is read counts as a pull.
            let resolved = self.source.resolve(reference).await?;
            let Some(resolved) = resolved else {
                return Err(missing("look up", &*self.source, reference).await);
            };
            if resolved.digest == *current && !self.options.referrers {
                return Ok(ImageReport {
                    action: Action::Unchanged,
                    reason: HAS_IT.to_owned(),
                    source_digest: Some(current.to_string()),
                    target_digest: Some(current.to_string()),
                    ..self.blank(reference, placement)
                });
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
            (_, false, _, true) => (Action::Copied, "the target differs"),
            (_, false, _, false) => (Action::Copied, "the target lacks it"),
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
