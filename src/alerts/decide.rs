//! Whether people are told about a run. Pure: the caller knows what they were told before.

use crate::config::AlertKind;
use crate::history::RunOutcome;
use crate::state::{Announced, RuleMark};

/// What people should be told when a run of a rule ended like this. `previous` is the rule's mark;
/// its `announced` is what reached them. So what did not reach anybody is said again after the next run.
pub fn decide(previous: Option<&RuleMark>, outcome: RunOutcome) -> Option<AlertKind> {
    let announced = previous.map_or(Announced::Works, |mark| mark.announced);
    let news = match outcome {
        RunOutcome::Failed => AlertKind::Failure,
        RunOutcome::Limited => AlertKind::Safety,
        RunOutcome::Succeeded => AlertKind::Recovery,
        // A run that was stopped says nothing about the rule.
        RunOutcome::Running | RunOutcome::Interrupted => return None,
    };
    (told(news) != announced).then_some(news)
}

/// What people know of a rule once this has reached them.
pub fn told(kind: AlertKind) -> Announced {
    match kind {
        AlertKind::Failure => Announced::Fails,
        AlertKind::Safety => Announced::HeldBack,
        AlertKind::Recovery => Announced::Works,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn outcome() -> impl Strategy<Value = RunOutcome> {
        prop::sample::select(vec![
            RunOutcome::Running,
            RunOutcome::Succeeded,
            RunOutcome::Failed,
            RunOutcome::Limited,
            RunOutcome::Interrupted,
        ])
    }

    proptest! {
        /// Whatever happens and gets lost, people never hear the same twice, nor that something
        /// works before they heard that it does not; and the last word they heard is true as soon
        /// as something arrives.
        #[test]
        fn no_alert_repeats_and_the_last_one_is_true(runs in prop::collection::vec((outcome(), any::<bool>()), 0..40)) {
            let mut mark = RuleMark::default();
            let mut told = Vec::new();
            for (outcome, arrives) in runs {
                if let Some(kind) = decide(Some(&mark), outcome) && arrives {
                    mark.announced = super::told(kind);
                    told.push(kind);
                }
                if arrives && outcome == RunOutcome::Failed {
                    prop_assert_eq!(told.last(), Some(&AlertKind::Failure));
                }
                if arrives && outcome == RunOutcome::Limited {
                    prop_assert_eq!(told.last(), Some(&AlertKind::Safety));
                }
                if arrives && outcome == RunOutcome::Succeeded {
                    prop_assert!(matches!(told.last(), None | Some(&AlertKind::Recovery)));
                }
            }
            prop_assert_ne!(told.first(), Some(&AlertKind::Recovery));
            prop_assert!(told.windows(2).all(|pair| pair[0] != pair[1]), "{:?}", told);
        }
    }

    #[test]
    fn a_first_success_is_not_announced() {
        assert_eq!(decide(None, RunOutcome::Succeeded), None);
        assert_eq!(decide(None, RunOutcome::Failed), Some(AlertKind::Failure));
        assert_eq!(decide(None, RunOutcome::Limited), Some(AlertKind::Safety));
    }
}
