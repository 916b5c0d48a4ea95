//! How long a change at the source went unmirrored. Pure.
//!
//! A push event says when the change was made. Without one it was made after the pass before this
//! one began, so the time since then is an upper bound. An image that failed keeps the moment of
//! its first failed attempt's bound: a change that takes three runs to arrive was late by three.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use crate::text::display_as_serialized;

/// What tells when a mirrored change was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// The push event that announced it: exact.
    Event,
    /// The complete pass before, which did not see it yet: the lag is at most that.
    Pass,
}

// The label of metrics.
display_as_serialized!(Basis);

/// Images that are behind, remembered at most of each rule. More say nothing more: everything is
/// late then.
const MAX_BEHIND: usize = 10_000;

/// The images that are behind their sources.
#[derive(Debug, Default)]
pub struct Lags {
    rules: HashMap<Arc<str>, HashMap<String, Behind>>,
}

/// An image at its target.
#[derive(Debug)]
struct Behind {
    since: Timestamp,
    basis: Basis,
    /// It has failed since the pass under way began.
    again: bool,
}

impl Lags {
    /// A pass over the whole rule begins.
    pub fn pass_begins(&mut self, rule: &str) {
        let behind = self.rules.get_mut(rule).into_iter().flat_map(HashMap::values_mut);
        behind.for_each(|image| image.again = false);
    }

    /// The pass has come to its end: what did not fail in it is in step, or not there any more.
    pub fn pass_ends(&mut self, rule: &str) {
        if let Some(behind) = self.rules.get_mut(rule) {
            behind.retain(|_, image| image.again);
            if behind.is_empty() {
                self.rules.remove(rule);
            }
        }
    }

    /// An image could not be brought up to date, or nobody knows whether it is.
    pub fn failed(&mut self, rule: &Arc<str>, target: &str, changed: Timestamp, basis: Basis) {
        let behind = self.rules.entry(Arc::clone(rule)).or_default();
        if let Some(image) = behind.get_mut(target) {
            image.again = true;
        } else if behind.len() < MAX_BEHIND {
            behind.insert(target.to_owned(), Behind { since: changed, basis, again: true });
        }
    }

    /// An image was brought up to date. Gives the seconds that it was behind; `None` where nothing
    /// is known of when it changed.
    pub fn copied(
        &mut self,
        rule: &str,
        target: &str,
        changed: Option<(Timestamp, Basis)>,
        now: Timestamp,
    ) -> Option<(f64, Basis)> {
        let behind = self.rules.get_mut(rule).and_then(|behind| behind.remove(target));
        let (since, basis) = behind.map(|image| (image.since, image.basis)).or(changed)?;
        // A sender's clock may be ahead of ours.
        let seconds = now.duration_since(since).as_secs_f64().max(0.0);
        Some((seconds, basis))
    }

    /// Forgets the rules that are no more.
    pub fn keep_rules(&mut self, exists: impl Fn(&str) -> bool) {
        self.rules.retain(|rule, _| exists(rule));
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
        assert_eq!(lags.copied("r", "t/a:1", event, at(101)), Some((1.0, Basis::Event)));
        assert_eq!(lags.copied("r", "t/a:1", None, at(101)), None);
        assert_eq!(lags.copied("r", "t/a:1", event, at(99)), Some((0.0, Basis::Event)));
    }

    #[test]
    fn a_change_that_took_several_attempts_counts_from_the_first() {
        let mut lags = Lags::default();
        let rule: Arc<str> = "r".into();
        lags.failed(&rule, "t/a:1", at(100), Basis::Event);
        lags.failed(&rule, "t/a:1", at(400), Basis::Pass);
        let pass = Some((at(700), Basis::Pass));
        assert_eq!(lags.copied("r", "t/a:1", pass, at(1000)), Some((900.0, Basis::Event)));
        assert_eq!(lags.copied("r", "t/a:1", pass, at(1000)), Some((300.0, Basis::Pass)));
    }

    /// A target that could not be asked says nothing of when its images change next.
    #[test]
    fn what_turns_out_to_be_in_step_is_behind_no_more() {
        let mut lags = Lags::default();
        let rule: Arc<str> = "r".into();
        lags.pass_begins("r");
        lags.failed(&rule, "t/a:1", at(100), Basis::Pass);
        lags.failed(&rule, "t/a:2", at(100), Basis::Pass);
        lags.pass_ends("r");
        lags.pass_begins("r");
        lags.failed(&rule, "t/a:2", at(200), Basis::Pass);
        lags.pass_ends("r");
        let pass = Some((at(900), Basis::Pass));
        assert_eq!(lags.copied("r", "t/a:1", pass, at(1000)), Some((100.0, Basis::Pass)));
        assert_eq!(lags.copied("r", "t/a:2", pass, at(1000)), Some((900.0, Basis::Pass)));
    }

    #[test]
    fn what_is_behind_is_bounded() {
        let mut lags = Lags::default();
        let rule: Arc<str> = "r".into();
        for n in 0..2 * MAX_BEHIND {
            lags.failed(&rule, &n.to_string(), at(1), Basis::Pass);
        }
        assert_eq!(lags.rules["r"].len(), MAX_BEHIND);
        lags.keep_rules(|_| false);
        assert!(lags.rules.is_empty());
    }
}
