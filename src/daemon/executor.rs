//! Executes the jobs of the queue: each run is a task, which shares nothing with the scheduler.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::{Id, JoinSet};

use super::Shared;
use super::engine::Engine;
use super::queue::Job;
use super::run::{self, Ended};
use crate::config::RuleKind;
use crate::fair::Flow;
use crate::history::RunId;
use crate::stop::StopSignal;

/// A run that has made no progress for so long is not waited for by those that want to begin.
const STALLED_AFTER: Duration = Duration::from_secs(10);

pub(super) struct Executor {
    shared: Arc<Shared>,
    tasks: JoinSet<Ended>,
    jobs: HashMap<Id, (Job, Flow)>,
    next_flow: u64,
}

impl Executor {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, tasks: JoinSet::new(), jobs: HashMap::new(), next_flow: 1 }
    }

    /// Begins a run. `unseen_since`: for a whole rule, changes before this time were seen by an
    /// earlier run.
    pub fn begin(&mut self, engine: &Arc<Engine>, job: Job, unseen_since: Option<Timestamp>) {
        let flow = Flow::new(self.next_flow);
        self.next_flow += 1;
        let stop = StopSignal {
            soon: self.shared.stop.soon.child_token(),
            now: self.shared.stop.now.child_token(),
        };
        let (shared, engine) = (Arc::clone(&self.shared), Arc::clone(engine));
        let run = run::carry_out(shared, engine, job.clone(), unseen_since, flow, stop);
        self.jobs.insert(self.tasks.spawn(run).id(), (job, flow));
    }

    /// Waits until a run ends; `None`: there is none. Dropping the future loses nothing.
    pub async fn ended(&mut self) -> Option<(Job, Ended)> {
        let ended = self.tasks.join_next_with_id().await?;
        let (id, ended) = ended.unwrap_or_else(|error| (error.id(), Ended::NOTHING));
        let (job, _) = self.jobs.remove(&id)?;
        self.shared.followers.ended(&job.id);
        if let Some(mut active) = self.shared.board.look().active.remove(&job.id) {
            // It has been counted, unless the run was cut off.
            run::count(&mut active);
        }
        Some((job, ended))
    }

    /// How many runs are under way.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    pub fn is_running(&self, run: &RunId) -> bool {
        self.jobs.values().any(|(job, _)| job.id == *run)
    }

    /// The runs of a rule that are under way.
    pub fn runs_of(&self, rule: &str) -> impl Iterator<Item = &RunId> {
        self.jobs.values().filter(move |(job, _)| job.rule() == rule).map(|(job, _)| &job.id)
    }

    /// The runs in which nothing moves now: their registries ask for a pause, or do not answer.
    pub fn stalled(&self) -> HashSet<RunId> {
        let pulses = self.shared.parts.carrier.pulses();
        let is_stalled = |flow| pulses.still_for(flow).is_some_and(|still| still >= STALLED_AFTER);
        let stalled = self.jobs.values().filter(|(_, flow)| is_stalled(*flow));
        stalled.map(|(job, _)| job.id.clone()).collect()
    }

    /// Tells a run to stop; `false`: it is not under way, or its outcome is recorded already.
    pub fn cancel(&self, run: &RunId) -> bool {
        let board = self.shared.board.look();
        let Some(active) = board.active.get(run) else { return false };
        match active.kind {
            RuleKind::Sync => active.stop.now.cancel(),
            // A deletion under way comes to its end, so that its outcome is known.
            RuleKind::Cleanup => active.stop.soon.cancel(),
        }
        !active.progress.has_ended()
    }
}
