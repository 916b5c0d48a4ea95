//! What a rule would do now, as the API shows it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::FutureExt;
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

use super::handle::Handle;
use super::news::{CleanupNews, Following, RepositoryPlan, SyncNews, Teller, follow};
use super::refusal::RuleRefusal;
use crate::cleanup::plan::document::Document;
use crate::cleanup::{Asked, CleanupReport, Plan, explain, resolved};
use crate::config::{CleanupRule, SyncRule, cleanup};
use crate::fair::{Flow, LendingPermits, Pulses};
use crate::history::{Cause, RunId, RunStart};
use crate::repository::Failure;
use crate::run::{CleanupOptions, Engine, Rule, Run, SyncOptions};
use crate::stop::StopSignal;
use crate::sync::{ImageReport, Keep, Mode, RuleReport, RunProgress, Scope};

/// Images that a plan lists at most: of a rule that was never run, there may be a million.
const MAX_PLANNED: usize = 10_000;
/// Plans being made at once: each reads from registries what a run would.
const PLANS: usize = 2;

/// Room for plans. One that waits for a registry which does not answer keeps no other from being made.
pub(super) struct Planning {
    room: LendingPermits,
    begun: AtomicU64,
}

impl Planning {
    /// `pulses` tell which plans have stalled.
    pub fn new(pulses: Pulses) -> Self {
        Self { room: LendingPermits::new(PLANS, pulses), begun: AtomicU64::new(0) }
    }

    /// The flow of a new plan. Those of runs have the low numbers.
    fn flow(&self) -> Flow {
        Flow::new(u64::MAX - self.begun.fetch_add(1, Ordering::Relaxed))
    }
}

/// Why there is no plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPlan {
    /// There is no such rule.
    Unknown,
    /// Other plans are being made.
    Busy,
}

/// What a plan that is followed is about.
#[derive(Default)]
pub struct PlanOptions {
    /// Of a cleanup rule: only the repository of this image, which is explained.
    pub asked: Option<Asked>,
    /// Of a sync rule: the targets are asked about every image, whatever the state says.
    pub recheck: bool,
}

/// The plan of a rule of either kind.
#[derive(Debug)]
pub enum RulePlan {
    Sync(Box<RuleReport>),
    Cleanup(CleanupPlans),
}

/// What a cleanup rule would delete now: as `tranship cleanup --output json` has it of one rule.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CleanupPlans {
    pub rule: String,
    /// Always `plan`, whatever the rule's own is.
    pub mode: cleanup::Mode,
    /// The daemon ended before all plans were made.
    pub interrupted: bool,
    /// One for each repository, by name.
    #[schemars(with = "Vec<Document<'static>>")]
    pub plans: Vec<Box<RawValue>>,
    /// What could not be looked at.
    pub failures: Vec<Failure>,
    pub notes: Vec<String>,
}

impl Handle {
    /// What a run of the rule would do now, if there is room to find out. Sends nothing but GET and
    /// HEAD, and is recorded nowhere.
    pub async fn plan(&self, rule: &str) -> Result<RulePlan, NoPlan> {
        let flow = self.0.planning.flow();
        let room = self.0.planning.room.acquire(flow).now_or_never();
        let _room = room.ok_or(NoPlan::Busy)?;
        self.plan_as(rule, flow).await.ok_or(NoPlan::Unknown)
    }

    async fn plan_as(&self, rule: &str, flow: Flow) -> Option<RulePlan> {
        let engine = self.0.board.engine();
        let engine = &engine.core;
        let rule = engine.rule(rule)?;
        let begun = self.begun(rule.name());
        let stop = at_once(self.0.stop.now.child_token());
        let progress = RunProgress::default();
        let run = Run { begun: &begun, history: None, flow, stop: &stop, progress: &progress };
        Some(match rule {
            Rule::Sync(rule) => RulePlan::Sync(Box::new(sync_plan(engine, rule, run).await)),
            Rule::Cleanup(rule) => RulePlan::Cleanup(cleanup_plans(engine, rule, run).await),
        })
    }

    /// The same, line by line as it becomes known. It begins when there is room, and stops when its
    /// follower goes away.
    ///
    /// # Errors
    /// There is no such rule, or it is not about what is asked.
    pub async fn follow_plan(
        &self,
        name: &str,
        options: PlanOptions,
    ) -> Result<Following, RuleRefusal> {
        let engine = self.0.board.engine();
        let found = engine.core.rule(name);
        let found = found.ok_or_else(|| RuleRefusal::Unknown(name.to_owned()))?;
        check(found, &options).await?;
        let gone = self.0.stop.now.child_token();
        let (teller, following) = follow(Some(gone.clone()));
        let (handle, name, engine) = (self.clone(), name.to_owned(), Arc::clone(&engine));
        tokio::spawn(async move {
            let plans = &handle.0.planning;
            let flow = plans.flow();
            let room = gone.run_until_cancelled(plans.room.acquire(flow)).await;
            let Some(_room) = room else { return };
            // It was there a moment ago.
            let Some(rule) = engine.core.rule(&name) else { return };
            let begun = handle.begun(&name);
            let (stop, progress) = (at_once(gone), RunProgress::default());
            let run = Run { begun: &begun, history: None, flow, stop: &stop, progress: &progress };
            match rule {
                Rule::Sync(rule) => {
                    tell_sync_plan(&engine.core, rule, run, options.recheck, &teller).await;
                }
                Rule::Cleanup(rule) => {
                    let asked = options.asked.as_ref();
                    tell_cleanup_plan(&engine.core, rule, run, asked, &teller).await;
                }
            }
        });
        Ok(following)
    }

