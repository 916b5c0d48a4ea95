//! What a rule would do now, as the API shows it.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;

use super::handle::Handle;
use crate::cleanup::plan::document::Document;
use crate::cleanup::{CleanupReport, Plan};
use crate::config::{CleanupRule, SyncRule, cleanup};
use crate::fair::Flow;
use crate::history::{Cause, RunId, RunStart};
use crate::repository::Failure;
use crate::run::{CleanupOptions, Engine, Rule, Run, SyncOptions};
use crate::stop::StopSignal;
use crate::sync::{Keep, Mode, RuleReport, RunProgress, Scope};

/// Images that a plan lists at most: of a rule that was never run, there may be a million.
const MAX_PLANNED: usize = 10_000;

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
    /// What a run of the rule would do now; `None`: there is no such rule. Sends nothing but GET
    /// and HEAD, and is recorded nowhere.
    pub async fn plan(&self, rule: &str) -> Option<RulePlan> {
        let engine = self.0.board.engine();
        let engine = &engine.core;
        let rule = engine.rule(rule)?;
        let started = self.0.now();
        let (id, cause) = (RunId::new(started, 0), Cause::Api);
        let begun = RunStart { id, rule: rule.name().to_owned(), cause, started };
        // What only reads need not come to its end.
        let now = self.0.stop.now.child_token();
        let stop = StopSignal { soon: now.clone(), now };
        let progress = RunProgress::default();
        let flow = Flow::ALONE;
        let run = Run { begun: &begun, history: None, flow, stop: &stop, progress: &progress };
        Some(match rule {
            Rule::Sync(rule) => RulePlan::Sync(Box::new(sync_plan(engine, rule, run).await)),
            Rule::Cleanup(rule) => RulePlan::Cleanup(cleanup_plans(engine, rule, run).await),
        })
    }
}

async fn sync_plan(engine: &Engine, rule: &SyncRule, run: Run<'_>) -> RuleReport {
    let (mode, keep) = (Mode::DryRun, Keep::First(MAX_PLANNED));
    let options = SyncOptions { mode, scope: &Scope::All, keep, image: &|_| {} };
    engine.sync(rule, run, options).await.0
}

async fn cleanup_plans(engine: &Engine, rule: &CleanupRule, run: Run<'_>) -> CleanupPlans {
    let written = Mutex::new(Written::default());
    let plan = |plan: &Plan<'_>| written.lock().add(plan);
    let options = CleanupOptions { mode: cleanup::Mode::Plan, only: None, plan: &plan };
    let (report, _) = engine.clean(rule, run, options).await;
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
