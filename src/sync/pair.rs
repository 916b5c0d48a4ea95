//! One source repository and its targets: what is asked of both sides, and what follows from it.

mod claims;
mod hints;
mod item_pass;
mod items;
mod needs;
mod remove;
mod selected;
mod settle;
mod withdrawn;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::{OnceCell, OwnedMutexGuard};

use super::pairs::Pairing;
use super::progress::Unread;
use super::retention::Policies;
use super::{Mode, Progress, RunSpec, Syncer};
use crate::config::policy::MaxDelete;
use crate::config::{OnConflict, SyncRule};
use crate::fair::{Flow, WriteLease};
use crate::oci::{Address, Digest, Tag};
use crate::removal::RemoveTags;
use crate::repository::{Error, Failure, ListedTag, Placement, Reference, Repository, Result};
use crate::stop::StopSignal;
use crate::stores::{Access, OpenRepository};
use crate::transfer::{Condition, Job, Options, TagIndex, Target};
use item_pass::{Deferred, ItemPass};
use items::Items;
pub use selected::Selected;

/// Tags of one repository that are looked at at once.
const TAGS: usize = 64;
/// So few tags are looked up at the target one by one: its tag list is not worth its request.
const FEW: usize = 3;

/// Why an image that is in step goes on its way again.
const REFERRERS_CHANGED: &str = "its referrers have changed";

/// One source repository on its way to its targets.
pub(super) struct Pair<'a> {
    syncer: &'a Syncer,
    rule: &'a SyncRule,
    mode: Mode,
    flow: Flow,
    stop: &'a StopSignal,
    remover: Option<&'a dyn RemoveTags>,
    /// The only tags that the run is about; `None`: all of them.
    only: Option<&'a BTreeSet<Tag>>,
    source: Arc<dyn Repository>,
    source_address: Address,
    /// What an archive holds is readable as long as this lives.
    _opened: OpenRepository,
    goals: Vec<Goal>,
    options: Arc<Options>,
    /// The targets are asked about every image.
    recheck: bool,
    /// Of what is asked for: a record made under other options says nothing.
    options_mark: u64,
}

/// One target repository.
struct Goal {
    repository: Arc<dyn Repository>,
    address: Address,
    opened: OpenRepository,
    /// Something was written or deleted there, so that an archive must be written anew.
    changed: AtomicBool,
    deferred: Deferred,
    /// Its tags, sorted; listed when the first tag is met that the state does not vouch for. Or why
    /// they cannot be had, which is not asked again for each tag.
    tags: OnceCell<Result<Option<Vec<ListedTag>>>>,
    /// The derived ones among them.
    derived: OnceCell<TagIndex>,
    /// Under which it is cleaned up.
    policies: Policies,
    /// Tags that were put there by rules which the configuration does not have, by those rules.
    inherited: Mutex<BTreeMap<String, usize>>,
}

/// What the source's list tells besides the tags that are selected.
struct SourceList {
    /// The derived tags, where anybody needs them.
    derived: TagIndex,
    /// The same with what they point at, as far as the list tells.
    hinted: TagIndex,
    /// What selected tags point at, as far as the list tells.
    hints: HashMap<Tag, Digest>,
}

/// One image of the source: what is read, and where it is put.
#[derive(Clone)]
struct Item {
    reference: Reference,
    placement: Placement,
}

/// What an image needs at one target, and why.
struct Need<'g> {
    goal: &'g Goal,
    reason: &'static str,
    current: Option<Digest>,
    /// On what condition the tag is put.
    condition: Condition,
    /// The target was asked and does not have the tag.
    lacks: bool,
    /// The target was not asked: when it was last seen to be in step, in seconds since 1970.
    vouched_since: Option<u64>,
}

impl<'g> Need<'g> {
    /// The target lacks the image.
    fn missing(goal: &'g Goal, condition: Condition) -> Self {
        Self {
            goal,
            reason: "the target lacks it",
            current: None,
            condition,
            lacks: true,
            vouched_since: None,
        }
    }
}

impl<'a> Pair<'a> {
    pub async fn open(syncer: &'a Syncer, spec: &RunSpec<'a>, pairing: &Pairing) -> Result<Self> {
        let (rule, stores) = (spec.rule, &syncer.stores);
        let source = rule.source.store.address(&pairing.source);
        let opened = stores.open(&source, spec.flow, Access::Read).await?;
        let access = match spec.mode {
            Mode::Apply => Access::Write,
            Mode::DryRun => Access::Preview,
        };
        let mut goals = Vec::with_capacity(pairing.targets.len());
        for target in &pairing.targets {
            let opened = stores.open(target, spec.flow, access).await?;
            goals.push(Goal {
                repository: opened.repository().clone(),
                address: target.clone(),
                opened,
                changed: AtomicBool::new(false),
                deferred: Deferred::default(),
                tags: OnceCell::new(),
                derived: OnceCell::new(),
                policies: syncer.retention.policies(target),
                inherited: Mutex::default(),
            });
        }
        let options = Options {
            platforms: rule.platforms.clone(),
            index: rule.index,
            referrers: rule.referrers,
            foreign_layers: rule.foreign_layers,
        };
        Ok(Self {
            syncer,
            rule,
            mode: spec.mode,
            flow: spec.flow,
            stop: spec.stop,
            remover: spec.remover,
            only: spec.scope.tags(&pairing.source),
            source: opened.repository().clone(),
            source_address: source,
            _opened: opened,
            goals,
            recheck: spec.recheck,
            options_mark: options.mark(),
            options: Arc::new(options),
        })
    }