    fn begun(&self, rule: &str) -> RunStart {
        let started = self.0.now();
        let (id, cause) = (RunId::new(started, 0), Cause::Api);
        RunStart { id, rule: rule.to_owned(), cause, started }
    }
}

/// What only reads need not come to its end.
fn at_once(now: CancellationToken) -> StopSignal {
    StopSignal { soon: now.clone(), now }
}

fn planning<'a>(plan: &'a (dyn Fn(&Plan<'_>) + Sync)) -> CleanupOptions<'a> {
    CleanupOptions { mode: cleanup::Mode::Plan, attended: false, only: None, progress: None, plan }
}

/// Whether the options are for a rule of this kind, and about what it covers.
async fn check(rule: Rule<'_>, options: &PlanOptions) -> Result<(), RuleRefusal> {
    let name = rule.name().to_owned();
    match (rule, &options.asked) {
        (Rule::Sync(_), Some(_)) => Err(RuleRefusal::NoCleanup(name)),
        (Rule::Cleanup(_), _) if options.recheck => Err(RuleRefusal::NoSync(name)),
        (Rule::Cleanup(rule), Some(asked))
            if !resolved(&rule.repositories).await.has(&asked.address) =>
        {
            Err(RuleRefusal::NotCovered { rule: name, image: asked.address.to_string() })
        }
        _ => Ok(()),
    }
}

async fn tell_sync_plan(
    engine: &Engine,
    rule: &SyncRule,
    run: Run<'_>,
    recheck: bool,
    teller: &Teller,
) {
    let image = |image: &ImageReport| teller.tell(&SyncNews::Image(Cow::Borrowed(image)));
    // The report that is told has no images.
    let (mode, keep) = (Mode::DryRun, Keep::Failed(0));
    let options = SyncOptions { mode, scope: &Scope::All, recheck, keep, image: &image };
    let report = engine.sync(rule, run, options).await.report;
    teller.tell(&SyncNews::Report(Cow::Owned(report)));
}

async fn tell_cleanup_plan(
    engine: &Engine,
    rule: &CleanupRule,
    run: Run<'_>,
    asked: Option<&Asked>,
    teller: &Teller,
) {
    let watch = |plan: &Plan<'_>| {
        let explanation = asked.and_then(|asked| explain(plan, &asked.reference));
        let planned = RepositoryPlan { plan: plan.document(), explanation };
        teller.tell(&CleanupNews::Plan(Box::new(planned)));
    };
    let only = asked.map(|asked| &asked.address);
    let options = CleanupOptions { only, ..planning(&watch) };
    let (report, _) = engine.clean(rule, run, options).await;
    teller.tell(&CleanupNews::Report(Cow::Owned(report)));
}

async fn sync_plan(engine: &Engine, rule: &SyncRule, run: Run<'_>) -> RuleReport {
    let (mode, keep) = (Mode::DryRun, Keep::First(MAX_PLANNED));
    let options = SyncOptions { mode, scope: &Scope::All, recheck: false, keep, image: &|_| {} };
    engine.sync(rule, run, options).await.report
}

async fn cleanup_plans(engine: &Engine, rule: &CleanupRule, run: Run<'_>) -> CleanupPlans {
    let written = Mutex::new(Written::default());
    let plan = |plan: &Plan<'_>| written.lock().add(plan);
    let (report, _) = engine.clean(rule, run, planning(&plan)).await;
    written.into_inner().with(report)
}

/// Plans as they are made, written down at once: what each was made of is large, and gone then.
#[derive(Default)]
struct Written {
    /// By repository.
    plans: BTreeMap<String, Box<RawValue>>,
    unwritten: Vec<Failure>,
}

impl Written {
    fn add(&mut self, plan: &Plan<'_>) {
        let repository = plan.snapshot.repository();
        match serde_json::value::to_raw_value(plan) {
            Ok(json) => _ = self.plans.insert(repository.to_owned(), json),
            Err(error) => {
                let failure = Failure::new("write the plan of", repository, error.to_string());
                self.unwritten.push(failure);
            }
        }
    }

    fn with(self, report: CleanupReport) -> CleanupPlans {
        let CleanupReport { rule, mode, interrupted, mut failures, notes, .. } = report;
        failures.extend(self.unwritten);
        let plans = self.plans.into_values().collect();
        CleanupPlans { rule, mode, interrupted, plans, failures, notes }
    }
}
