//! Which rule is due when. No clock, no randomness, no task: who drives it brings these along.
//!
//! A rule's slots come from its trigger. One run takes care of every slot up to its beginning, so
//! that slots missed while the process was down, the machine asleep or the rule still running
//! lead to one run, not to many. What has been taken care of is the rule's [`Mark`], which is all
//! that has to outlive the process.
//!
//! To drive it: ask [`Agenda::due`], begin those runs, tell [`Agenda::started`] and
//! [`Agenda::finished`] of every run of a whole rule, whatever caused it, and keep the
//! [`Agenda::mark`] after each. Then sleep until [`Agenda::wake`], but never longer than
//! [`LONGEST_SLEEP`]: clocks get set.

mod entry;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::schedule::Timing;
use entry::{Entry, Phase};

/// The longest time between two calls of [`Agenda::due`], so that a clock that was set is noticed.
pub const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// Gives a number from 0 to 1, at random.
pub type Random = Box<dyn FnMut() -> f64 + Send>;

/// What is to be remembered of a rule when the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// No slot up to and including this time needs a run any more.
    pub handled: Timestamp,
    /// When its last run began.
    pub started: Option<Timestamp>,
    /// That run has not come to its end.
    pub unfinished: bool,
}

/// A rule that is to run now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    pub rule: Arc<str>,
    /// The first slot that the run takes care of; for a cause other than a slot, since when.
    pub slot: Timestamp,
    pub cause: Cause,
}

/// Why a rule is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// `run_at_start`.
    Start,
    /// Its time has come.
    Slot,
    /// Its time came more than a minute ago: the process was down, or the rule was still running.
    Missed,
    /// The process ended before the last run did.
    Interrupted,
}

/// How a run ended, as far as it matters for when the next one begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Something was reached, whatever came of it.
    Reached,
    /// Nothing could be reached: not the source, or no target.
    Unreachable,
    /// It was cut off because the process ends; the next process is to run it again.
    Interrupted,
}

/// All rules and their next times.
pub struct Agenda {
    rules: BTreeMap<Arc<str>, Entry>,
    /// The rules that wait, by when they are due.
    waiting: BTreeSet<(Timestamp, Arc<str>)>,
    /// The latest time that was told.
    now: Timestamp,
    random: Random,
}

impl Agenda {
    /// All rules that there are, each with its timing if it has one, and the marks that a process
    /// before this one left.
    ///
    /// A rule without a mark has missed nothing. Keep its mark right away ([`Self::mark`]), or
    /// what it misses before its first run will be lost.
    pub fn new(
        rules: impl IntoIterator<Item = (Arc<str>, Option<Timing>)>,
        marks: &HashMap<String, Mark>,
        now: Timestamp,
        random: Random,
    ) -> Self {
        let mut agenda = Self { rules: BTreeMap::new(), waiting: BTreeSet::new(), now, random };
        for (name, timing) in rules {
            let mark = marks.get(&*name).copied();
            let entry = Entry::new(timing, mark, now, &mut agenda.random);
            agenda.rules.insert(name, entry);
        }
        agenda.wait_anew();
        agenda
    }

    /// Takes over a new set of rules. What is known of a rule stays; if its trigger is another
    /// one, its slots count from now on. A rule that is gone is forgotten once its run has ended.
    pub fn replace(
        &mut self,
        rules: impl IntoIterator<Item = (Arc<str>, Option<Timing>)>,
        now: Timestamp,
    ) {
        self.look_at_clock(now);
        let mut old = std::mem::take(&mut self.rules);
        for (name, timing) in rules {
            let entry = match old.remove(&name) {
                Some(mut entry) => {
                    entry.change_timing(timing, now, &mut self.random);
                    entry
                }
                None => Entry::new(timing, None, now, &mut self.random),
            };
            self.rules.insert(name, entry);
        }
        for (name, mut entry) in old {
            if entry.phase != Phase::Waiting {
                entry.retire();
                self.rules.insert(name, entry);
            }
        }
        self.wait_anew();
    }

    /// The rules that are to run now, those first that never ran or whose last run is longest
    /// ago. Each is handed out once, until [`Self::finished`].
    pub fn due(&mut self, now: Timestamp) -> Vec<Due> {
        self.look_at_clock(now);
        let mut due = Vec::new();
        while let Some(first) = self.waiting.first()
            && first.0 <= now
        {
            let Some((_, rule)) = self.waiting.pop_first() else { break };
            let Some(entry) = self.rules.get_mut(&rule) else { continue };
            if let Some((slot, cause)) = entry.hand_out(now) {
                due.push((entry.mark.started, Due { rule, slot, cause }));
            }
        }
        due.sort_by(|(a_started, a), (b_started, b)| {
            (a_started, a.slot, &a.rule).cmp(&(b_started, b.slot, &b.rule))
        });
        due.into_iter().map(|(_, due)| due).collect()
    }

    /// A run of the whole rule begins, due or not. It takes care of every slot until now.
    pub fn started(&mut self, rule: &str, now: Timestamp) {
        self.change(rule, now, |entry, random| entry.start(now, random));
    }

    /// The run has ended. For a rule that was due but did not run after all, it is due again.
    pub fn finished(&mut self, rule: &str, now: Timestamp, ending: Ending) {
        self.change(rule, now, |entry, _| entry.finish(now, ending));
    }

    /// The rule was handed out and will not be run for that: its slots until now are taken care of
    /// by this decision. Nothing happens to a rule that is not due.
    pub fn skip(&mut self, rule: &str, now: Timestamp) {
        self.change(rule, now, |entry, random| entry.skip(now, random));
    }

    /// When the rule begins next, jitter and backing off included; at the earliest, if it runs
    /// now. `None`: nothing but an event or a person starts it.
    pub fn next(&self, rule: &str) -> Option<Timestamp> {
        self.rules.get(rule)?.due_at()
    }

    /// When the first rule will be due. `None`: not before something is told.
    pub fn wake(&self) -> Option<Timestamp> {
        self.waiting.first().map(|(due_at, _)| *due_at)
    }

    /// What is to be remembered of the rule.
    pub fn mark(&self, rule: &str) -> Option<Mark> {
        Some(self.rules.get(rule)?.mark)
    }

    fn change(&mut self, rule: &str, now: Timestamp, change: impl FnOnce(&mut Entry, &mut Random)) {
        self.look_at_clock(now);
        let Some((name, _)) = self.rules.get_key_value(rule) else { return };
        let name = Arc::clone(name);
        let Some(entry) = self.rules.get_mut(rule) else { return };
        if let Some(due_at) = entry.waits_for() {
            self.waiting.remove(&(due_at, Arc::clone(&name)));
        }
        change(entry, &mut self.random);
        if entry.is_over() {
            self.rules.remove(rule);
            return;
        }
        if let Some(due_at) = entry.waits_for() {
            self.waiting.insert((due_at, name));
        }
    }

    /// A clock that goes forward makes things due, which needs no care. One that was put back
    /// leaves rules waiting for times that are far away now.
    fn look_at_clock(&mut self, now: Timestamp) {
        if now < self.now {
            for entry in self.rules.values_mut() {
                entry.clock_put_back(now, &mut self.random);
            }
            self.wait_anew();
        }
        self.now = now;
    }

    fn wait_anew(&mut self) {
        let waits = |(name, entry): (&Arc<str>, &Entry)| Some((entry.waits_for()?, name.clone()));
        self.waiting = self.rules.iter().filter_map(waits).collect();
    }
}
