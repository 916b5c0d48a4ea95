//! What a rule is about.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The kind of a rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RuleKind {
    /// `[[sync]]`. What was written before there were others does not say its kind.
    #[default]
    Sync,
    /// `[[cleanup]]`
    Cleanup,
}

impl RuleKind {
    /// As it is written in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Cleanup => "cleanup",
        }
    }
}