    /// `unread` is held until the tags are known.
    pub async fn run(self, progress: &Progress<'_>, unread: Unread<'_>) {
        self.pass(progress, unread).await;
        for goal in self.goals.into_iter().filter(|goal| goal.changed.load(Ordering::Relaxed)) {
            if let Err(error) = goal.opened.finish().await {
                progress.failure(Failure::of(&error));
            }
        }
    }

    async fn pass(&self, progress: &Progress<'_>, unread: Unread<'_>) {
        let begin = async {
            let leases = self.take_leases(progress).await;
            (leases, self.items(!self.recheck).await)
        };
        let Some((_leases, items)) = progress.soon().run_until_cancelled(begin).await else {
            return progress.left_out();
        };
        let Items { pinned, tags, derived: source_tags, listed, hints, idle } = match items {
            Ok(items) => items,
            Err(error) => return progress.failure(Failure::of(&error)),
        };
        idle.into_iter().for_each(|idle| progress.idle_patterns(idle));
        self.prune_withdrawn();
        let images = tags.len() + usize::from(pinned.is_some());
        progress.considered(images * self.goals.len());
        drop(unread);
        // The run for some tags that have moved lists nothing that it need not. What is gone at the
        // source is looked for in the list anyway.
        let few = (self.only.is_some() || tags.len() <= FEW) && self.removes().is_none();
        // Made one by one: there may be very many tags.
        let items = pinned.into_iter().chain(tags.into_iter().map(Item::tagged));
        let hinted = source_tags.with_digests(&hints);
        let source = SourceList { derived: source_tags, hinted, hints };
        let pass = ItemPass { pair: self, source: &source, few, progress };
        pass.run(items).await;
        self.goals.iter().for_each(|goal| goal.note_inherited(&self.rule.name, progress));
        if let Some(limits) = self.removes() {
            self.remove_extra(limits, listed.as_deref().unwrap_or_default(), progress).await;
        }
    }

    /// Whether this run removes what is gone at the source, and how much at most.
    fn removes(&self) -> Option<MaxDelete> {
        self.rule.remove_extra.filter(|_| self.only.is_none())
    }

    /// The target repositories, in one order for everybody.
    async fn take_leases(&self, progress: &Progress<'_>) -> Vec<WriteLease> {
        let mut leases = Vec::new();
        if self.mode == Mode::Apply {
            for name in names(&self.goals.iter().collect::<Vec<_>>()) {
                let lease = self.syncer.common.leases.take(name, &self.rule.name);
                leases.push(progress.waiting(lease).await);
            }
        }
        leases
    }

    /// Keeps other runs of the rule from this image.
    async fn alone_with(
        &self,
        item: &Item,
        goals: &[&Goal],
        progress: &Progress<'_>,
    ) -> Vec<OwnedMutexGuard<()>> {
        let mut alone = Vec::new();
        if self.mode == Mode::Apply {
            let image = match &item.placement {
                Placement::Tag(tag) => tag.to_string(),
                Placement::Digest | Placement::Part => item.reference.to_string(),
            };
            for name in names(goals) {
                let key = (name.to_owned(), image.clone());
                alone.push(progress.waiting(self.syncer.common.at_work.lock(&key)).await);
            }
        }
        alone
    }

    /// On what condition a tag is put that the target was seen to have, or to lack.
    fn condition(&self, seen: Option<&Digest>) -> Condition {
        match self.rule.on_conflict {
            OnConflict::Overwrite => Condition::Always,
            OnConflict::Keep | OnConflict::Fail => {
                seen.cloned().map_or(Condition::Absent, Condition::Is)
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
                    condition: need.condition.clone(),
                    fresh: need.goal.is_fresh(),
                    cleaned: need.goal.is_fresh()
                        || need.lacks && self.record(item, need.goal).is_some(),
                })
                .collect(),
            options: self.options.clone(),
            flow: self.flow,
            stop: self.stop.now.clone(),
        }
    }
}

/// The names of target repositories, each once, in the order in which everybody locks them.
fn names<'g>(goals: &[&'g Goal]) -> Vec<&'g str> {
    let mut names: Vec<&str> = goals.iter().map(|goal| goal.repository.name()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

impl Item {
    fn tagged(tag: Tag) -> Self {
        Self { reference: Reference::Tag(tag.clone()), placement: Placement::Tag(tag) }
    }
}

impl Goal {
    fn has_changed(&self) {
        self.changed.store(true, Ordering::Relaxed);
    }

    async fn derived(&self) -> Result<&TagIndex> {
        let tags = self.tags().await?.unwrap_or_default();
        let derived = || async { TagIndex::new(tags.iter().map(|listed| &listed.tag)) };
        Ok(self.derived.get_or_init(derived).await)
    }

    /// `None`: there is no such repository, or it is empty.
    async fn tags(&self) -> Result<Option<&[ListedTag]>> {
        let tags = self.tags.get_or_init(|| async {
            let mut tags = self.repository.listed_tags().await?;
            if let Some(tags) = &mut tags {
                tags.sort_unstable_by(|a, b| a.tag.cmp(&b.tag));
            }
            Ok(tags)
        });
        tags.await.as_ref().map(Option::as_deref).map_err(Error::clone)
    }

    /// The tag in the list, if that was read.
    fn listed(&self, tag: &Tag) -> Option<&ListedTag> {
        let Some(Ok(Some(tags))) = self.tags.get() else { return None };
        let at = tags.binary_search_by(|listed| listed.tag.cmp(tag)).ok()?;
        Some(&tags[at])
    }

    /// Whether it has no tags, as far as is known without asking.
    fn is_fresh(&self) -> bool {
        matches!(self.tags.get(), Some(Ok(None)))
    }
}
