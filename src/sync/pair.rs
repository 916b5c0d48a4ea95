//! One source repository and its targets: what is asked of both sides, and what follows from it.

mod selected;

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt;
use tokio::sync::{OnceCell, OwnedMutexGuard};

use super::decide::{AtTarget, Verdict, decide};
use super::pairs::Pairing;
use super::report::{Action, Failure, ImageReport};
use super::{Mode, Progress, Syncer};
use crate::config::{SourceRepositories, SyncRule};
use crate::oci::{Digest, Tag, media_type};
use crate::repository::{Cause, Error, Placement, Reference, Repository, Resolved, Result};
use crate::state::{TagKey, TagState};
use crate::transfer::{
    Delivered, Found, Job, Options, Outcome, TagIndex, Target, fingerprint, subjects, survey,
};
pub use selected::Selected;

/// Tags of one repository that are looked at at once.
const TAGS: usize = 64;
/// So few tags are looked up at the target one by one, without its tag list.
const FEW: usize = 3;

/// One source repository on its way to its targets.
pub(super) struct Pair<'a> {
    syncer: &'a Syncer,
    rule: &'a SyncRule,
    source: Arc<dyn Repository>,
    goals: Vec<Goal>,
    options: Arc<Options>,
    /// Of what is asked for: a record made under other options says nothing.
    options_mark: u64,
}

/// One target repository.
struct Goal {
    repository: Arc<dyn Repository>,
    /// Its tags, sorted; listed when the first tag is met that the state does not vouch for. Or why
    /// they cannot be had, which is not asked again for each tag.
    tags: OnceCell<Result<Option<Vec<Tag>>>>,
    /// The derived ones among them.
    derived: OnceCell<TagIndex>,
}

/// One image of the source: what is read, and where it is put.
struct Item {
    reference: Reference,
    placement: Placement,
}

/// What an image needs at one target, and why.
struct Need<'g> {
    goal: &'g Goal,
    reason: &'static str,
    current: Option<Digest>,
    /// The target was asked and does not have the tag.
    lacks: bool,
}

impl<'a> Pair<'a> {
    pub fn open(syncer: &'a Syncer, rule: &'a SyncRule, pairing: &Pairing) -> Result<Self> {
        let source = syncer.registries.open(&rule.source.registry)?;
        let goals = pairing
            .targets
            .iter()
            .map(|(registry, repository)| {
                let repository =
                    syncer.registries.open(registry)?.repository(repository.clone(), true);
                Ok(Goal { repository, tags: OnceCell::new(), derived: OnceCell::new() })
            })
            .collect::<Result<_>>()?;
        let options = Options {
            platforms: rule.platforms.clone(),
            index: rule.index,
            referrers: rule.referrers,
            foreign_layers: rule.foreign_layers,
        };
        let text = format!("{options:?}");
        Ok(Self {
            syncer,
            rule,
            source: source.repository(pairing.source.clone(), false),
            goals,
            options: Arc::new(options),
            options_mark: BuildHasherDefault::<DefaultHasher>::default().hash_one(text),
        })
    }

    pub async fn run(&self, mode: Mode, progress: &Progress<'_>) {
        let _turns = self.take_turns().await;
        let (pinned, tags, source_tags) = match self.items().await {
            Ok(items) => items,
            Err(error) => return progress.failure(Failure::of(&error)),
        };
        let few = tags.len() <= FEW;
        // Made one by one: there may be very many tags.
        let items = pinned.into_iter().chain(tags.into_iter().map(Item::tagged));
        futures_util::stream::iter(items)
            .for_each_concurrent(TAGS, |item| self.item(item, &source_tags, few, mode, progress))
            .await;
    }

    /// Locks the target repositories, in one order for everybody.
    async fn take_turns(&self) -> Vec<OwnedMutexGuard<()>> {
        let mut names: Vec<&str> = self.goals.iter().map(|goal| goal.repository.name()).collect();
        names.sort_unstable();
        names.dedup();
        let mut turns = Vec::new();
        for name in names {
            turns.push(self.syncer.writing.lock(&name.to_owned()).await);
        }
        turns
    }

