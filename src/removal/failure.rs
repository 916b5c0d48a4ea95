//! What it means that a deletion failed, for this step and for those that follow. Pure.

use super::step::StepOutcome;
use crate::repository::{Error, ErrorKind};

/// So many failures in a row mean that it is not about single images.
pub(super) const MOST_IN_A_ROW: usize = 3;

/// A step that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StepFailure {
    pub outcome: StepOutcome,
    pub reason: String,
    /// The next step would fail for the same reason.
    pub is_general: bool,
}

impl StepFailure {
    pub fn of(error: &Error) -> Self {
        let reason = match error.hint() {
            Some(hint) => format!("{}; {hint}", error.cause()),
            None => error.cause().to_string(),
        };
        let (outcome, is_general) = match error.kind() {
            kind if kind == ErrorKind::Unsupported || kind.is_of_registry() => {
                (StepOutcome::Failed, true)
            }
            // A reason of the registry's own, which will be the same the next time.
            ErrorKind::Invalid
            | ErrorKind::Conflict
            | ErrorKind::Policy
            | ErrorKind::InUse
            | ErrorKind::Tagged
            | ErrorKind::Immutable => (StepOutcome::Refused, false),
            _ => (StepOutcome::Failed, false),
        };
        Self { outcome, reason, is_general }
    }

    /// A failure that is no answer of a registry.
    pub fn failed(reason: impl Into<String>) -> Self {
        Self { outcome: StepOutcome::Failed, reason: reason.into(), is_general: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::Cause;

    #[test]
    fn answers_are_told_apart() {
        let refused = |kind| {
            let (status, message) = ("418 I'm a teapot".to_owned(), "DENIED: no".to_owned());
            let cause = Cause::Refused { kind, status, message };
            StepFailure::of(&Error::new("delete", "r/a@sha256:…", cause))
        };
        for (kind, outcome, is_general) in [
            (ErrorKind::Unsupported, StepOutcome::Failed, true),
            (ErrorKind::Unauthenticated, StepOutcome::Failed, true),
            (ErrorKind::WrongCredentials, StepOutcome::Failed, true),
            (ErrorKind::DigestOnly, StepOutcome::Failed, false),
            (ErrorKind::Denied, StepOutcome::Failed, false),
            (ErrorKind::Conflict, StepOutcome::Refused, false),
            (ErrorKind::Policy, StepOutcome::Refused, false),
            (ErrorKind::InUse, StepOutcome::Refused, false),
            (ErrorKind::Invalid, StepOutcome::Refused, false),
            (ErrorKind::Unavailable, StepOutcome::Failed, false),
            (ErrorKind::Throttled, StepOutcome::Failed, false),
        ] {
            let found = refused(kind);
            assert_eq!((found.outcome, found.is_general), (outcome, is_general), "{kind:?}");
            assert!(found.reason.contains("DENIED: no"), "{found:?}");
        }
        let cut = Error::new("delete", "r/a", Cause::connection("reset"));
        assert_eq!(StepFailure::of(&cut).outcome, StepOutcome::Failed);
    }
}
