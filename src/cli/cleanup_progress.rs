//! How far the runs of cleanup rules have come, as `tranship cleanup` shows it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::progress::{Items, Noun, Seen};
use crate::cleanup::CleanupProgress;
use crate::text::counted;
use crate::transfer::Carrier;

/// All runs of one command.
#[derive(Default)]
pub struct Live {
    /// Rules that are to be run.
    rules: AtomicUsize,
    runs: Mutex<Vec<Arc<CleanupProgress>>>,
    /// Plans that a daemon has made.
    planned: AtomicUsize,
}

impl Live {
    /// So many rules are run by this process.
    pub fn rules(&self, rules: usize) {
        self.rules.store(rules, Ordering::Relaxed);
    }

    /// A run begins.
    pub fn run(&self) -> Arc<CleanupProgress> {
        let progress = Arc::<CleanupProgress>::default();
        self.runs.lock().push(Arc::clone(&progress));
        progress
    }

    /// The daemon has planned a repository.
    pub fn planned(&self) {
        self.planned.fetch_add(1, Ordering::Relaxed);
    }

    /// What is to be seen of a daemon's runs: it tells of each plan, and not how many there will be.
    pub fn of_daemon(&self) -> Seen {
        let planned = self.planned.load(Ordering::Relaxed);
        Seen::of_items(Items {
            done: planned,
            total: planned,
            noun: REPOSITORIES,
            ..Items::default()
        })
    }

    /// What is to be seen of this process's runs. The carrier copies to quarantines.
    pub fn of_process(&self, carrier: &Carrier) -> Seen {
        let mut items = Items { is_all: true, noun: REPOSITORIES, ..Items::default() };
        let (mut manifests, mut steps, mut steps_done) = (0, 0, 0);
        let runs = self.runs.lock();
        items.is_all = runs.len() == self.rules.load(Ordering::Relaxed);
        for run in &*runs {
            let now = run.now();
            items.is_all &= now.is_listed;
            items.done += now.finished;
            items.total += now.repositories;
            manifests += now.manifests;
            steps += now.steps;
            steps_done += now.steps_done;
        }
        let mut words = Vec::new();
        if steps > 0 {
            words.push(format!("{steps_done} of {}", counted(steps, "deletion", "deletions")));
        }
        words.push(format!("{} examined", counted(manifests, "manifest", "manifests")));
        // What is copied to a quarantine says nothing of what is left to do.
        Seen { words, bytes_left: None, ..Seen::of_carrier(carrier, items) }
    }
}

const REPOSITORIES: Noun = Noun { one: "repository", many: "repositories", failed: "FAILED" };

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::RetryPolicy;
    use crate::state::State;

    #[test]
    fn the_total_may_grow_until_every_rule_has_listed_its_repositories() {
        let live = Live::default();
        let carrier = Carrier::new(State::in_memory(), RetryPolicy::default(), || 0.0);
        live.rules(2);
        let run = live.run();
        assert!(!live.of_process(&carrier).items.is_all);
        drop(run);
        live.run();
        let seen = live.of_process(&carrier);
        assert_eq!(seen.words, ["0 manifests examined"]);
        assert!(!seen.items.is_all, "neither has listed anything");
        live.planned();
        let items = live.of_daemon().items;
        assert_eq!((items.done, items.total, items.is_all), (1, 1, false));
    }
}
