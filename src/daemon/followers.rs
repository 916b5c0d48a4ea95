//! Who follows which run of a cleanup rule. A run that nobody follows tells nothing.

use std::borrow::Cow;
use std::collections::HashMap;

use parking_lot::Mutex;

use super::news::{CleanupNews, RepositoryPlan, Teller};
use super::queue::Job;
use crate::cleanup::{CleanupReport, Plan};
use crate::config::cleanup::Mode;
use crate::history::RunId;

/// The followers of all runs that wait or are under way.
#[derive(Default)]
pub(super) struct Followers(Mutex<HashMap<RunId, Vec<Teller>>>);

impl Followers {
    /// Adds one, before the run begins.
    pub fn add(&self, run: &RunId, follower: Teller) {
        follower.tell(&CleanupNews::Run(run.clone()));
        self.0.lock().entry(run.clone()).or_default().push(follower);
    }

    pub fn planned(&self, run: &RunId, plan: &Plan<'_>) {
        self.tell(run, || {
            CleanupNews::Plan(Box::new(RepositoryPlan { plan: plan.document(), explanation: None }))
        });
    }

    pub fn reported(&self, run: &RunId, report: &CleanupReport) {
        self.tell(run, || CleanupNews::Report(Cow::Borrowed(report)));
    }

    /// A job will not be executed.
    pub fn withdrawn(&self, job: &Job) {
        let mode = job.mode.unwrap_or(Mode::Plan);
        let report = CleanupReport { interrupted: true, ..CleanupReport::new(job.rule(), mode) };
        self.reported(&job.id, &report);
        self.ended(&job.id);
    }

    /// Nothing more happens in a run.
    pub fn ended(&self, run: &RunId) {
        self.0.lock().remove(run);
    }

    fn tell<'a>(&self, run: &RunId, news: impl FnOnce() -> CleanupNews<'a>) {
        let tellers = self.0.lock().get(run).cloned().unwrap_or_default();
        if !tellers.is_empty() {
            let news = news();
            tellers.iter().for_each(|teller| teller.tell(&news));
        }
    }
}
