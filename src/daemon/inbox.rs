//! Events on their way to runs: gathered for a moment, so that a burst becomes one run, and held
//! back while a run is under way on the same images.
//!
//! Pure: the time is passed in. The scheduler calls [`Inbox::push`] for each rule that an event
//! affects, [`Inbox::take`] at [`Inbox::next_ready`], and [`Inbox::finished`] when the run of a
//! batch has ended, or [`Inbox::failed`] when it failed. An image that is pushed again during its
//! run gets one more run, because the first may have read the registry before that push.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::changes::{Bounds, Changes};
use crate::oci::{RepositoryName, Tag};

/// How events are gathered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How long to wait for more after the first event: several tags of an image are pushed
    /// within tens of milliseconds of each other.
    pub settle: Duration,
    /// What is taken and not finished, for one rule at a time.
    pub runs: usize,
    pub bounds: Bounds,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            settle: Duration::from_millis(100),
            runs: 4,
            bounds: Bounds { tags: 100, repositories: 250 },
        }
    }
}

/// What events have reported, by rule. Rules are known by their names, so that a new configuration
/// changes nothing for those that stay.
#[derive(Debug)]
pub struct Inbox {
    settings: Settings,
    /// None of them idle.
    lanes: BTreeMap<String, Lane>,
    next_ticket: u64,
}

/// What happens for one rule.
#[derive(Debug, Default)]
struct Lane {
    /// What is gathered, and until when.
    gathered: Option<(Instant, Changes)>,
    /// What waits for a run to end.
    held: Option<Changes>,
    /// What has failed, and when it is tried again. Apart from the rest, because it would make
    /// every run fail that it is part of.
    failed: Option<(Instant, Changes)>,
    running: BTreeMap<Ticket, Changes>,
}

/// Identifies a batch from `take` to `finished`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ticket(u64);

/// What a rule is to be run for now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    pub ticket: Ticket,
    pub rule: String,
    pub changes: Changes,
    /// A run of it has failed before.
    pub retry: bool,
}

impl Inbox {
    pub fn new(settings: Settings) -> Self {
        Self { settings, lanes: BTreeMap::new(), next_ticket: 0 }
    }

    /// An event affects a tag of a rule, or without one a whole repository. It happened at `at`, by
    /// whatever clock.
    pub fn push(
        &mut self,
        now: Instant,
        rule: &str,
        repository: &RepositoryName,
        tag: Option<&Tag>,
        at: Timestamp,
    ) {
        let Settings { settle, bounds, .. } = self.settings;
        let lane = match self.lanes.get_mut(rule) {
            Some(lane) => lane,
            None => self.lanes.entry(rule.to_owned()).or_default(),
        };
        // Most of a burst reports what is gathered already.
        if let Some((_, gathered)) = &mut lane.gathered
            && gathered.covers(repository, tag, at)
        {
            return;
        }
        lane.gather(now + settle, Changes::new(repository.clone(), tag.cloned(), at), bounds);
    }

    /// Whether nothing is gathered, held, failed or under way for the rule.
    pub fn is_done_with(&self, rule: &str) -> bool {
        !self.lanes.contains_key(rule)
    }

    /// What should be run now: each is under way until [`Inbox::finished`] is told its ticket.
    /// None of it is under way already.
    pub fn take(&mut self, now: Instant) -> Vec<Batch> {
        let mut ready = Vec::new();
        for (rule, lane) in &mut self.lanes {
            let gathered = lane.gathered.take_if(|(due, _)| *due <= now);
            let failed = lane.failed.take_if(|(due, _)| *due <= now);
            for (waited, retry) in [(gathered, false), (failed, true)] {
                let Some((_, changes)) = waited else { continue };
                if let Some(changes) = lane.admit(changes, &self.settings) {
                    let ticket = Ticket(self.next_ticket);
                    self.next_ticket += 1;
                    lane.running.insert(ticket, changes.clone());
                    let rule = rule.clone();
                    ready.push(Batch { ticket, rule, changes, retry });
                }
            }
        }
        ready
    }

    /// A run has ended: what waited for it is ready now.
    pub fn finished(&mut self, ticket: Ticket, now: Instant) {
        self.end(ticket, now, None);
    }

    /// A run has failed at this part of what it was about, which is ready again at `again`. What
    /// waited for the run is ready now.
    pub fn failed(&mut self, ticket: Ticket, now: Instant, failed: Changes, again: Instant) {
        self.end(ticket, now, Some((again, failed)));
    }

    fn end(&mut self, ticket: Ticket, now: Instant, failed: Option<(Instant, Changes)>) {
        let bounds = self.settings.bounds;
        let lane = self.lanes.iter_mut().find(|(_, lane)| lane.running.contains_key(&ticket));
        let Some((rule, lane)) = lane else { return };
        lane.running.remove(&ticket);
        if let Some((again, failed)) = failed {
            match &mut lane.failed {
                // The later time: something of this has just failed.
                Some((due, waiting)) => {
                    *due = again.max(*due);
                    waiting.merge(failed, bounds);
                }
                None => lane.failed = Some((again, failed)),
            }
        }
        if let Some(held) = lane.held.take() {
            lane.gather(now, held, bounds);
        }
        if lane.is_idle() {
            let rule = rule.clone();
            self.lanes.remove(&rule);
        }
    }

    /// When [`Inbox::take`] will have something; `None` when only an event or the end of a run
    /// can change that. May be past.
    pub fn next_ready(&self) -> Option<Instant> {
        let waiting = self.lanes.values().flat_map(|lane| [&lane.gathered, &lane.failed]);
        waiting.flatten().map(|(due, _)| *due).min()
    }

    /// Forgets what is not taken of rules that no longer exist.
    pub fn keep_rules(&mut self, mut exists: impl FnMut(&str) -> bool) {
        self.lanes.retain(|rule, lane| {
            if !exists(rule) {
                (lane.gathered, lane.held, lane.failed) = (None, None, None);
            }
            !lane.is_idle()
        });
    }
}

impl Lane {
    fn is_idle(&self) -> bool {
        self.gathered.is_none() && self.failed.is_none() && self.running.is_empty()
    }

    /// Adds to what is gathered, all of which is ready at the soonest time that is asked for.
    fn gather(&mut self, at: Instant, changes: Changes, bounds: Bounds) {
        match &mut self.gathered {
            Some((due, gathered)) => {
                *due = at.min(*due);
                gathered.merge(changes, bounds);
            }
            None => self.gathered = Some((at, changes)),
        }
    }

    /// The part that can be run now; the rest is held.
    fn admit(&mut self, changes: Changes, settings: &Settings) -> Option<Changes> {
        let (mut free, mut held) = (None, None);
        if self.running.len() < settings.runs {
            free = Some(changes)
        } else {
            held = Some(changes)
        }
        for running in self.running.values() {
            let Some(changes) = free else { break };
            let (rest, common) = changes.without(running);
            free = rest;
            held = join(held, common, settings.bounds);
        }
        self.held = join(self.held.take(), held, settings.bounds);
        free
    }
}

fn join(one: Option<Changes>, other: Option<Changes>, bounds: Bounds) -> Option<Changes> {
    match (one, other) {
        (Some(mut one), Some(other)) => {
            one.merge(other, bounds);
            Some(one)
        }
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests;
