//! What a rule would do now, as the API shows it.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;

use super::handle::Handle;
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
    #[schemars(with = "Vec<shape::Plan>")]
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

/// How a plan is written, for the description of the API: docs/json.md has the same in words. A
/// test holds plans to it.
#[expect(dead_code, reason = "a description, of which no value is ever made")]
mod shape {
    use jiff::Timestamp;
    use schemars::JsonSchema;

    /// What would be done in one repository now.
    #[derive(JsonSchema)]
    pub struct Plan {
        repository: String,
        /// The time for which it was decided.
        now: Timestamp,
        /// Whether one tag of several can be deleted there: `yes`, `no` or `unknown`.
        untag: String,
        /// Why nothing is deleted; empty if the plan may be carried out.
        refused: Vec<String>,
        /// Tags made by people.
        tags: u64,
        /// How many of them the rule wants to go, also where a limit refuses it.
        tags_deleted: u64,
        manifests: u64,
        manifests_deleted: u64,
        /// What the steps free in this repository.
        bytes_freed: u64,
        /// What is to be done, in this order; empty if refused.
        steps: Vec<Step>,
        tag_verdicts: Vec<TagVerdict>,
        manifest_verdicts: Vec<ManifestVerdict>,
    }

    #[derive(JsonSchema)]
    #[schemars(rename = "CleanupStep")]
    struct Step {
        /// `delete` a manifest with its tags, or `untag`: take one tag from a manifest that stays.
        action: String,
        #[schemars(skip_serializing_if = "Option::is_none")]
        tag: Option<String>,
        digest: String,
        /// The tags that go with the manifest.
        #[schemars(skip_serializing_if = "Vec::is_empty")]
        tags: Vec<String>,
        /// The line of the rule that asks for it.
        #[schemars(skip_serializing_if = "Option::is_none")]
        rule: Option<String>,
        /// The manifest that it belongs to and goes with.
        #[schemars(skip_serializing_if = "Option::is_none")]
        with: Option<String>,
        clock: Clock,
        bytes_freed: u64,
    }

    #[derive(JsonSchema)]
    struct TagVerdict {
        tag: String,
        digest: String,
        action: String,
        #[schemars(skip_serializing_if = "Option::is_none")]
        kept_by: Option<String>,
        #[schemars(skip_serializing_if = "Option::is_none")]
        condemned_by: Option<String>,
        #[schemars(skip_serializing_if = "Vec::is_empty")]
        blockers: Vec<String>,
    }

    #[derive(JsonSchema)]
    struct ManifestVerdict {
        digest: String,
        kind: String,
        #[schemars(skip_serializing_if = "Option::is_none")]
        artifact_type: Option<String>,
        action: String,
        #[schemars(skip_serializing_if = "Option::is_none")]
        condemned_by: Option<String>,
        #[schemars(skip_serializing_if = "Option::is_none")]
        owner: Option<String>,
        #[schemars(skip_serializing_if = "Vec::is_empty")]
        blockers: Vec<String>,
        clock: Clock,
    }

    #[derive(JsonSchema)]
    struct Clock {
        #[schemars(skip_serializing_if = "Option::is_none")]
        time: Option<Timestamp>,
        #[schemars(skip_serializing_if = "Option::is_none")]
        source: Option<String>,
        #[schemars(skip_serializing_if = "Option::is_none")]
        impossible: Option<Timestamp>,
    }
}
