//! One run of a rule, from its beginning to its end, whoever started it: executed, observed, and
//! recorded in the history.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use jiff::Timestamp;

use super::Engine;
use crate::cleanup::{CleanupProgress, CleanupReport, CleanupSpec, Plan, TagRemover};
use crate::config::{CleanupRule, SyncRule, cleanup};
use crate::fair::Flow;
use crate::history::{History, RunRecord, RunStart};
use crate::oci::Address;
use crate::removal::{Actor, RemoveTags};
use crate::repository::Failure;
use crate::stop::StopSignal;
use crate::sync::{ImageReport, Keep, Mode, RuleReport, RunProgress, RunSpec, Scope, Snapshot};
use crate::transfer::TransferTotals;

/// What every run has, whatever its rule is about.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    pub begun: &'a RunStart,
    /// Where the run is recorded; `None` for a plan.
    pub history: Option<&'a History>,
    pub flow: Flow,
    pub stop: &'a StopSignal,
    /// How far the run has come, for observers.
    pub progress: &'a RunProgress,
}

/// What a run of a sync rule covers, and who observes it.
#[derive(Clone, Copy)]
pub struct SyncOptions<'a> {
    pub mode: Mode,
    pub scope: &'a Scope,
    /// Asks the targets about every image, whatever the state says.
    pub recheck: bool,
    /// Which images the report lists.
    pub keep: Keep,
    /// Sees each image that was not simply in step, as soon as it is settled.
    pub image: &'a (dyn Fn(&ImageReport) + Sync),
}

/// A run of a sync rule that has ended.
#[derive(Debug)]
pub struct Synced {
    pub report: RuleReport,
    /// What the run moved.
    pub moved: TransferTotals,
    pub record: RunRecord,
}

/// What a run of a cleanup rule covers, and who observes it.
#[derive(Clone, Copy)]
pub struct CleanupOptions<'a> {
    pub mode: cleanup::Mode,
    /// Whether a person has asked for it here and now, who can look at the plan before.
    pub attended: bool,
    /// The only repository that the run is about; `None`: all of the rule's.
    pub only: Option<&'a Address>,
    /// How far the run has come, for observers.
    pub progress: Option<&'a CleanupProgress>,
    /// Sees the plan of each repository, before anything of it is done.
    pub plan: &'a (dyn Fn(&Plan<'_>) + Sync),
}

impl Engine {
    /// Carries out a sync rule.
    pub async fn sync(&self, rule: &SyncRule, run: Run<'_>, options: SyncOptions<'_>) -> Synced {
        let actor = run.actor();
        let audit = self.resources.audit.as_ref();
        let remover = audit.map(|audit| TagRemover { audit, actor: &actor });
        let image = |image: &ImageReport| {
            if let Some(history) = run.history {
                history.image(&run.begun.id, image);
            }
            (options.image)(image);
        };
        let spec = RunSpec {
            rule,
            mode: options.mode,
            scope: options.scope,
            recheck: options.recheck,
            stop: run.stop,
            flow: run.flow,
            progress: run.progress,
            keep: options.keep,
            watch: &image,
            remover: remover.as_ref().map(|remover| remover as &dyn RemoveTags),
        };
        run.begin();
        let tally = self.resources.carrier.tally(run.flow);
        let report = unless_panicked(&rule.name, self.runner.sync(&self.syncer, spec)).await;
        let mut report = report.unwrap_or_else(|failure| {
            let Snapshot { counts, .. } = run.progress.snapshot();
            let report = RuleReport::new(&rule.name, options.mode);
            RuleReport { counts, failures: vec![failure], ..report }
        });
        let moved = tally.read();
        // Images that failed and uploads that were left count as well.
        report.bytes = moved.sent_bytes;
        let record = RunRecord::ended(run.begun, self.resources.clock.now(), &report);
        run.end(&record).await;
        Synced { report, moved, record }
    }

    /// Carries out a cleanup rule.
    pub async fn clean(
        &self,
        rule: &CleanupRule,
        run: Run<'_>,
        options: CleanupOptions<'_>,
    ) -> (CleanupReport, RunRecord) {
        let (actor, unseen) = (run.actor(), CleanupProgress::default());
        let spec = CleanupSpec {
            rule,
            mode: options.mode,
            attended: options.attended,
            only: options.only,
            stop: run.stop,
            flow: run.flow,
            progress: options.progress.unwrap_or(&unseen),
            pulse: run.progress.pulse(),
            actor: &actor,
            now: whole_seconds(run.begun.started),
            watch: options.plan,
        };
        run.begin();
        let refused = |why: &str| Err(Failure::new("clean up by", &rule.name, why.to_owned()));
        let report = match &self.cleaner {
            // The configuration is refused before, unless it has changed since the run was asked for.
            Some(_) if spec.mode == cleanup::Mode::Apply && rule.repositories.is_sweeping() => {
                refused("the rule covers every repository of a registry, so it must not delete")
            }
            Some(cleaner) => unless_panicked(&rule.name, self.runner.clean(cleaner, spec)).await,
            None => refused("there is no audit"),
        };
        let report = report.unwrap_or_else(|failure| CleanupReport {
            failures: vec![failure],
            ..CleanupReport::new(&rule.name, options.mode)
        });
        let record = RunRecord::cleaned(run.begun, self.resources.clock.now(), &report);
        run.end(&record).await;
        (report, record)
    }
}

impl Run<'_> {
    /// Who asked for the run, and which one it is: for the audit.
    fn actor(&self) -> Actor {
        Actor::of_process(self.begun.id.as_str(), self.begun.cause.to_string())
    }

    fn begin(&self) {
        if let Some(history) = self.history {
            history.begin(self.begun);
        }
    }

    async fn end(&self, record: &RunRecord) {
        self.progress.end();
        if let Some(history) = self.history {
            history.end(record).await;
        }
    }
}

/// The state keeps whole seconds, so the first plan reckons with no finer time than the next one.
fn whole_seconds(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// Executes a run. A bug costs this run, which fails like others do, and not the whole process.
async fn unless_panicked<T>(rule: &str, run: impl Future<Output = T>) -> Result<T, Failure> {
    let ended = AssertUnwindSafe(run).catch_unwind().await;
    ended.map_err(|panic: Box<dyn Any + Send>| {
        // The message itself was printed when the panic happened.
        let words = panic.downcast_ref::<&str>().copied();
        let words = words.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        Failure {
            step: "finish".to_owned(),
            subject: format!("rule `{rule}`"),
            message: format!("internal error of tranship: {}", words.unwrap_or("unknown")),
            attempts: 1,
            hint: Some("please report this with the log around it".to_owned()),
            registry: None,
        }
    })
}
