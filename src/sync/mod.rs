//! `[[sync]]` rules: select, decide, act.
//!
//! - `pairs`: which source repository goes into which target repositories (pure).
//! - `decide`: what a tag needs, from what is known of both sides (pure).
//! - `pair`: one source repository and its targets: lists, looks up, decides, transfers.
//! - `report`: what a run did, for people and for programs.

pub mod decide;
mod pair;
pub mod pairs;
mod report;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures_util::StreamExt;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::config::{SourceRepositories, SyncRule};
use crate::registry::Registries;
use crate::repository::Error;
use crate::transfer::{Carrier, Locks};
use pair::Pair;

pub use pair::Selected;
pub use report::{Action, Counts, Failure, ImageReport, RuleReport};

/// Rules under way at once: what bounds the work is each registry's window.
const RULES: usize = 16;
/// Repositories of one rule under way at once.
const REPOSITORIES: usize = 16;
/// Images being moved at once, in the whole process. Bounds memory.
const IMAGES: usize = 32;

/// Whether a run changes anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Apply,
    /// Only says what would be done. Sends nothing but GET and HEAD.
    DryRun,
}

/// Carries rules out.
pub struct Syncer {
    registries: Arc<Registries>,
    carrier: Arc<Carrier>,
    /// Seconds since 1970.
    clock: fn() -> u64,
    images: Semaphore,
    /// Rules that write to the same target repository take turns.
    writing: Locks<String>,
}

/// What a run has done until now: it survives an interruption.
struct Progress<'a> {
    report: Mutex<RuleReport>,
    watch: &'a (dyn Fn(&ImageReport) + Sync),
}

impl Progress<'_> {
    fn image(&self, image: ImageReport) {
        (self.watch)(&image);
        self.change(|report| {
            report.counts.add(image.action);
            report.bytes += image.bytes;
            report.images.push(image);
        });
    }

    /// Images in step are counted, not listed: there may be very many.
    fn unchanged(&self, images: usize) {
        self.change(|report| report.counts.unchanged += images);
    }

    fn failure(&self, failure: Failure) {
        self.change(|report| report.failures.push(failure));
    }

    fn change(&self, change: impl FnOnce(&mut RuleReport)) {
        change(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Syncer {
    pub fn new(registries: Arc<Registries>, carrier: Arc<Carrier>, clock: fn() -> u64) -> Self {
        Self {
            registries,
            carrier,
            clock,
            images: Semaphore::new(IMAGES),
            writing: Locks::default(),
        }
    }

    pub fn carrier(&self) -> &Carrier {
        &self.carrier
    }

    /// One pass of these rules. The reports are in the order of the rules. `watch` sees every
    /// image that was not simply in step, as soon as it is settled.
    pub async fn run(
        &self,
        rules: &[&SyncRule],
        mode: Mode,
        cancel: &CancellationToken,
        watch: &(dyn Fn(&ImageReport) + Sync),
    ) -> Vec<RuleReport> {
        let runs = rules
            .iter()
            .enumerate()
            .map(|(at, &rule)| async move { (at, self.run_rule(rule, mode, cancel, watch).await) });
        // Collected first: the compiler cannot prove such a future `Send` inside the stream.
        let runs: Vec<_> = runs.collect();
        let mut reports: Vec<(usize, RuleReport)> =
            futures_util::stream::iter(runs).buffer_unordered(RULES).collect().await;
        self.carrier.state().flush().await;
        reports.sort_by_key(|(at, _)| *at);
        reports.into_iter().map(|(_, report)| report).collect()
    }

    async fn run_rule(
        &self,
        rule: &SyncRule,
        mode: Mode,
        cancel: &CancellationToken,
        watch: &(dyn Fn(&ImageReport) + Sync),
    ) -> RuleReport {
        let begin = Instant::now();
        let progress = Progress { report: Mutex::new(RuleReport::new(&rule.name, mode)), watch };
        let finished = tokio::select! {
            biased;
            () = cancel.cancelled() => false,
            () = self.pass(rule, mode, &progress) => true,
        };
        let mut report = progress.report.into_inner().unwrap_or_else(PoisonError::into_inner);
        report.interrupted = !finished;
        report.seconds = begin.elapsed().as_secs_f64();
        report.images.sort_by(|a, b| (&a.source, &a.target).cmp(&(&b.source, &b.target)));
        report
    }

    async fn pass(&self, rule: &SyncRule, mode: Mode, progress: &Progress<'_>) {
        let pairs = match self.pairs(rule, progress).await {
            Ok(pairs) => pairs,
            Err(error) => return progress.failure(Failure::of(&error)),
        };
        progress.change(|report| report.repositories = pairs.len());
        futures_util::stream::iter(pairs)
            .for_each_concurrent(REPOSITORIES, |pair| async move {
                match Pair::open(self, rule, &pair) {
                    Ok(pair) => pair.run(mode, progress).await,
                    Err(error) => progress.failure(Failure::of(&error)),
                }
            })
            .await;
    }

    /// The rule's repositories, by listing the registry where the rule has a pattern.
    async fn pairs(
        &self,
        rule: &SyncRule,
        progress: &Progress<'_>,
    ) -> Result<Vec<pairs::Pairing>, Error> {
        let repositories = match &rule.source.repositories {
            SourceRepositories::One(repository) | SourceRepositories::Pinned { repository, .. } => {
                vec![repository.clone()]
            }
            SourceRepositories::Matching(pattern) => {
                let mut all = self.registries.open(&rule.source.registry)?.repositories().await?;
                all.retain(|repository| pattern.matches(repository));
                all
            }
        };
        if repositories.is_empty() {
            progress
                .change(|report| report.notes.push("no repository matches the source".to_owned()));
        }
        let (pairs, problems) = pairs::pair(rule, repositories);
        for problem in problems {
            progress.failure(problem);
        }
        Ok(pairs)
    }
}
