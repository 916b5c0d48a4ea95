//! A deletion that did not work: what that means for it, and for those that are to follow. Pure.

use http::StatusCode;

use super::super::report::Outcome;
use crate::repository::Error;

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
        let (outcome, is_general) = match error.status() {
            // 405 is also what is answered where deletion is switched off.
            Some(StatusCode::METHOD_NOT_ALLOWED | StatusCode::UNAUTHORIZED) => {
                (Outcome::Failed, true)
            }
            // Referenced, locked, immutable, too often pulled: a reason of the registry's own,
            // which will be the same the next time.
            Some(
                StatusCode::BAD_REQUEST
                | StatusCode::CONFLICT
                | StatusCode::PRECONDITION_FAILED
                | StatusCode::UNPROCESSABLE_ENTITY
                | StatusCode::LOCKED,
            ) => (Outcome::Refused, false),
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
        let refused = |status: u16| {
            let status = StatusCode::from_u16(status).unwrap();
            let cause =
                Cause::Refused { status, codes: Vec::new(), message: "DENIED: no".to_owned() };
            Setback::of(&Error::new("delete", "r/a@sha256:…", cause))
        };
        for (status, outcome, is_general) in [
            (405, Outcome::Failed, true),
            (401, Outcome::Failed, true),
            (403, Outcome::Failed, false),
            (409, Outcome::Refused, false),
            (412, Outcome::Refused, false),
            (400, Outcome::Refused, false),
            (500, Outcome::Failed, false),
            (429, Outcome::Failed, false),
        ] {
            let found = refused(status);
            assert_eq!((found.outcome, found.is_general), (outcome, is_general), "{status}");
            assert!(found.reason.contains("DENIED: no"), "{found:?}");
        }
        let cut = Error::new("delete", "r/a", Cause::Transport("reset".to_owned()));
        assert_eq!(Setback::of(&cut).outcome, Outcome::Failed);
    }
}
