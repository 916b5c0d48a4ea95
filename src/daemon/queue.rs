//! The queue between what decides that a rule is to run and what executes runs.
//!
//! The scheduler pushes jobs, takes those that may begin, and says when they are done. Jobs are
//! plain data, and executing one twice does no harm: a run compares the registries anew. So another
//! implementation can take them from elsewhere; docs/architecture.md says what else several daemons
//! would have to share.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::inbox::Batch;
use crate::config::cleanup::Mode;
use crate::history::{Cause, RunId};
use crate::text::display_as_serialized;

/// Whole rules under way at once. What bounds the work is the limits of transfers and registries,
/// which all share fairly; this bounds the lists of tags that are held in memory.
const WHOLE_RUNS: usize = 64;
/// Runs for events under way at once, beside those: a push does not wait for a migration.
const EVENT_RUNS: usize = 64;
/// The same with those that have stalled, of either kind: what they hold in memory they keep.
const WITH_STALLED: usize = 256;

/// A run to be executed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    pub id: RunId,
    pub cause: Cause,
    pub work: Work,
    #[serde(default)]
    pub options: RunOptions,
}

/// What somebody wants of a run that the rule does not do by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunOptions {
    /// Of a cleanup rule: whether the run deletes. Otherwise the rule says it.
    pub mode: Option<Mode>,
    /// Of a sync rule: the targets are asked about every image, whatever the state says.
    pub recheck: bool,
    /// Who asks for it.
    #[serde(default)]
    pub asked_by: AskedBy,
}

/// Who asks the daemon to do something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AskedBy {
    /// A client of the API.
    #[default]
    Api,
    /// A command of tranship.
    Command,
}

display_as_serialized!(AskedBy);

impl From<AskedBy> for Cause {
    fn from(asked_by: AskedBy) -> Self {
        match asked_by {
            AskedBy::Api => Self::Api,
            AskedBy::Command => Self::Command,
        }
    }
}

/// What a run is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Work {
    /// Everything that the rule selects.
    Rule(Arc<str>),
    /// What push events reported.
    Events(Batch),
}

impl Job {
    /// The name of the rule.
    pub fn rule(&self) -> &str {
        match &self.work {
            Work::Rule(rule) => rule,
            Work::Events(batch) => &batch.rule,
        }
    }

    pub fn is_whole(&self) -> bool {
        matches!(self.work, Work::Rule(_))
    }
}

/// Jobs that wait, and which of them may begin.
pub trait RunQueue: Send {
    fn push(&mut self, job: Job);

    /// Takes the next job that may begin now. It counts as under way until [`Self::done`].
    fn next(&mut self) -> Option<Job>;

    /// A job that was taken has ended, or was not executed after all.
    fn done(&mut self, job: &Job);

    /// In these runs nothing moves now, and others need not wait for them.
    fn set_stalled(&mut self, runs: HashSet<RunId>);

    /// Whether a job waits only until others end or stall.
    fn is_full(&self) -> bool;

    /// The jobs that wait, in the order in which they came, whole rules first.
    fn waiting(&self) -> Box<dyn Iterator<Item = &Job> + '_>;

    /// Takes out the jobs of whole rules for which `leaves` holds: they will not be executed.
    fn withdraw(&mut self, leaves: &mut dyn FnMut(&Job) -> bool) -> Vec<Job>;
}

/// The queue of one daemon, in memory: what waits when it ends is due again at the next start.
///
/// Fair by age: a whole rule begins when no other run of it is under way and there is room. A run that
/// has stalled takes no room until it moves again, up to a number.
#[derive(Debug, Default)]
pub struct Local {
    whole: VecDeque<Job>,
    events: VecDeque<Job>,
    /// The rules with a whole run under way.
    running: HashMap<Arc<str>, RunId>,
    running_events: HashSet<RunId>,
    stalled: HashSet<RunId>,
}

impl Local {
    fn has_room_for_rule(&self) -> bool {
        self.has_room(self.running.len(), self.running.values(), WHOLE_RUNS)
    }

    fn has_room_for_events(&self) -> bool {
        self.has_room(self.running_events.len(), self.running_events.iter(), EVENT_RUNS)
    }

    fn has_room<'a>(
        &self,
        all: usize,
        mut runs: impl Iterator<Item = &'a RunId>,
        limit: usize,
    ) -> bool {
        let moves = |run: &&RunId| !self.stalled.contains(*run);
        all < limit || all < WITH_STALLED && runs.by_ref().filter(moves).count() < limit
    }

    /// The first job of a rule that has no run under way.
    fn next_rule(&self) -> Option<usize> {
        self.whole.iter().position(|job| !self.running.contains_key(job.rule()))
    }
}

impl RunQueue for Local {
    fn push(&mut self, job: Job) {
        match job.work {
            Work::Rule(_) => self.whole.push_back(job),
            Work::Events(_) => self.events.push_back(job),
        }
    }

    fn next(&mut self) -> Option<Job> {
        if self.has_room_for_rule()
            && let Some(job) = self.next_rule().and_then(|index| self.whole.remove(index))
        {
            if let Work::Rule(rule) = &job.work {
                self.running.insert(Arc::clone(rule), job.id.clone());
            }
            return Some(job);
        }
        if !self.has_room_for_events() {
            return None;
        }
        let job = self.events.pop_front()?;
        self.running_events.insert(job.id.clone());
        Some(job)
    }

    fn done(&mut self, job: &Job) {
        match &job.work {
            Work::Rule(rule) => _ = self.running.remove(rule),
            Work::Events(_) => _ = self.running_events.remove(&job.id),
        }
    }

