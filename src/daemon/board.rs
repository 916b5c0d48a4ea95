//! What can be seen of the daemon: written by the scheduler and the runs, read by everybody. No
//! decision depends on it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::engine::Engine;
use super::movement::Movement;
use crate::config::RuleKind;
use crate::fair::Flow;
use crate::history::{RunId, RunRecord, RunStart};
use crate::metrics::RuleMetrics;
use crate::stop::StopSignal;
use crate::sync::{RunProgress, Snapshot};

/// The board. Its lock is held for moments only, never while something is waited for.
pub(super) struct Board(Mutex<Content>);

pub(super) struct Content {
    pub engine: Arc<Engine>,
    /// Why the configuration file as it is now is not in use.
    pub rejected: Option<String>,
    pub rules: HashMap<Arc<str>, Rule>,
    pub active: BTreeMap<RunId, Active>,
    pub queued: usize,
    /// When the scheduler last looked around.
    pub alive: Instant,
}

/// How a rule fares.
#[derive(Debug, Clone, Default)]
pub(super) struct Rule {
    pub next_run: Option<Timestamp>,
    pub queued: bool,
    pub last_run: Option<RunRecord>,
    pub last_success: Option<Timestamp>,
    pub consecutive_failures: u32,
}

/// A run under way.
pub(super) struct Active {
    pub begun: RunStart,
    pub kind: RuleKind,
    pub flow: Flow,
    pub progress: Arc<RunProgress>,
    pub stop: StopSignal,
    pub movement: Movement,
    /// Of the rule.
    pub metrics: RuleMetrics,
    /// What the metrics have of this run already.
    pub counted: Snapshot,
}

impl Board {
    pub fn new(engine: Arc<Engine>) -> Self {
        Self(Mutex::new(Content {
            engine,
            rejected: None,
            rules: HashMap::new(),
            active: BTreeMap::new(),
            queued: 0,
            alive: Instant::now(),
        }))
    }

    pub fn look(&self) -> MutexGuard<'_, Content> {
        self.0.lock()
    }

    pub fn engine(&self) -> Arc<Engine> {
        Arc::clone(&self.look().engine)
    }
}

impl Content {
    /// How this rule fares, to be changed.
    pub fn rule(&mut self, name: &Arc<str>) -> &mut Rule {
        self.rules.entry(Arc::clone(name)).or_default()
    }
}
