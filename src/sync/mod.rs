//! `[[sync]]` rules: select, decide, act.
//!
//! - `pairs`: which source repository goes into which target repositories (pure).
//! - `scope`: how much of a rule a run is about. `decide`: what a tag needs, from what is known
//!   of both sides (pure). `writers`: which rule writes which tag (pure). `retention`: what cleanup
//!   rules say of the targets (pure). `extra`: what is at a target and gone at the source (pure).
//! - `pair`: one source repository and its targets: lists, looks up, decides, transfers.
//! - `progress`: a run seen from outside. `report`: what it did, for people and for programs.

pub mod decide;
mod extra;
mod pair;
pub mod pairs;
mod progress;
mod report;
mod retention;
mod scope;
#[cfg(test)]
mod tests;
mod writers;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::config::{CleanupRule, SyncRule};
use crate::fair::{Flow, LendingPermits, WriteLeases};
use crate::oci::RepositoryName;
use crate::registry::Registries;
use crate::removal::RemoveTags;
use crate::repository::{Error, Failure};
use crate::single_flight::KeyedLocks;
use crate::stop::StopSignal;
use crate::stores::Stores;
use crate::transfer::Carrier;
use pair::Pair;
use progress::Progress;
use retention::Retention;
use writers::Writers;

pub use pair::Selected;
pub use progress::{RunProgress, Snapshot};
pub use report::{Action, Counts, ImageReport, Removed, RuleReport, Vouched, WhatBecame};
pub use scope::Scope;

/// Rules of one command under way at once: what bounds the work is each registry's window.
pub const RULES: usize = 16;
/// Repositories of one rule under way at once.
const REPOSITORIES: usize = 16;
/// Images being moved at once, in the whole process. Bounds memory.
const IMAGES: usize = 32;

/// Whether a run changes anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Apply,
    /// Only says what would be done. Sends nothing but GET and HEAD, and waits for nobody.
    DryRun,
}

/// Which images a report lists, of those that were not simply in step. All are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    All,
    /// So many, the first to be settled. How many others there were is noted.
    First(usize),
    /// So many that failed, the first ones: for runs of months, whose images are seen by `watch`.
    Failed(usize),
}

/// One run of one rule: what is wanted of it, and how it is held from outside.
#[derive(Clone, Copy)]
pub struct RunSpec<'a> {
    pub rule: &'a SyncRule,
    pub mode: Mode,
    pub scope: &'a Scope,
    /// Asks the targets about every image, whatever the state says.
    pub recheck: bool,
    pub stop: &'a StopSignal,
    /// Whose turns it takes where runs share something. Another one for each run that others
    /// should not have to wait for.
    pub flow: Flow,
    pub progress: &'a RunProgress,
    pub keep: Keep,
    /// Sees every image that was not simply in step, as soon as it is settled.
    pub watch: &'a (dyn Fn(&ImageReport) + Sync),
    /// What deletes tags that are gone at the source. Without it, rules that ask for that leave
    /// them, and say so.
    pub remover: Option<&'a dyn RemoveTags>,
}

/// Carries rules out.
pub struct Syncer {
    stores: Stores,
    carrier: Arc<Carrier>,
    /// Seconds since 1970.
    clock: fn() -> u64,
    retention: Retention,
    writers: Writers,
    common: Arc<Common>,
}

/// What all runs share, whatever registries they were begun with.
struct Common {
    images: LendingPermits,
    leases: WriteLeases,
    /// Images at targets that are looked at or moved: the repository's name, and the image's.
    /// Runs of one rule never work on the same one at once.
    at_work: KeyedLocks<(String, String)>,
    /// What each rule's pattern matched when its source was last listed: two repositories that
    /// would become one at the target are told by looking at all of them. By rule and source.
    listed: Mutex<HashMap<(String, String), Vec<RepositoryName>>>,
}

impl Syncer {
    pub fn new(registries: Arc<Registries>, carrier: Arc<Carrier>, clock: fn() -> u64) -> Self {
        Self::with_images(registries, carrier, clock, IMAGES)
    }

    /// The same with another number of images under way at once, at least one.
    pub fn with_images(
        registries: Arc<Registries>,
        carrier: Arc<Carrier>,
        clock: fn() -> u64,
        images: usize,
    ) -> Self {
        let common = Common {
            images: LendingPermits::new(images.max(1), carrier.pulses().clone()),
            leases: WriteLeases::default(),
            at_work: KeyedLocks::default(),
            listed: Mutex::default(),
        };
        let (retention, writers) = (Retention::default(), Writers::default());
        let stores = Stores::new(registries);
        Self { stores, carrier, clock, retention, writers, common: Arc::new(common) }
    }

