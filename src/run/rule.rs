//! A rule of either kind, as a configuration has it.

use crate::config::{CleanupRule, RuleKind, SyncRule};
use crate::schedule::Timing;

/// A rule that can be run.
#[derive(Debug, Clone, Copy)]
pub enum Rule<'a> {
    Sync(&'a SyncRule),
    Cleanup(&'a CleanupRule),
}

impl<'a> Rule<'a> {
    pub fn name(self) -> &'a str {
        match self {
            Self::Sync(rule) => &rule.name,
            Self::Cleanup(rule) => &rule.name,
        }
    }

    /// When it runs; `None`: only on request.
    pub fn timing(self) -> Option<&'a Timing> {
        match self {
            Self::Sync(rule) => rule.timing.as_ref(),
            Self::Cleanup(rule) => rule.timing.as_ref(),
        }
    }

    pub fn kind(self) -> RuleKind {
        match self {
            Self::Sync(_) => RuleKind::Sync,
            Self::Cleanup(_) => RuleKind::Cleanup,
        }
    }
}
