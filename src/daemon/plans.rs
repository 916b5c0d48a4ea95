//! What a rule would do now, as the API shows it.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;

use super::engine::Engine;
use super::handle::Handle;
use super::rule::Rule;
use super::run;
use crate::cleanup::{CleanupReport, CleanupSpec, Plan};
use crate::config::{CleanupRule, SyncRule, cleanup};
use crate::fair::{Flow, Pulse};
use crate::history::Cause;
use crate::removal::Actor;
use crate::repository::Failure;
use crate::stop::StopSignal;
use crate::sync::{Keep, Mode, RuleReport, RunProgress, RunSpec, Scope};

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
    /// and HEAD.
    pub async fn plan(&self, rule: &str) -> Option<RulePlan> {
        let engine = self.0.board.engine();
        Some(match engine.rule(rule)? {
            Rule::Sync(rule) => RulePlan::Sync(Box::new(self.sync_plan(&engine, rule).await)),
            Rule::Cleanup(rule) => RulePlan::Cleanup(self.cleanup_plan(&engine, rule).await),
        })
    }

    async fn sync_plan(&self, engine: &Engine, rule: &SyncRule) -> RuleReport {
        let spec = RunSpec {
            rule,
            mode: Mode::DryRun,
            scope: &Scope::All,
            stop: &StopSignal::at_once(self.0.stop.now.child_token()),
            flow: Flow::ALONE,
            progress: &RunProgress::default(),
            keep: Keep::First(MAX_PLANNED),
            watch: &|_| {},
            remover: None,
        };
        engine.syncer.run_rule(spec).await
    }

    async fn cleanup_plan(&self, engine: &Engine, rule: &CleanupRule) -> CleanupPlans {
        let written = Mutex::new(Written::default());
        // What is only read need not come to its end.
        let now = self.0.stop.now.child_token();
        let report = engine
            .cleaner
            .run(CleanupSpec {
                rule,
                mode: cleanup::Mode::Plan,
                only: None,
                stop: &StopSignal { soon: now.clone(), now },
                flow: Flow::ALONE,
                pulse: &Pulse::default(),
                actor: &Actor::of_process("plan", Cause::Api.as_str()),
                now: run::whole_seconds(self.0.now()),
                watch: &|plan| written.lock().add(plan),
            })
            .await;
        written.into_inner().with(report)
    }
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
