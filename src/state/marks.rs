//! Where each rule stands: the last slot of its schedule, its last runs, pending events, and what
//! people were last told about it.

use std::collections::HashSet;
use std::fmt::Debug;

use jiff::Timestamp;
use jiff::fmt::serde::timestamp::second;
use serde::{Deserialize, Serialize};

use super::codec;
use super::local::Local;

/// The first byte of the keys of marks.
pub(super) const KIND: u8 = b'M';

/// What is known of a rule. Times are kept in whole seconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleMark {
    /// The newest slot of the schedule that was handled, by a run or by being passed over.
    #[serde(with = "second::optional")]
    pub last_slot: Option<Timestamp>,
    /// When a run of any cause was last started.
    #[serde(with = "second::optional")]
    pub last_start: Option<Timestamp>,
    /// When a run last ended well.
    #[serde(with = "second::optional")]
    pub last_success: Option<Timestamp>,
    /// Runs that failed since then.
    pub consecutive_failures: u32,
    /// The last run of the whole rule has not come to its end.
    pub unfinished: bool,
    /// Events told of changes that no run has looked at with success yet.
    pub events_pending: bool,
    /// What people were last told about the rule.
    pub announced: Announced,
}

/// What people know about a rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Announced {
    /// That it works, or nothing: as long as it works, nothing is announced.
    #[default]
    Works,
    Fails,
    /// That a safety limit holds it back.
    HeldBack,
}

/// Where rules stand, by their names.
pub trait RuleMarks: Debug + Send + Sync {
    fn get(&self, rule: &str) -> Option<RuleMark>;

    /// Changes what is known of a rule, with nobody else's change in between. `change` may be
    /// called several times, with what is known at that time: only its last call counts.
    fn update(&self, rule: &str, change: &mut dyn FnMut(&mut RuleMark));

    /// Forgets all rules but these: the configuration does not have the others any more.
    fn keep_only(&self, rules: &[&str]);
}

impl RuleMarks for Local {
    fn get(&self, rule: &str) -> Option<RuleMark> {
        codec::decode(&self.store.get(&encode_key(rule))?)
    }

    fn update(&self, rule: &str, change: &mut dyn FnMut(&mut RuleMark)) {
        let _alone = self.updating();
        let mut mark = self.get(rule).unwrap_or_default();
        change(&mut mark);
        self.apply(vec![(encode_key(rule), Some(codec::encode(&mark)))]);
    }

    fn keep_only(&self, rules: &[&str]) {
        let _alone = self.updating();
        let kept: HashSet<_> = rules.iter().map(|rule| encode_key(rule)).collect();
        let is_gone = |key: &[u8], _: &[u8]| (!kept.contains(key)).then(|| (key.to_vec(), None));
        self.apply(self.store.scan(&[KIND], usize::MAX, is_gone));
    }
}

fn encode_key(rule: &str) -> Vec<u8> {
    codec::key(KIND, &rule)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn time() -> impl Strategy<Value = Option<Timestamp>> {
        prop::option::of(
            (-9_999_999..=253_402_207_200_i64).prop_map(|s| Timestamp::from_second(s).unwrap()),
        )
    }

    fn mark() -> impl Strategy<Value = RuleMark> {
        let times = (time(), time(), time());
        let announced = [Announced::Works, Announced::Fails, Announced::HeldBack];
        let announced = prop::sample::select(announced.to_vec());
        let all = (times, any::<u32>(), any::<[bool; 2]>(), announced);
        all.prop_map(|(times, failures, flags, announced)| RuleMark {
            last_slot: times.0,
            last_start: times.1,
            last_success: times.2,
            consecutive_failures: failures,
            unfinished: flags[0],
            events_pending: flags[1],
            announced,
        })
    }

    proptest! {
        #[test]
        fn marks_round_trip(mark in mark()) {
            prop_assert_eq!(codec::decode(&codec::encode(&mark)), Some(mark));
        }
    }

    #[test]
    fn marks_of_rules_that_are_gone_are_forgotten() {
        let dir = tempfile::TempDir::new().unwrap();
        for local in [Local::in_memory(), Local::open(dir.path()).unwrap()] {
            let marks: &dyn RuleMarks = &local;
            for rule in ["a", "b", "ab"] {
                marks.update(rule, &mut |mark| mark.consecutive_failures += 1);
                marks.update(rule, &mut |mark| mark.consecutive_failures += 1);
            }
            marks.update("b", &mut |mark| mark.announced = Announced::Fails);
            marks.keep_only(&["a", "b", "never"]);
            assert_eq!(marks.get("a").unwrap().consecutive_failures, 2);
            assert_eq!(marks.get("b").unwrap().announced, Announced::Fails);
            assert_eq!(marks.get("ab"), None);
            assert_eq!(marks.get("never"), None);
        }
    }
}
