//! The daemon as seen from outside: what can be queried, and what can be requested.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Shared;
use super::health::{Facts, readiness};
use super::news::{Following, follow};
use super::queue::RunOptions;
use super::refusal::{RuleRefusal, Stopping};
use super::run;
use super::scheduler::{Command, Scheduler};
use super::view::{
    Accepted, ActiveRun, ConfigStatus, Readiness, RegistryStatus, RuleStatus, RunDetail, Status,
    Transfer,
};
use crate::fair::Flow;
use crate::history::{Filter, RunId, RunOutcome, RunRecord};

/// A scheduler that has not looked around for so long is stuck: it does so every 30 seconds.
const SILENCE: Duration = Duration::from_secs(120);

/// The daemon, for everybody who looks at it or asks it for something. Clones are the same.
#[derive(Clone)]
pub struct Handle(pub(super) Arc<Shared>);

/// Who may use the API.
#[derive(Debug, Clone)]
pub struct Guarded {
    pub token: Option<SecretString>,
    /// Only this machine can reach it.
    pub local: bool,
}

impl Handle {
    pub fn guarded(&self) -> Guarded {
        let engine = self.0.board.engine();
        Guarded { token: engine.token.clone(), local: self.0.listen.ip().is_loopback() }
    }

    pub fn status(&self) -> Status {
        let transfers = self.0.parts.carrier.transfers().len();
        let state_bytes = self.0.parts.state.storage.size_bytes();
        let board = self.0.board.look();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: self.0.started,
            stopping: self.is_stopping(),
            rules: board.engine.core.rules().count(),
            running: board.active.len(),
            queued: board.queued,
            transfers,
            state: board.engine.core.config.daemon.state.display().to_string(),
            state_bytes,
            config: ConfigStatus {
                file: self.0.config_file.display().to_string(),
                loaded: board.engine.loaded,
                changed: board.engine.changed.as_ref().map(|changed| changed.at),
                changes: board.engine.changed.iter().flat_map(|it| it.what.clone()).collect(),
                rejected: board.rejected.clone(),
            },
        }
    }

    /// The rules in the order of the configuration, those of each kind together.
    pub fn rules(&self) -> Vec<RuleStatus> {
        let engine = self.0.board.engine();
        engine.core.rules().filter_map(|rule| self.rule(rule.name())).collect()
    }

    pub fn rule(&self, name: &str) -> Option<RuleStatus> {
        let board = self.0.board.look();
        let rule = board.engine.core.rule(name)?;
        let shown = board.rules.get(name).cloned().unwrap_or_default();
        let running = board.active.iter().filter(|(_, active)| active.begun.rule == name);
        Some(RuleStatus {
            next_run: shown.next_run,
            running: running.map(|(id, _)| id.clone()).collect(),
            queued: shown.queued,
            last_run: shown.last_run,
            last_success: shown.last_success,
            consecutive_failures: shown.consecutive_failures,
            ..RuleStatus::of(rule)
        })
    }

    /// Runs under way, the oldest first.
    pub fn active(&self) -> Vec<ActiveRun> {
        let now = Instant::now();
        let board = self.0.board.look();
        let limit = board.engine.core.config.daemon.stall_after;
        let active = board.active.values().map(|active| {
            let snapshot = active.progress.snapshot();
            ActiveRun {
                id: active.begun.id.clone(),
                rule: active.begun.rule.clone(),
                kind: active.kind,
                cause: active.begun.cause,
                started: active.begun.started,
                considered: snapshot.considered,
                counts: snapshot.counts,
                bytes: snapshot.bytes,
                stalled_seconds: active
                    .movement
                    .stalled(now, limit)
                    .map(|still| still.as_secs_f64()),
            }
        });
        active.collect()
    }

    /// Runs of the past and present, the newest first.
    ///
    /// # Errors
    /// The history cannot be read.
    pub async fn runs(&self, filter: Filter) -> std::io::Result<Vec<RunRecord>> {
        let mut runs = self.0.parts.history.runs(filter).await?.runs;
        runs.iter_mut().for_each(|run| self.bring_up_to_date(run));
        Ok(runs)
    }

    /// One run and its images.
    ///
    /// # Errors
    /// The history cannot be read.
    pub async fn run(&self, id: RunId) -> std::io::Result<Option<RunDetail>> {
        let (mut run, images) = match self.0.parts.history.run(id.clone()).await? {
            Some(found) => found,
            // It has begun, and the disk has not heard of it yet.
            None => match self.0.board.look().active.get(&id) {
                Some(active) => {
                    (RunRecord::unended(active.begun.clone(), RunOutcome::Running), Vec::new())
                }
                None => return Ok(None),
            },
        };
        self.bring_up_to_date(&mut run);
        Ok(Some(RunDetail { run, images }))
    }

    /// The history knows of a run under way only that it began.
    fn bring_up_to_date(&self, run: &mut RunRecord) {
        if run.outcome != RunOutcome::Running {
            return;
        }
        let now = self.0.now();
        if let Some(active) = self.0.board.look().active.get(&run.id) {
            let snapshot = active.progress.snapshot();
            run.counts = snapshot.counts;
            run.bytes = snapshot.bytes;
            run.seconds = now.duration_since(run.started).as_secs_f64().max(0.0);
        }
    }

    /// Images on their way, the longest under way first.
    pub fn transfers(&self) -> Vec<Transfer> {
        let (now, wall) = (Instant::now(), self.0.now());
        let mut transfers = self.0.parts.carrier.transfers();
        transfers.sort_by_key(|transfer| transfer.started);
        let board = self.0.board.look();
        let of_flow = |flow: Flow| board.active.values().find(|active| active.flow == flow);
        let shown = transfers.into_iter().filter_map(|transfer| {
            // A plan or a run that has just ended has no run to be shown with.
            let active = of_flow(transfer.id.flow)?;
            let age = now.saturating_duration_since(transfer.started);
            Some(Transfer {
                run: active.begun.id.clone(),
                rule: active.begun.rule.clone(),
                source: transfer.id.source,
                targets: transfer.id.targets,
                started: wall.checked_sub(age).unwrap_or(wall),
                bytes_done: transfer.bytes_done,
                bytes_total: transfer.bytes_total,
                bytes_per_second: transfer.bytes_done as f64 / age.as_secs_f64().max(1e-3),
                idle_seconds: now.saturating_duration_since(transfer.last_progress).as_secs_f64(),
            })
        });
        shown.collect()
    }

    /// Registries that were used by the configuration that is in use, by host.
    pub fn registries(&self) -> Vec<RegistryStatus> {
        let engine = self.0.board.engine();
        let opened = engine.core.registries.opened().into_iter().map(|registry| {
            let limits = registry.limits();
            RegistryStatus {
                host: registry.host().to_string(),
                window: limits.window(),
                in_flight: limits.in_flight(),
                closed: limits.closed().map(|cause| cause.to_string()),
            }
        });
        opened.collect()
    }

    /// The configuration in use as TOML, secrets only by their source.
    pub fn config(&self) -> String {
        self.0.board.engine().core.config.show()
    }

    pub fn readiness(&self) -> Readiness {
        let state = self.0.parts.state.storage.health();
        let board = self.0.board.look();
        let last = |outcomes: &[RunOutcome]| {
            let rules = board.rules.values().filter_map(|rule| rule.last_run.as_ref());
            rules.filter(|run| outcomes.contains(&run.outcome)).count()
        };
        readiness(&Facts {
            config_rejected: board.rejected.clone(),
            state_broken: state.broken,
            state_behind: state.behind,
            history_failing: self.0.parts.history.health().failing,
            // One that its own limits hold back does what it was told.
            succeeding: last(&[RunOutcome::Succeeded, RunOutcome::Limited]),
            failing: last(&[RunOutcome::Failed]),
            stopping: self.is_stopping(),
            scheduler_silent: board.alive.elapsed() > SILENCE,
        })
    }

    /// All metrics in Prometheus' text format.
    ///
    /// # Errors
    /// What [`crate::metrics::Metrics::render`] has.
    pub fn render_metrics(&self) -> prometheus::Result<String> {
        let metrics = &self.0.parts.metrics;
        let storage = &self.0.parts.state.storage;
        metrics.daemon().state_size(storage.size_bytes());
        let state = storage.health();
        metrics.daemon().state_unsaved(state.unsaved, state.lost);
        metrics.daemon().history_lost(self.0.parts.history.health().lost);
        let now = Instant::now();
        let transfers = self.0.parts.carrier.transfers();
        let still = transfers.iter().map(|t| now.saturating_duration_since(t.last_progress));
        metrics.transfers().under_way(transfers.len(), still.max().unwrap_or_default());
        self.0.board.look().active.values_mut().for_each(run::count);
        metrics.render()
    }

    /// Has a rule run now, or after its present run.
    ///
    /// # Errors
    /// The rule cannot be run so, or it is too late.
    pub async fn run_rule(&self, rule: &str, options: RunOptions) -> Result<Accepted, RuleRefusal> {
        let rule = rule.to_owned();
        self.ask(move |scheduler| scheduler.request(&rule, options, None)).await?
    }

    /// The same with what happens in the run. The run goes on when its follower goes away.
    ///
    /// # Errors
    /// As for [`Self::run_rule`].
    pub async fn follow_run(
        &self,
        rule: &str,
        options: RunOptions,
    ) -> Result<Following, RuleRefusal> {
        let rule = rule.to_owned();
        let (teller, following) = follow(None);
        self.ask(move |scheduler| scheduler.request(&rule, options, Some(teller))).await??;
        Ok(following)
    }

    /// Stops a run, or takes it out of the queue; `false`: it is neither under way nor waiting.
    ///
    /// # Errors
    /// It is too late.
    pub async fn cancel(&self, run: RunId) -> Result<bool, Stopping> {
        self.ask(move |scheduler| scheduler.cancel(&run)).await
    }

    /// The same with all runs of a rule: those that stop.
    ///
    /// # Errors
    /// There are none, or it is too late.
    pub async fn cancel_rule(&self, rule: &str) -> Result<Vec<RunId>, RuleRefusal> {
        let rule = rule.to_owned();
        self.ask(move |scheduler| scheduler.cancel_rule(&rule)).await?
    }

    fn is_stopping(&self) -> bool {
        self.0.stop.is_cancelled()
    }

    /// Asks the scheduler.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        what: impl FnOnce(&mut Scheduler) -> T + Send + 'static,
    ) -> Result<T, Stopping> {
        let (reply, answer) = oneshot::channel();
        // Who asked may be gone, which changes nothing.
        let command: Command = Box::new(|scheduler| _ = reply.send(what(scheduler)));
        self.0.commands.send(command).await.map_err(|_| Stopping)?;
        answer.await.map_err(|_| Stopping)
    }
}
