//! A deletion that did not work: what that means for it, and for those that are to follow. Pure.

use super::super::report::Outcome;
use crate::repository::{Error, ErrorKind};

/// So many setbacks in a row mean that it is not about single images.
pub(in crate::cleanup) const MOST_IN_A_ROW: usize = 3;

/// A deletion that did not work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cleanup) struct Setback {
    pub outcome: Outcome,
    pub reason: String,
    /// The next one would fare the same.
    pub is_general: bool,
}

impl Setback {
    pub fn of(error: &Error) -> Self {
        let reason = match error.hint() {
            Some(hint) => format!("{}; {hint}", error.cause()),
            None => error.cause().to_string(),
        };
        let (outcome, is_general) = match error.kind() {
            ErrorKind::Unsupported | ErrorKind::Unauthenticated => (Outcome::Failed, true),
            // A reason of the registry's own, which will be the same the next time.
            ErrorKind::Invalid
            | ErrorKind::Conflict
            | ErrorKind::Policy
            | ErrorKind::InUse
            | ErrorKind::Tagged
            | ErrorKind::Immutable => (Outcome::Refused, false),
            _ => (Outcome::Failed, false),
        };
        Self { outcome, reason, is_general }
    }

    /// Something that is no answer of a registry.
    pub fn failed(reason: impl Into<String>) -> Self {
        Self { outcome: Outcome::Failed, reason: reason.into(), is_general: false }
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
            Setback::of(&Error::new("delete", "r/a@sha256:…", cause))
        };
        for (kind, outcome, is_general) in [
            (ErrorKind::Unsupported, Outcome::Failed, true),
            (ErrorKind::Unauthenticated, Outcome::Failed, true),
            (ErrorKind::DigestOnly, Outcome::Failed, false),
            (ErrorKind::Denied, Outcome::Failed, false),
            (ErrorKind::Conflict, Outcome::Refused, false),
            (ErrorKind::Policy, Outcome::Refused, false),
            (ErrorKind::InUse, Outcome::Refused, false),
            (ErrorKind::Invalid, Outcome::Refused, false),
            (ErrorKind::Unavailable, Outcome::Failed, false),
            (ErrorKind::Throttled, Outcome::Failed, false),
        ] {
            let found = refused(kind);
            assert_eq!((found.outcome, found.is_general), (outcome, is_general), "{kind:?}");
            assert!(found.reason.contains("DENIED: no"), "{found:?}");
        }
        let cut = Error::new("delete", "r/a", Cause::connection("reset"));
        assert_eq!(Setback::of(&cut).outcome, Outcome::Failed);
    }
}
