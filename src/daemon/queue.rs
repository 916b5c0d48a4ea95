//! The queue between what decides that a rule is to run and what executes runs.
//!
//! The scheduler pushes jobs, takes those that may begin, and says when they are done. Jobs are
//! plain data, and executing one twice does no harm: a run compares the registries anew. So another
//! implementation can take them from elsewhere; docs/architecture.md says what else several daemons
//! would have to share.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::inbox::Batch;
use crate::config::cleanup::Mode;
use crate::history::{Cause, RunId};

/// Whole rules under way at once. What bounds the work is the limits of transfers and registries,
/// which all share fairly; this bounds the lists of tags that are held in memory.
const WHOLE_RUNS: usize = 64;
/// Runs for events under way at once, beside those: a push does not wait for a migration.
const EVENT_RUNS: usize = 64;

/// A run to be executed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    pub id: RunId,
    pub cause: Cause,
    pub work: Work,
    /// Of a cleanup rule: whether this run deletes, where somebody has said so. Otherwise the rule
    /// says it.
    #[serde(default)]
    pub mode: Option<Mode>,
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

    /// The jobs that wait, in the order in which they came, whole rules first.
    fn waiting(&self) -> Box<dyn Iterator<Item = &Job> + '_>;

    /// Takes out the jobs of whole rules for which `leaves` holds: they will not be executed.
    fn withdraw(&mut self, leaves: &mut dyn FnMut(&Job) -> bool) -> Vec<Job>;
}

/// The queue of one daemon, in memory: what waits when it ends is due again at the next start.
///
/// Fair by age: a whole rule begins when no other run of it is under way and there is room.
#[derive(Debug, Default)]
pub struct Local {
    whole: VecDeque<Job>,
    events: VecDeque<Job>,
    /// The rules with a whole run under way.
    running: HashSet<Arc<str>>,
    running_events: usize,
}

impl RunQueue for Local {
    fn push(&mut self, job: Job) {
        match job.work {
            Work::Rule(_) => self.whole.push_back(job),
            Work::Events(_) => self.events.push_back(job),
        }
    }

    fn next(&mut self) -> Option<Job> {
        if self.running.len() < WHOLE_RUNS {
            let free = self.whole.iter().position(|job| !self.running.contains(job.rule()));
            if let Some(job) = free.and_then(|index| self.whole.remove(index)) {
                if let Work::Rule(rule) = &job.work {
                    self.running.insert(Arc::clone(rule));
                }
                return Some(job);
            }
        }
        if self.running_events >= EVENT_RUNS {
            return None;
        }
        let job = self.events.pop_front()?;
        self.running_events += 1;
        Some(job)
    }

    fn done(&mut self, job: &Job) {
        match &job.work {
            Work::Rule(rule) => _ = self.running.remove(rule),
            Work::Events(_) => self.running_events -= 1,
        }
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
        Job { id, cause: Cause::Schedule, work: Work::Rule(rule.into()), mode: None }
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
}
