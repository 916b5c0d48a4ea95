//! One source repository and its targets: what is asked of both sides, and what follows from it.

mod needs;
mod selected;
mod settle;

use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt;
use tokio::sync::{OnceCell, OwnedMutexGuard};

use super::pairs::Pairing;
use super::report::{Action, Failure, ImageReport};
use super::{Mode, Progress, Syncer};
use crate::config::{SourceRepositories, SyncRule};
use crate::oci::{Digest, Tag};
use crate::repository::{Cause, Error, Placement, Reference, Repository, Result};
use crate::transfer::{Job, Options, TagIndex, Target};
pub use selected::Selected;

/// Tags of one repository that are looked at at once.
const TAGS: usize = 64;
/// So few tags are looked up at the target one by one, without its tag list.
const FEW: usize = 3;

/// Why an image that is in step goes on its way again.
const REFERRERS_CHANGED: &str = "its referrers have changed";

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
    /// The target was not asked: when it was last seen to be in step, in seconds since 1970.
    vouched_since: Option<u64>,
}

impl<'g> Need<'g> {
    /// The target lacks the image.
    fn missing(goal: &'g Goal) -> Self {
        Self {
            goal,
            reason: "the target lacks it",
            current: None,
            lacks: true,
            vouched_since: None,
        }
    }
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
        Ok(Self {
            syncer,
            rule,
            source: source.repository(pairing.source.clone(), false),
            goals,
            options_mark: options.mark(),
            options: Arc::new(options),
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

    fn job(
        &self,
        item: &Item,
        digest: Option<Digest>,
        needs: &[Need<'_>],
        source_tags: &TagIndex,
    ) -> Job {
        Job {
            source: self.source.clone(),
            // What was looked up is what is read, even if the tag moves meanwhile. A digest that
            // was asked for is never exchanged for one that the source named.
            reference: match (&item.reference, digest) {
                (Reference::Tag(_), Some(digest)) => Reference::Digest(digest),
                (reference, _) => reference.clone(),
            },
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
