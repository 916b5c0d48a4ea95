//! Who follows which run. A run that nobody follows tells nothing.

use std::borrow::Cow;
use std::collections::HashMap;

use parking_lot::Mutex;
use serde::Serialize;

use super::news::{CleanupNews, RepositoryPlan, SyncNews, Teller};
use super::queue::Job;
use crate::cleanup::{CleanupReport, Plan};
use crate::config::RuleKind;
use crate::config::cleanup::Mode;
use crate::history::RunId;
use crate::sync::{self, ImageReport, RuleReport};
use crate::transfer::TransferTotals;

/// The followers of all runs that wait or are under way.
#[derive(Default)]
pub(super) struct Followers(Mutex<HashMap<RunId, Followed>>);

/// A run that is followed.
struct Followed {
    kind: RuleKind,
    tellers: Vec<Teller>,
}

impl Followers {
    /// Adds one, before the run begins.
    pub fn add(&self, run: &RunId, kind: RuleKind, follower: Teller) {
        match kind {
            RuleKind::Sync => follower.tell(&SyncNews::Run(run.clone())),
            RuleKind::Cleanup => follower.tell(&CleanupNews::Run(run.clone())),
        }
        let mut runs = self.0.lock();
        let followed = Followed { kind, tellers: Vec::new() };
        runs.entry(run.clone()).or_insert(followed).tellers.push(follower);
    }

    /// An image of a sync rule is settled.
    pub fn image(&self, run: &RunId, image: &ImageReport) {
        self.tell(run, || SyncNews::Image(Cow::Borrowed(image)));
    }

    /// A run of a sync rule has ended.
    pub fn synced(&self, run: &RunId, moved: TransferTotals, report: &RuleReport) {
        self.tell(run, || SyncNews::Moved(moved));
        self.tell(run, || SyncNews::Report(Cow::Borrowed(report)));
    }

    /// A cleanup rule is about to do this.
    pub fn planned(&self, run: &RunId, plan: &Plan<'_>) {
        self.tell(run, || {
            CleanupNews::Plan(Box::new(RepositoryPlan { plan: plan.document(), explanation: None }))
        });
    }

    /// A run of a cleanup rule has ended.
    pub fn cleaned(&self, run: &RunId, report: &CleanupReport) {
        self.tell(run, || CleanupNews::Report(Cow::Borrowed(report)));
    }

    /// A job will not be executed.
    pub fn withdrawn(&self, job: &Job) {
        let kind = self.0.lock().get(&job.id).map(|followed| followed.kind);
        match kind {
            None => return,
            Some(RuleKind::Sync) => {
                let report = RuleReport::new(job.rule(), sync::Mode::Apply);
                let report = RuleReport { interrupted: true, ..report };
                self.synced(&job.id, TransferTotals::default(), &report);
            }
            Some(RuleKind::Cleanup) => {
                let report = CleanupReport::new(job.rule(), job.options.mode.unwrap_or(Mode::Plan));
                self.cleaned(&job.id, &CleanupReport { interrupted: true, ..report });
            }
        }
        self.ended(&job.id);
    }

    /// Nothing more happens in a run.
    pub fn ended(&self, run: &RunId) {
        self.0.lock().remove(run);
    }

    fn tell<N: Serialize>(&self, run: &RunId, news: impl FnOnce() -> N) {
        let tellers = self.0.lock().get(run).map(|followed| followed.tellers.clone());
        if let Some(tellers) = tellers {
            let news = news();
            tellers.iter().for_each(|teller| teller.tell(&news));
        }
    }
}
