//! Whether people are told of a run. Pure: the state knows what they were told already.

use super::AlertKind;
use crate::history::Outcome;
use crate::state::{Mark, Told};

/// What people should be told when a run of a rule ended like this. `previous` is the rule's mark;
/// its `told` is what reached them. So what did not reach anybody is said again after the next run.
pub fn decide(previous: Option<&Mark>, outcome: Outcome) -> Option<AlertKind> {
    let told = previous.map_or(Told::Works, |mark| mark.told);
    let (now, news) = match outcome {
        Outcome::Failed => (Told::Fails, AlertKind::Failure),
        Outcome::Limited => (Told::HeldBack, AlertKind::Safety),
        Outcome::Succeeded => (Told::Works, AlertKind::Recovery),
        // A run that was stopped says nothing about the rule.
        Outcome::Running | Outcome::Interrupted => return None,
    };
    (now != told).then_some(news)
}

/// What people know of a rule once this has reached them.
pub fn told(kind: AlertKind) -> Told {
    match kind {
        AlertKind::Failure => Told::Fails,
        AlertKind::Safety => Told::HeldBack,
        AlertKind::Recovery => Told::Works,
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
            Outcome::Limited,
            Outcome::Interrupted,
        ])
    }

    proptest! {
        /// Whatever happens and gets lost, people never hear the same twice, nor that something
        /// works before they heard that it does not; and the last word they heard is true as soon
        /// as something arrives.
        #[test]
        fn nothing_is_told_twice_and_the_last_word_is_true(runs in prop::collection::vec((outcome(), any::<bool>()), 0..40)) {
            let mut mark = Mark::default();
            let mut told = Vec::new();
            for (outcome, arrives) in runs {
                if let Some(kind) = decide(Some(&mark), outcome) && arrives {
                    mark.told = super::told(kind);
                    told.push(kind);
                }
                if arrives && outcome == Outcome::Failed {
                    prop_assert_eq!(told.last(), Some(&AlertKind::Failure));
                }
                if arrives && outcome == Outcome::Limited {
                    prop_assert_eq!(told.last(), Some(&AlertKind::Safety));
                }
                if arrives && outcome == Outcome::Succeeded {
                    prop_assert!(matches!(told.last(), None | Some(&AlertKind::Recovery)));
                }
            }
            prop_assert_ne!(told.first(), Some(&AlertKind::Recovery));
            prop_assert!(told.windows(2).all(|pair| pair[0] != pair[1]), "{:?}", told);
        }
    }

    #[test]
    fn a_rule_that_was_never_run_and_works_is_no_news() {
        assert_eq!(decide(None, Outcome::Succeeded), None);
        assert_eq!(decide(None, Outcome::Failed), Some(AlertKind::Failure));
        assert_eq!(decide(None, Outcome::Limited), Some(AlertKind::Safety));
    }
}
