//! Which kinds of rules there are.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The kind of a rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RuleKind {
    /// `[[sync]]`. Records from before cleanup existed do not name a kind.
    #[default]
    Sync,
    /// `[[cleanup]]`
    Cleanup,
}