    /// The same for the rules of one configuration: no two sync rules write one tag in turn, and
    /// what the cleanup rules deleted is not copied again.
    pub fn with_rules(self, sync: &[SyncRule], cleanup: &[CleanupRule]) -> Self {
        Self { writers: Writers::new(sync), retention: Retention::new(cleanup), ..self }
    }

    /// One for runs to come with other registries, as after a change of the configuration. Runs of
    /// both heed each other.
    pub fn with_registries(&self, registries: Arc<Registries>) -> Self {
        Self {
            stores: Stores::new(registries),
            carrier: self.carrier.clone(),
            clock: self.clock,
            retention: self.retention.clone(),
            writers: self.writers.clone(),
            common: self.common.clone(),
        }
    }

    pub fn carrier(&self) -> &Carrier {
        &self.carrier
    }

    /// The leases of all rules that write to repositories.
    pub fn leases(&self) -> &WriteLeases {
        &self.common.leases
    }

    /// One pass of these rules, each a flow of its own. The reports are in the order of the rules.
    /// `watch` sees every image that was not simply in step, as soon as it is settled.
    pub async fn run(
        &self,
        rules: &[&SyncRule],
        mode: Mode,
        cancel: &CancellationToken,
        watch: &(dyn Fn(&ImageReport) + Sync),
    ) -> Vec<RuleReport> {
        let stop = &StopSignal::at_once(cancel.clone());
        let turns = &LendingPermits::new(RULES, self.carrier.pulses().clone());
        let runs = rules.iter().enumerate().map(|(at, &rule)| async move {
            let (scope, progress) = (&Scope::All, &RunProgress::default());
            let (flow, keep, remover) = (Flow::new(1 + at as u64), Keep::All, None);
            let recheck = false;
            let _turn = turns.acquire(flow).await;
            let spec =
                RunSpec { rule, mode, scope, recheck, stop, flow, progress, keep, watch, remover };
            self.run_rule(spec).await
        });
        // Collected first: the compiler cannot prove such a future `Send` inside the stream.
        let runs: Vec<_> = runs.collect();
        futures_util::future::join_all(runs).await
    }

    /// One run of one rule. What it learnt is on the disk when it returns.
    pub async fn run_rule(&self, spec: RunSpec<'_>) -> RuleReport {
        let begin = Instant::now();
        let progress = Progress::new(&spec);
        let _watched = self.carrier.pulses().watch(spec.flow, spec.progress.pulse());
        let finished = spec.stop.until_left(self.pass(&spec, &progress)).await;
        self.carrier.state().storage.flush().await;
        let mut report = progress.into_report();
        report.interrupted |= finished.is_none();
        report.seconds = begin.elapsed().as_secs_f64();
        report
    }

    async fn pass(&self, spec: &RunSpec<'_>, progress: &Progress<'_>) {
        let parts: Vec<RunSpec<'_>> =
            spec.rule.parts().map(|rule| RunSpec { rule, ..*spec }).collect();
        let mut pairs = Vec::new();
        for part in &parts {
            let found = progress.soon().run_until_cancelled(self.pairs(part, progress)).await;
            match found {
                Some(Ok(found)) => pairs.extend(found.into_iter().map(|pair| (part, pair))),
                Some(Err(error)) => progress.failure(Failure::of(&error)),
                None => return progress.left_out(),
            }
        }
        futures_util::stream::iter(progress.repositories(pairs))
            .for_each_concurrent(REPOSITORIES, |((part, pair), unread)| async move {
                match Pair::open(self, part, &pair).await {
                    Ok(pair) => pair.run(progress, unread).await,
                    Err(error) => progress.failure(Failure::of(&error)),
                }
            })
            .await;
    }

    /// The repositories that the run is about, by listing the registry where nothing names them.
    async fn pairs(
        &self,
        spec: &RunSpec<'_>,
        progress: &Progress<'_>,
    ) -> Result<Vec<pairs::Pairing>, Error> {
        let RunSpec { rule, scope, .. } = spec;
        let listed = || self.common.listed.lock();
        let key = || (rule.name.clone(), rule.source.to_string());
        let (repositories, others) = match scope.repositories(rule) {
            Some(repositories) => (repositories, listed().get(&key()).cloned().unwrap_or_default()),
            None => {
                let source = &rule.source;
                let below = [source.literal_prefix()];
                let mut all = self.stores.repositories(&source.store, &below, spec.flow).await?;
                all.retain(|repository| source.matches(repository));
                listed().insert(key(), all.clone());
                (all, Vec::new())
            }
        };
        if repositories.is_empty() && **scope == Scope::All {
            progress
                .change(|report| report.notes.push("no repository matches the source".to_owned()));
        }
        let (pairs, problems) = pairs::pair(rule, repositories, others);
        for problem in problems {
            progress.failure(problem);
        }
        Ok(pairs)
    }
}
