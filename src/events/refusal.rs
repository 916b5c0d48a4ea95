//! Why a message of a registry is refused, for the operator who set it up.

use crate::oci::reference::ReferenceError;

/// Why a message is refused. The text says what was wrong and, where that helps, what to set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the body is not what {sender} sends: {problem}")]
    Shape { sender: &'static str, problem: String },
    #[error("the body has no `{field}`: {hint}")]
    Missing { field: &'static str, hint: &'static str },
    #[error("the message holds more than {} events", super::MAX_EVENTS)]
    TooMany,
    #[error("{sender} sends no messages of the kind `{kind}` about images: {hint}")]
    Kind { sender: &'static str, kind: String, hint: &'static str },
    #[error(transparent)]
    Name(ReferenceError),
}

impl Refusal {
    /// A kind of message that the registry should not be set up to send.
    pub(super) fn kind(sender: &'static str, kind: &str, hint: &'static str) -> Self {
        Self::Kind { sender, kind: shorten(kind), hint }
    }
}

/// What strangers wrote is quoted, but not pages of it.
pub(super) fn shorten(text: &str) -> String {
    crate::text::quote(text, 120)
}