    /// What the rule selects in this repository: the pinned image or tags. With the repository's
    /// derived tags.
    async fn items(&self) -> Result<(Option<Item>, Vec<Tag>, TagIndex)> {
        let pinned = match &self.rule.source.repositories {
            SourceRepositories::Pinned { tag, digest, .. } => Some(Item {
                reference: Reference::Digest(digest.clone()),
                placement: tag.clone().map_or(Placement::Digest, Placement::Tag),
            }),
            _ => None,
        };
        let literals = self.rule.tags.literals();
        if !self.options.referrers {
            if let Some(item) = pinned {
                return Ok((Some(item), Vec::new(), TagIndex::default()));
            }
            if let Some(literals) = literals {
                return Ok((None, literals, TagIndex::default()));
            }
        }
        // With referrers the list is worth its request even where the tags are known: it tells
        // of every signature and fallback tag at once.
        let listed = self.source.tags().await?;
        let index = TagIndex::new(listed.as_deref().unwrap_or_default());
        let tags = match (&pinned, literals) {
            (Some(_), _) => Vec::new(),
            (None, Some(literals)) => literals,
            (None, None) => match listed {
                Some(tags) => self.rule.tags.select(tags),
                // A pattern's repositories may be empty; one that is named should not be.
                None if matches!(
                    self.rule.source.repositories,
                    SourceRepositories::Matching(_)
                ) =>
                {
                    Vec::new()
                }
                None => return Err(Error::new("list tags of", self.source.name(), Cause::Missing)),
            },
        };
        Ok((pinned, tags, index))
    }

    async fn item(
        &self,
        item: Item,
        source_tags: &TagIndex,
        few: bool,
        mode: Mode,
        progress: &Progress<'_>,
    ) {
        let begin = Instant::now();
        let (digest, needs) = self.needs(&item, source_tags, few, progress).await;
        if needs.is_empty() {
            return;
        }
        if mode == Mode::DryRun {
            for need in needs {
                progress.image(ImageReport {
                    action: Action::WouldCopy,
                    source_digest: digest.as_ref().map(Digest::to_string),
                    ..self.blank(&item, need.goal, need.reason)
                });
            }
            return;
        }
        // The semaphore is never closed.
        let _place = self.syncer.images.acquire().await;
        for need in needs.iter().filter(|need| need.lacks) {
            // The list tells whether the repository is empty, which saves a look-up of each blob.
            // If it cannot be had, they are looked up.
            let _ = need.goal.tags().await;
        }
        let job = self.job(&item, digest, &needs, source_tags);
        let result = self.syncer.carrier.transfer(&job).await;
        let seconds = begin.elapsed().as_secs_f64();
        match result {
            Ok(outcome) => self.settle(&item, &outcome, needs, seconds, progress),
            Err(error) => {
                for need in needs {
                    progress.image(self.failed(&item, need.goal, need.reason, &error, seconds));
                }
            }
        }
    }

