//! What the daemon shows of itself: the documents of the API. They are described in the OpenAPI
//! document, which is made of these types.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::RuleKind;
use crate::config::cleanup::Mode;
use crate::history::{Cause, RunId, RunRecord};
use crate::run::Rule;
use crate::sync::{Counts, ImageReport};

pub use super::plans::{CleanupPlans, NoPlan, PlanOptions, RulePlan};

/// The daemon as a whole.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    pub version: String,
    pub started: Timestamp,
    /// It was told to stop: runs under way end, none begins.
    pub stopping: bool,
    pub rules: usize,
    pub running: usize,
    pub queued: usize,
    pub transfers: usize,
    /// The folder of the state, by which its daemon is known.
    pub state: String,
    /// Bytes on disk.
    pub state_bytes: u64,
    pub config: ConfigStatus,
}

/// Which configuration is in use.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ConfigStatus {
    pub file: String,
    /// When the one in use was loaded.
    pub loaded: Timestamp,
    /// When a reload last changed something; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<Timestamp>,
    /// What it changed, a line for each table.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<String>,
    /// Why the file as it is now is not in use. The one before it stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<String>,
}

/// One rule, and how it fares.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct RuleStatus {
    pub name: String,
    #[serde(default)]
    pub kind: RuleKind,
    /// As the configuration says it, like `0 3 * * * (Europe/Berlin)` or `every 15m`; absent for a
    /// rule that runs only when it is asked to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// Of a sync rule: where its images come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Of a sync rule: where they go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<String>,
    /// Of a cleanup rule: whether it deletes when it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Of a cleanup rule: what it is about, and with `!` what it leaves alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_run: Option<Timestamp>,
    /// Runs of this rule that are under way.
    pub running: Vec<RunId>,
    pub queued: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run: Option<RunRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success: Option<Timestamp>,
    /// Runs that failed since the last one that succeeded.
    pub consecutive_failures: u32,
}

impl RuleStatus {
    /// A rule of which nothing more is known than what the configuration says.
    pub fn of(rule: Rule<'_>) -> Self {
        let status = Self {
            name: rule.name().to_owned(),
            kind: rule.kind(),
            schedule: rule.timing().map(ToString::to_string),
            ..Self::default()
        };
        match rule {
            Rule::Sync(rule) => Self {
                source: Some(rule.sources()),
                targets: rule.targets.iter().map(ToString::to_string).collect(),
                ..status
            },
            Rule::Cleanup(rule) => Self {
                mode: Some(rule.mode),
                repositories: rule.repositories.as_written(),
                ..status
            },
        }
    }
}

/// A run and every image that was not simply unchanged, in the order in which they were settled.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RunDetail {
    pub run: RunRecord,
    pub images: Vec<ImageReport>,
}

/// A run under way.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ActiveRun {
    pub id: RunId,
    pub rule: String,
    /// Of cleanup rules, nothing is counted while they run.
    #[serde(default)]
    pub kind: RuleKind,
    pub cause: Cause,
    pub started: Timestamp,
    /// Images that are to be looked at, as far as lists were read.
    pub considered: usize,
    /// What became of them until now.
    pub counts: Counts,
    /// Bytes of blobs sent to targets, of images that are settled.
    pub bytes: u64,
    /// Seconds since anything moved, once that is longer than `stall_after` allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stalled_seconds: Option<f64>,
}

/// An image on its way.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Transfer {
    pub run: RunId,
    pub rule: String,
    pub source: String,
    pub targets: Vec<String>,
    pub started: Timestamp,
    pub bytes_done: u64,
    /// As far as is known by now.
    pub bytes_total: u64,
    /// Mean over the transfer's life.
    pub bytes_per_second: f64,
    /// Seconds since anything moved.
    pub idle_seconds: f64,
}

/// A registry that the rules use.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RegistryStatus {
    pub host: String,
    /// Requests that may be under way at once, as found out so far.
    pub window: u32,
    /// Requests and uploads that are.
    pub in_flight: u32,
    /// Why it is not asked at the moment, at least not in some way, such as reading: it said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<String>,
}

/// An answer to the request to run a rule.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Accepted {
    /// The run that does it. Under it `GET /api/v1/runs/{id}` tells of the outcome.
    pub run: RunId,
    pub state: AcceptedState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AcceptedState {
    Started,
    /// It begins when the rule's present run has ended, or when there is room.
    Queued,
}

/// An answer to the request to stop all runs of a rule.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Cancelled {
    /// The runs that stop.
    pub runs: Vec<RunId>,
}

/// Whether the daemon does its work.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Readiness {
    pub ready: bool,
    pub checks: Vec<Check>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    pub name: String,
    pub ok: bool,
    pub message: String,
}
