//! Whether people are told of a run. Pure: the state knows what they were told already.

use super::AlertKind;
use crate::history::Outcome;
use crate::state::Mark;

/// What people should be told when a run of a rule ended like this. `previous` is the rule's mark;
/// its `alerted` is set once they were told that the rule fails, and cleared once they were told
/// that it works again. So what did not reach anybody is said again after the next run.
pub fn decide(previous: Option<&Mark>, outcome: Outcome) -> Option<AlertKind> {
    let alerted = previous.is_some_and(|mark| mark.alerted);
    match outcome {
        Outcome::Failed if !alerted => Some(AlertKind::Failure),
        Outcome::Succeeded if alerted => Some(AlertKind::Recovery),
        // A run that was stopped says nothing about the rule.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn outcome() -> impl Strategy<Value = Outcome> {
        prop::sample::select(vec![
            Outcome::Running,
            Outcome::Succeeded,
            Outcome::Failed,
            Outcome::Interrupted,
        ])
    }

    proptest! {
        /// Whatever happens and gets lost, people hear of failure and recovery in turns, and the
        /// last word they heard is true as soon as something arrives.
        #[test]
        fn failure_and_recovery_take_turns(runs in prop::collection::vec((outcome(), any::<bool>()), 0..40)) {
            let mut mark = Mark::default();
            let mut told = Vec::new();
            for (outcome, arrives) in runs {
                if let Some(kind) = decide(Some(&mark), outcome) && arrives {
                    mark.alerted = kind == AlertKind::Failure;
                    told.push(kind);
                }
                if arrives && outcome == Outcome::Failed {
                    prop_assert_eq!(told.last(), Some(&AlertKind::Failure));
                }
                if arrives && outcome == Outcome::Succeeded {
                    prop_assert_ne!(told.last(), Some(&AlertKind::Failure));
                }
            }
            let expected = [AlertKind::Failure, AlertKind::Recovery].into_iter().cycle();
            prop_assert!(told.iter().copied().eq(expected.take(told.len())));
        }
    }

    #[test]
    fn a_rule_that_was_never_run_and_works_is_no_news() {
        assert_eq!(decide(None, Outcome::Succeeded), None);
        assert_eq!(decide(None, Outcome::Failed), Some(AlertKind::Failure));
    }
}
