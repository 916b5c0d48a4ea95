//! Something that went wrong, as reports and the history store it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Error;

/// Something that went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// Fits after "failed to".
    pub step: String,
    pub subject: String,
    /// The registry's own words, where it answered.
    pub message: String,
    /// How many tries there were in all.
    pub attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The registry, if the failure is not about the subject alone: everything else in the registry
    /// fails in the same way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<Box<str>>,
}

impl Failure {
    pub fn new(step: &str, subject: &str, message: String) -> Self {
        Self {
            step: step.to_owned(),
            subject: subject.to_owned(),
            message,
            attempts: 1,
            hint: None,
            registry: None,
        }
    }

    pub fn of(error: &Error) -> Self {
        Self {
            step: error.step().to_owned(),
            subject: error.subject().to_owned(),
            message: error.cause().to_string(),
            attempts: error.attempts(),
            hint: error.hint().map(str::to_owned),
            registry: error.registry().map(Into::into),
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "failed to {} {}: {}", self.step, self.subject, self.message)?;
        if self.attempts > 1 {
            write!(f, " (tried {} times)", self.attempts)?;
        }
        Ok(())
    }
}