    fn set_stalled(&mut self, runs: HashSet<RunId>) {
        self.stalled = runs;
    }

    fn is_full(&self) -> bool {
        !self.has_room_for_rule() && self.next_rule().is_some()
            || !self.has_room_for_events() && !self.events.is_empty()
    }

    fn waiting(&self) -> Box<dyn Iterator<Item = &Job> + '_> {
        Box::new(self.whole.iter().chain(&self.events))
    }

    fn withdraw(&mut self, leaves: &mut dyn FnMut(&Job) -> bool) -> Vec<Job> {
        let (left, kept) = std::mem::take(&mut self.whole).into_iter().partition(|job| leaves(job));
        self.whole = kept;
        let left: VecDeque<Job> = left;
        left.into()
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use tokio::time::Instant;

    use super::*;
    use crate::daemon::changes::Changes;
    use crate::daemon::inbox::{Inbox, Settings};

    fn job(rule: &str, number: u32) -> Job {
        let id = RunId::new(Timestamp::UNIX_EPOCH, number);
        Job {
            id,
            cause: Cause::Schedule,
            work: Work::Rule(rule.into()),
            options: RunOptions::default(),
        }
    }

    #[test]
    fn a_rule_runs_once_at_a_time_and_does_not_hold_up_others() {
        let mut queue = Local::default();
        let (first, second, other) = (job("a", 1), job("a", 2), job("b", 3));
        for job in [&first, &second, &other] {
            queue.push(job.clone());
        }
        assert_eq!(queue.next().as_ref(), Some(&first));
        assert_eq!(queue.next().as_ref(), Some(&other));
        assert_eq!(queue.next(), None);
        queue.done(&first);
        assert_eq!(queue.next().as_ref(), Some(&second));
    }

    #[test]
    fn a_job_is_plain_data() {
        let changes =
            Changes::new("a/b".parse().unwrap(), "v1".parse().ok(), Timestamp::UNIX_EPOCH);
        let mut inbox = Inbox::new(Settings::default());
        let now = Instant::now();
        inbox.push(
            now,
            "r",
            &"a/b".parse().unwrap(),
            "v1".parse().ok().as_ref(),
            Timestamp::UNIX_EPOCH,
        );
        let batch = inbox.take(now + Settings::default().settle).remove(0);
        assert_eq!(batch.changes, changes);
        let of_events = Job { work: Work::Events(batch), ..job("r", 1) };
        for job in [job("r", 2), of_events] {
            let json = serde_json::to_string(&job).unwrap();
            assert_eq!(serde_json::from_str::<Job>(&json).unwrap(), job);
        }
    }

    #[test]
    fn so_many_whole_rules_run_at_once_and_the_oldest_begins_next() {
        let mut queue = Local::default();
        let jobs: Vec<Job> = (0..100).map(|n| job(&format!("rule-{n}"), n)).collect();
        jobs.iter().for_each(|job| queue.push(job.clone()));
        assert_eq!(std::iter::from_fn(|| queue.next()).count(), WHOLE_RUNS);
        queue.done(&jobs[7]);
        assert_eq!(queue.next().as_ref(), Some(&jobs[WHOLE_RUNS]));
        let withdrawn = queue.withdraw(&mut |job| job.rule() == "rule-70");
        assert_eq!(withdrawn, [jobs[70].clone()]);
        assert_eq!(queue.waiting().count(), 100 - WHOLE_RUNS - 2);
    }

    #[test]
    fn runs_that_have_stalled_take_no_room_until_they_move_again() {
        let mut queue = Local::default();
        let jobs: Vec<Job> = (0..400).map(|n| job(&format!("rule-{n}"), n)).collect();
        jobs.iter().for_each(|job| queue.push(job.clone()));
        let begin = |queue: &mut Local| std::iter::from_fn(|| queue.next()).count();
        assert_eq!(begin(&mut queue), WHOLE_RUNS);
        assert!(queue.is_full());
        let stalled = |range: std::ops::Range<usize>| -> HashSet<RunId> {
            jobs[range].iter().map(|job| job.id.clone()).collect()
        };
        queue.set_stalled(stalled(0..10));
        assert!(!queue.is_full());
        assert_eq!(begin(&mut queue), 10);
        // They move again: there are more than there is room for.
        queue.set_stalled(HashSet::new());
        jobs[..10].iter().for_each(|job| queue.done(job));
        assert_eq!(begin(&mut queue), 0);
        queue.done(&jobs[10]);
        assert_eq!(begin(&mut queue), 1);
        // There is an end to it.
        queue.set_stalled(stalled(0..400));
        assert_eq!(begin(&mut queue), WITH_STALLED - WHOLE_RUNS);
        assert!(queue.is_full());
    }

    #[test]
    fn runs_for_events_that_have_stalled_take_no_room_either() {
        let mut queue = Local::default();
        let mut inbox = Inbox::new(Settings::default());
        let now = Instant::now();
        for rule in 0..70 {
            let tag = "v1".parse().ok();
            let (rule, repository) = (format!("rule-{rule}"), "a/b".parse().unwrap());
            inbox.push(now, &rule, &repository, tag.as_ref(), Timestamp::UNIX_EPOCH);
        }
        for (batch, number) in inbox.take(now + Settings::default().settle).into_iter().zip(0..) {
            queue.push(Job { work: Work::Events(batch), ..job("r", number) });
        }
        let begun: Vec<Job> = std::iter::from_fn(|| queue.next()).collect();
        assert_eq!((begun.len(), queue.is_full()), (EVENT_RUNS, true));
        queue.set_stalled(HashSet::from([begun[3].id.clone()]));
        assert!(queue.next().is_some());
        assert_eq!(queue.next(), None);
    }
}
