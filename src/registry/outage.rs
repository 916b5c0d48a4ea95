//! Whether a registry fails as a whole: what one request has found out holds for all others of its run,
//! which would find out the same. Pure.
//!
//! Runs are told apart, so that the next one looks again.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::fair::Flow;
use crate::repository::Cause;

/// In a long run, it is looked again after this time.
const LASTS: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub struct Outages(HashMap<Flow, Outage>);

/// What a run has found out.
#[derive(Debug)]
struct Outage {
    since: Instant,
    /// How often a connection was tried.
    tries: u32,
    /// Why nothing more is tried.
    verdict: Option<Cause>,
}

impl Outages {
    /// Why a request of this run would fail.
    pub fn verdict(&self, flow: Flow, now: Instant) -> Option<&Cause> {
        let outage = self.0.get(&flow).filter(|outage| outage.holds(now))?;
        outage.verdict.as_ref()
    }

    /// A request of this run got no connection at its try with this number. Returns how often it was
    /// tried by all of them, one after the other: together they try no more often than one alone.
    pub fn unconnected(&mut self, flow: Flow, now: Instant, tries: u32) -> u32 {
        let outage = self.entry(flow, now);
        outage.tries = outage.tries.max(tries);
        outage.tries
    }

    /// Nothing more is tried in this run.
    pub fn give_up(&mut self, flow: Flow, now: Instant, cause: &Cause) {
        let outage = self.entry(flow, now);
        outage.since = now;
        outage.verdict = Some(cause.clone());
    }

    /// The registry has answered.
    pub fn answered(&mut self) {
        self.0.clear();
    }

    fn entry(&mut self, flow: Flow, now: Instant) -> &mut Outage {
        self.0.retain(|_, outage| outage.holds(now));
        self.0.entry(flow).or_insert(Outage { since: now, tries: 0, verdict: None })
    }
}

impl Outage {
    fn holds(&self, now: Instant) -> bool {
        now < self.since + LASTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_shares_what_it_finds_out_until_the_registry_answers() {
        let (start, cause) = (Instant::now(), Cause::connection("refused"));
        let at = |seconds| start + Duration::from_secs(seconds);
        let (one, two) = (Flow::new(1), Flow::new(2));
        let mut outages = Outages::default();
        assert_eq!(outages.unconnected(one, at(0), 1), 1);
        assert_eq!(outages.unconnected(one, at(1), 3), 3);
        // One that begins later has tried as often as the others.
        assert_eq!(outages.unconnected(one, at(1), 1), 3);
        assert_eq!(outages.unconnected(two, at(1), 1), 1);
        assert_eq!(outages.verdict(one, at(1)), None);
        outages.give_up(one, at(2), &cause);
        assert_eq!(outages.verdict(one, at(61)), Some(&cause));
        assert_eq!(outages.verdict(two, at(2)), None);
        // Looked at again.
        assert_eq!(outages.verdict(one, at(62)), None);
        assert_eq!(outages.unconnected(one, at(62), 1), 1);
        outages.give_up(one, at(63), &cause);
        outages.answered();
        assert_eq!(outages.verdict(one, at(63)), None);
    }
}
