//! How long a change at the source went unmirrored. Pure.
//!
//! A push event says when the change was made. Without one it was made after the pass before this
//! one began, so the time since then is an upper bound. An image that failed keeps the moment of
//! its first failed attempt's bound: a change that takes three runs to arrive was late by three.

use std::collections::HashMap;

use jiff::Timestamp;

/// Images that are behind, remembered at most. More say nothing more: everything is late then.
const MAX_BEHIND: usize = 10_000;

/// How well the moment of a change is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// The event named it.
    Event,
    /// It was made at this moment or later.
    Pass,
}

/// The images that are behind their sources.
#[derive(Debug, Default)]
pub struct Lags {
    /// By target image: since when, and how that is known.
    behind: HashMap<String, (Timestamp, Basis)>,
}

impl Lags {
    /// An image was found changed, and could not be brought up to date.
    pub fn failed(&mut self, target: &str, changed: Timestamp, basis: Basis) {
        if self.behind.len() < MAX_BEHIND && !self.behind.contains_key(target) {
            self.behind.insert(target.to_owned(), (changed, basis));
        }
    }

    /// An image was brought up to date. Gives the seconds that it was behind; `None` where nothing
    /// is known of when it changed.
    pub fn copied(
        &mut self,
        target: &str,
        changed: Option<(Timestamp, Basis)>,
        now: Timestamp,
    ) -> Option<(f64, Basis)> {
        let (since, basis) = self.behind.remove(target).or(changed)?;
        // A sender's clock may be ahead of ours.
        let seconds = now.duration_since(since).as_secs_f64().max(0.0);
        Some((seconds, basis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_lag_is_the_time_since_the_change() {
        let mut lags = Lags::default();
        let event = Some((at(100), Basis::Event));
        assert_eq!(lags.copied("t/a:1", event, at(101)), Some((1.0, Basis::Event)));
        assert_eq!(lags.copied("t/a:1", None, at(101)), None);
        assert_eq!(lags.copied("t/a:1", event, at(99)), Some((0.0, Basis::Event)));
    }

    #[test]
    fn a_change_that_took_several_attempts_counts_from_the_first() {
        let mut lags = Lags::default();
        lags.failed("t/a:1", at(100), Basis::Event);
        lags.failed("t/a:1", at(400), Basis::Pass);
        let pass = Some((at(700), Basis::Pass));
        assert_eq!(lags.copied("t/a:1", pass, at(1000)), Some((900.0, Basis::Event)));
        assert_eq!(lags.copied("t/a:1", pass, at(1000)), Some((300.0, Basis::Pass)));
    }

    #[test]
    fn what_is_behind_is_bounded() {
        let mut lags = Lags::default();
        for n in 0..2 * MAX_BEHIND {
            lags.failed(&n.to_string(), at(1), Basis::Pass);
        }
        assert_eq!(lags.behind.len(), MAX_BEHIND);
    }
}
