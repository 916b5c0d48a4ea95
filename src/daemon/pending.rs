//! Which rules have events that no run has looked at with success, and what failing again and
//! again leads to. Pure.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::http::Backoff;

/// The pause after runs for events have failed.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(5), Duration::from_secs(15 * 60));
/// After so many failures in a row the whole rule is run: that tells people what is wrong.
const PATIENCE: u32 = 3;

/// The rules with events.
#[derive(Debug, Default)]
pub struct Pending {
    /// Failed attempts in a row.
    rules: HashMap<Arc<str>, u32>,
}

impl Pending {
    /// An event came for this rule. `true`: it is the first one.
    pub fn note(&mut self, rule: &Arc<str>) -> bool {
        if self.rules.contains_key(rule) {
            return false;
        }
        self.rules.insert(Arc::clone(rule), 0);
        true
    }

    /// A run for events failed. Gives the pause before it is tried again, and whether the whole
    /// rule is to be run for it.
    pub fn failed(&mut self, rule: &Arc<str>) -> (Duration, bool) {
        let failures = self.rules.entry(Arc::clone(rule)).or_default();
        *failures = failures.saturating_add(1);
        (BACKOFF.after(*failures), *failures == PATIENCE)
    }

    /// What had failed has succeeded. `true`: the whole rule is to be run, because people were
    /// told that it fails.
    pub fn recovered(&mut self, rule: &str) -> bool {
        let failures = self.rules.get_mut(rule).map(std::mem::take);
        failures.is_some_and(|failures| failures >= PATIENCE)
    }

    /// Nothing is left to be looked at. `true`: there was something.
    pub fn done(&mut self, rule: &str) -> bool {
        self.rules.remove(rule).is_some()
    }

    /// Forgets the rules that are no more.
    pub fn keep_rules(&mut self, exists: impl Fn(&str) -> bool) {
        self.rules.retain(|rule, _| exists(rule));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_the_third_failure_is_for_people() {
        let mut pending = Pending::default();
        let rule: Arc<str> = "apps".into();
        assert!(pending.note(&rule));
        assert!(!pending.note(&rule));
        let failed: Vec<_> = (0..4).map(|_| pending.failed(&rule)).collect();
        let seconds = Duration::from_secs;
        let expected =
            [(seconds(5), false), (seconds(10), false), (seconds(20), true), (seconds(40), false)];
        assert_eq!(failed, expected);
        for _ in 0..100 {
            assert!(pending.failed(&rule).0 <= BACKOFF.longest);
        }
        assert!(pending.recovered(&rule), "people were told");
        assert!(!pending.recovered(&rule));
        assert_eq!(pending.failed(&rule), (seconds(5), false), "counted anew");
        assert!(pending.done(&rule));
        assert!(!pending.done(&rule));
        assert!(pending.note(&rule));
        pending.keep_rules(|_| false);
        assert!(!pending.done(&rule));
    }
}
