//! What a rule selects, for who does something else with it than copy it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures_util::StreamExt;

use super::{Goal, Item, Items, Pair};
use crate::config::SyncRule;
use crate::fair::Flow;
use crate::oci::{Digest, Tag};
use crate::repository::{Failure, Placement, Reference, Repository, Result};
use crate::stop::StopSignal;
use crate::sync::progress::Progress;
use crate::sync::{Keep, Mode, REPOSITORIES, RunProgress, RunSpec, Scope, Syncer};
use crate::transfer::{Options, TagIndex};

/// The images that a rule selects in one source repository, and where they belong.
pub struct Selected {
    pub source: Arc<dyn Repository>,
    pub targets: Vec<Arc<dyn Repository>>,
    /// The derived tags of the source.
    pub source_tags: TagIndex,
    pub options: Arc<Options>,
    /// What is read at the source, and what it is called at the targets.
    pub images: Vec<(Reference, Placement)>,
    /// For each target: what cleanup rules deleted there under these tags and would delete again.
    pub withdrawn: Vec<HashMap<Tag, Digest>>,
    /// For each target: the tags that another rule writes there. They are among the failures.
    pub contested: Vec<HashSet<Tag>>,
    /// Whose turns the requests to these repositories take.
    pub flow: Flow,
}

impl Syncer {
    /// Everything that a rule selects now, and what could not be read of it. Targets are not
    /// asked for anything. `flow`: whose turns that takes.
    pub async fn select(&self, rule: &SyncRule, flow: Flow) -> (Vec<Selected>, Vec<Failure>) {
        let spec = RunSpec {
            rule,
            mode: Mode::DryRun,
            scope: &Scope::All,
            recheck: false,
            stop: &StopSignal::default(),
            flow,
            progress: &RunProgress::default(),
            keep: Keep::All,
            watch: &|_| {},
            remover: None,
        };
        let progress = Progress::new(&spec);
        let seen = &progress;
        let mut selected = Vec::new();
        for rule in rule.parts() {
            let part = &RunSpec { rule, ..spec };
            let pairs = match self.pairs(part, seen).await {
                Ok(pairs) => pairs,
                Err(error) => {
                    progress.failure(Failure::of(&error));
                    continue;
                }
            };
            let mut results = futures_util::stream::iter(pairs)
                .map(
                    |pair| async move { Pair::open(self, part, &pair).await?.selected(seen).await },
                )
                .buffered(REPOSITORIES);
            while let Some(result) = results.next().await {
                match result {
                    Ok(one) => selected.push(one),
                    Err(error) => progress.failure(Failure::of(&error)),
                }
            }
        }
        (selected, progress.into_report().failures)
    }
}

impl Pair<'_> {
    async fn selected(&self, progress: &Progress<'_>) -> Result<Selected> {
        let Items { pinned, tags, derived: source_tags, .. } = self.items(false).await?;
        let items: Vec<_> = pinned.into_iter().chain(tags.into_iter().map(Item::tagged)).collect();
        let withdrawn = self.goals.iter().map(|goal| self.upheld(&items, goal)).collect();
        let contested =
            self.goals.iter().map(|goal| self.all_contested(&items, goal, progress)).collect();
        let items = items.into_iter();
        let images = items.map(|Item { reference, placement }| (reference, placement));
        Ok(Selected {
            source: self.source.clone(),
            targets: self.goals.iter().map(|goal| goal.repository.clone()).collect(),
            source_tags,
            options: self.options.clone(),
            images: images.collect(),
            withdrawn,
            contested,
            flow: self.flow,
        })
    }

    /// The tags that another rule writes at a target; tells of each.
    fn all_contested(&self, items: &[Item], goal: &Goal, progress: &Progress<'_>) -> HashSet<Tag> {
        let contested = items.iter().filter_map(|item| {
            let Placement::Tag(tag) = &item.placement else { return None };
            let (claim, owner) = self.claim(item, goal);
            let error = self.contested(item, goal, &claim, owner.as_ref())?;
            progress.failure(Failure::of(&error));
            Some(tag.clone())
        });
        contested.collect()
    }

    fn upheld(&self, items: &[Item], goal: &Goal) -> HashMap<Tag, Digest> {
        let upheld = items.iter().filter_map(|item| {
            let Placement::Tag(tag) = &item.placement else { return None };
            let known = self.withdrawn(item, goal);
            let known = known.filter(|known| self.is_upheld(item, goal, Some(known)))?;
            Some((tag.clone(), known.digest))
        });
        upheld.collect()
    }
}