    /// Finds out which targets are not in step. Gives the source's digest where it was asked for.
    /// Targets that cannot be asked are reported, and do not stop the others.
    async fn needs<'g>(
        &'g self,
        item: &Item,
        source_tags: &TagIndex,
        few: bool,
        progress: &Progress<'_>,
    ) -> (Option<Digest>, Vec<Need<'g>>) {
        let records: Vec<Option<TagState>> =
            self.goals.iter().map(|goal| self.record(item, goal)).collect();
        let immutable = matches!(&item.reference, Reference::Tag(tag) if self.rule.immutable.as_ref().is_some_and(|patterns| patterns.matches(tag)));
        if immutable && records.iter().all(Option::is_some) {
            progress.unchanged(self.goals.len());
            return (None, Vec::new());
        }
        let fail = |goal: &Goal, reason: &str, error: &Error| {
            progress.image(self.failed(item, goal, reason, error, 0.0));
        };
        let mut known = Vec::with_capacity(self.goals.len());
        for (goal, record) in self.goals.iter().zip(&records) {
            match self.cheaply_known(item, goal, record.as_ref(), few).await {
                Ok(at_target) => known.push((goal, record.as_ref(), at_target)),
                Err(error) => fail(goal, "the target could not be asked", &error),
            }
        }
        let lacks = |goal: &'g Goal| Need {
            goal,
            reason: "the target lacks it",
            current: None,
            lacks: true,
        };
        if known.iter().all(|(_, _, at_target)| *at_target == Some(AtTarget::Lacks)) {
            return (None, known.iter().map(|(goal, ..)| lacks(goal)).collect());
        }
        let source = match self.resolve_source(item).await {
            Ok(source) => source,
            Err(error) => {
                for (goal, ..) in known {
                    fail(goal, "the source could not be read", &error);
                }
                return (None, Vec::new());
            }
        };
        let mut needs = Vec::new();
        for (goal, record, at_target) in known {
            match self.need(item, goal, record, at_target, &source, source_tags, progress).await {
                Ok(need) => needs.extend(need),
                Err(error) => fail(goal, "it could not be compared", &error),
            }
        }
        (Some(source.digest), needs)
    }

    async fn resolve_source(&self, item: &Item) -> Result<Resolved> {
        let source = self.source.resolve(&item.reference).await?;
        source.ok_or_else(|| {
            let name = format!("{}{}", self.source.name(), item.reference.suffix());
            Error::new("look up", name, Cause::Missing)
        })
    }

    /// The record of an image at a target, if it was made under the same options.
    fn record(&self, item: &Item, goal: &Goal) -> Option<TagState> {
        let Placement::Tag(tag) = &item.placement else { return None };
        let key = TagKey { source: self.source.name(), target: goal.repository.name(), tag };
        self.syncer.carrier.state().tag(&key).filter(|record| record.options == self.options_mark)
    }

    /// What can be said of the target without a request for this image alone.
    async fn cheaply_known(
        &self,
        item: &Item,
        goal: &Goal,
        record: Option<&TagState>,
        few: bool,
    ) -> Result<Option<AtTarget>> {
        let Placement::Tag(tag) = &item.placement else { return Ok(None) };
        let age = record.map(|record| (self.syncer.clock)().saturating_sub(record.verified_at));
        if age.is_some_and(|age| age < self.rule.recheck.as_secs()) {
            return Ok(Some(AtTarget::Vouched));
        }
        if few {
            return Ok(None);
        }
        let tags = goal.tags().await?;
        let lacks = tags.as_ref().is_none_or(|tags| tags.binary_search(tag).is_err());
        Ok(lacks.then_some(AtTarget::Lacks))
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "all of it is what is known of one image at one target"
    )]
    async fn need<'g>(
        &'g self,
        item: &Item,
        goal: &'g Goal,
        record: Option<&TagState>,
        known: Option<AtTarget>,
        source: &Resolved,
        source_tags: &TagIndex,
        progress: &Progress<'_>,
    ) -> Result<Option<Need<'g>>> {
        let mut target = match known {
            Some(known) => known,
            None => self.ask(item, goal).await?,
        };
        let mut verdict = decide(&source.digest, record, &target, self.rule.on_conflict);
        if verdict == Verdict::Ask {
            target = self.ask(item, goal).await?;
            verdict = decide(&source.digest, record, &target, self.rule.on_conflict);
        }
        let current = match &target {
            AtTarget::Has(digest) => Some(digest.clone()),
            AtTarget::Vouched | AtTarget::Lacks => None,
        };
        match verdict {
            Verdict::Copy(reason) => {
                let lacks = target == AtTarget::Lacks;
                Ok(Some(Need { goal, reason, current, lacks }))
            }
            Verdict::InStep => {
                if self.options.referrers
                    && !self
                        .referrers_in_step(
                            record,
                            goal,
                            source,
                            current.as_ref(),
                            source_tags,
                            item,
                        )
                        .await?
                {
                    let current =
                        current.or_else(|| record.map(|record| record.target_digest.clone()));
                    return Ok(Some(Need {
                        goal,
                        reason: "its referrers have changed",
                        current,
                        lacks: false,
                    }));
                }
                if !self.options.referrers && target != AtTarget::Vouched {
                    let target = current.unwrap_or_else(|| source.digest.clone());
                    self.remember(item, goal, &source.digest, &target, Vec::new(), &[]);
                }
                progress.unchanged(1);
                Ok(None)
            }
            Verdict::Keep => {
                let reason =
                    "the target's tag was changed by someone else (on_conflict = \"keep\")";
                progress
                    .image(ImageReport { action: Action::Kept, ..self.blank(item, goal, reason) });
                Ok(None)
            }
            Verdict::Refuse | Verdict::Ask => {
                let cause = Cause::Unsupported(format!(
                    "the target's tag was changed by someone else: it is {}, the source has {} (on_conflict = \"fail\")",
                    current.map_or_else(|| "unknown".to_owned(), |digest| digest.to_string()),
                    source.digest
                ));
                let error = Error::new(
                    "overwrite",
                    format!("{}{}", goal.repository.name(), suffix(&item.placement)),
                    cause,
                );
                progress.image(self.failed(item, goal, "conflict", &error, 0.0));
                Ok(None)
            }
        }
    }

    async fn ask(&self, item: &Item, goal: &Goal) -> Result<AtTarget> {
        let reference = match &item.placement {
            Placement::Tag(tag) => Reference::Tag(tag.clone()),
            Placement::Digest | Placement::Part => item.reference.clone(),
        };
        let resolved = goal.repository.resolve(&reference).await?;
        Ok(resolved.map_or(AtTarget::Lacks, |resolved| AtTarget::Has(resolved.digest)))
    }

    /// Whether everything that refers to an image in step is at the target too; remembers it.
    async fn referrers_in_step(
        &self,
        record: Option<&TagState>,
        goal: &Goal,
        source: &Resolved,
        current: Option<&Digest>,
        source_tags: &TagIndex,
        item: &Item,
    ) -> Result<bool> {
        let record = record.filter(|record| record.source_digest == source.digest);
        let subjects = match record {
            Some(record) => record.subjects.clone(),
            None => self.subjects(source).await?,
        };
        let found = survey(&*self.source, &subjects, source_tags).await?;
        let vouched = current.is_none();
        match record {
            Some(record) if record.referrers == fingerprint(&found) => {
                if vouched {
                    return Ok(true);
                }
            }
            Some(_) => return Ok(false),
            None if found.is_empty() => {}
            None => {
                let derived = goal.derived().await?;
                let there = survey(&*goal.repository, &subjects, derived).await?;
                if !found.iter().all(|found| there.contains(found)) {
                    return Ok(false);
                }
            }
        }
        let target = current.cloned().unwrap_or_else(|| source.digest.clone());
        self.remember(item, goal, &source.digest, &target, subjects, &found);
        Ok(true)
    }

    /// Every manifest of an image that is in step but of which nothing is recorded.
    async fn subjects(&self, source: &Resolved) -> Result<Vec<Digest>> {
        let index = source.media_type.as_deref().is_none_or(media_type::is_index);
        if !index {
            return Ok(vec![source.digest.clone()]);
        }
        let reference = Reference::Digest(source.digest.clone());
        let Some(root) = self.source.manifest(&reference).await? else {
            return Ok(vec![source.digest.clone()]);
        };
        subjects(&*self.source, root, &self.options).await
    }

    fn job(
        &self,
        item: &Item,
        digest: Option<Digest>,
        needs: &[Need<'_>],
        source_tags: &TagIndex,
    ) -> Job {
        Job {
            source: self.source.clone(),
            // What was looked up is what is read, even if the tag moves meanwhile.
            reference: digest.map_or_else(|| item.reference.clone(), Reference::Digest),
            source_tags: source_tags.clone(),
            targets: needs
                .iter()
                .map(|need| Target {
                    repository: need.goal.repository.clone(),
                    placement: item.placement.clone(),
                    current: need.current.clone(),
                    fresh: need.goal.is_fresh(),
                    cleaned: need.goal.is_fresh()
                        || need.lacks && self.record(item, need.goal).is_some(),
                })
                .collect(),
            options: self.options.clone(),
        }
    }

    fn settle(
        &self,
        item: &Item,
        outcome: &Outcome,
        needs: Vec<Need<'_>>,
        seconds: f64,
        progress: &Progress<'_>,
    ) {
        for (need, result) in needs.into_iter().zip(&outcome.targets) {
            match result {
                Err(error) => {
                    progress.image(self.failed(item, need.goal, need.reason, error, seconds))
                }
                Ok(delivered) => {
                    if delivered.refused_referrers.is_empty() {
                        self.remember(
                            item,
                            need.goal,
                            &outcome.source_digest,
                            &delivered.digest,
                            outcome.subjects.clone(),
                            &outcome.referrers,
                        );
                    }
                    if delivered.unchanged
                        && delivered.blobs_sent + delivered.blobs_mounted == 0
                        && delivered.refused_referrers.is_empty()
                        && need.reason != "its referrers have changed"
                    {
                        progress.unchanged(1);
                        continue;
                    }
                    progress.image(self.copied(item, &need, outcome, delivered, seconds));
                }
            }
        }
    }

    fn copied(
        &self,
        item: &Item,
        need: &Need<'_>,
        outcome: &Outcome,
        delivered: &Delivered,
        seconds: f64,
    ) -> ImageReport {
        let refused = !delivered.refused_referrers.is_empty();
        let mut notes = outcome.notes.clone();
        if refused {
            notes.push(
                "the image is there, but the target refuses to store what refers to it".to_owned(),
            );
        }
        ImageReport {
            action: if refused { Action::Failed } else { Action::Copied },
            source_digest: Some(outcome.source_digest.to_string()),
            target_digest: Some(delivered.digest.to_string()),
            bytes: delivered.sent_bytes,
            blobs_sent: delivered.blobs_sent,
            blobs_mounted: delivered.blobs_mounted,
            blobs_present: delivered.blobs_present,
            seconds,
            notes,
            errors: delivered.refused_referrers.iter().map(Failure::of).collect(),
            ..self.blank(item, need.goal, need.reason)
        }
    }

    fn failed(
        &self,
        item: &Item,
        goal: &Goal,
        reason: &str,
        error: &Error,
        seconds: f64,
    ) -> ImageReport {
        ImageReport {
            action: Action::Failed,
            errors: vec![Failure::of(error)],
            seconds,
            ..self.blank(item, goal, reason)
        }
    }

    fn blank(&self, item: &Item, goal: &Goal, reason: &str) -> ImageReport {
        ImageReport {
            source: format!("{}{}", self.source.name(), item.reference.suffix()),
            target: format!("{}{}", goal.repository.name(), suffix(&item.placement)),
            action: Action::Copied,
            reason: reason.to_owned(),
            source_digest: None,
            target_digest: None,
            bytes: 0,
            blobs_sent: 0,
            blobs_mounted: 0,
            blobs_present: 0,
            seconds: 0.0,
            notes: Vec::new(),
            errors: Vec::new(),
        }
    }

    fn remember(
        &self,
        item: &Item,
        goal: &Goal,
        source: &Digest,
        target: &Digest,
        subjects: Vec<Digest>,
        found: &[Found],
    ) {
        let Placement::Tag(tag) = &item.placement else { return };
        let key = TagKey { source: self.source.name(), target: goal.repository.name(), tag };
        let state = TagState {
            source_digest: source.clone(),
            target_digest: target.clone(),
            verified_at: (self.syncer.clock)(),
            options: self.options_mark,
            subjects,
            referrers: fingerprint(found),
        };
        self.syncer.carrier.state().set_tag(&key, &state);
    }
}

impl Item {
    fn tagged(tag: Tag) -> Self {
        Self { reference: Reference::Tag(tag.clone()), placement: Placement::Tag(tag) }
    }
}

impl Goal {
    async fn derived(&self) -> Result<&TagIndex> {
        let tags = self.tags().await?.as_deref().unwrap_or_default();
        Ok(self.derived.get_or_init(|| async { TagIndex::new(tags) }).await)
    }

    async fn tags(&self) -> Result<&Option<Vec<Tag>>> {
        let tags = self.tags.get_or_init(|| async {
            let mut tags = self.repository.tags().await?;
            if let Some(tags) = &mut tags {
                tags.sort_unstable();
            }
            Ok(tags)
        });
        tags.await.as_ref().map_err(Error::clone)
    }

    /// Whether it has no tags, as far as is known without asking.
    fn is_fresh(&self) -> bool {
        matches!(self.tags.get(), Some(Ok(None)))
    }
}

fn suffix(placement: &Placement) -> String {
    match placement {
        Placement::Tag(tag) => format!(":{tag}"),
        Placement::Digest | Placement::Part => String::new(),
    }
}
