//! What came of rules of both kinds that one command carries out.

use super::args::Global;
use super::cleanup_printed::Ran;
use super::exit::{CliError, Exit};
use super::side_by_side::Came;
use super::signals::Stop;
use super::sync::Synced;
use super::{cleanup, sync};
use crate::history::RunId;

pub struct Both {
    pub synced: Vec<Synced>,
    pub cleaned: Vec<Ran>,
    /// Runs of the daemon that go on, with their rules.
    pub left: Vec<(String, RunId)>,
    /// The first error of the other rules.
    pub error: Option<CliError>,
}

impl Both {
    /// # Errors
    /// Nothing came of any rule.
    pub fn of(
        synced: Result<Came<Synced>, CliError>,
        cleaned: Result<Came<Ran>, CliError>,
    ) -> Result<Self, CliError> {
        let synced = synced.unwrap_or_else(Came::nothing);
        let cleaned = cleaned.unwrap_or_else(Came::nothing);
        let both = Self {
            synced: synced.done,
            cleaned: cleaned.done,
            left: synced.left.into_iter().chain(cleaned.left).collect(),
            error: synced.error.or(cleaned.error),
        };
        let is_nothing = both.synced.is_empty() && both.cleaned.is_empty() && both.left.is_empty();
        match both.error {
            Some(error) if is_nothing => Err(error),
            error => Ok(Self { error, ..both }),
        }
    }

    /// How the command ends, unless there is an error.
    pub fn exit(&self, signal: &Stop) -> Exit {
        if !self.left.is_empty() {
            return signal.exit();
        }
        sync::exit(&self.synced, signal).worse(cleanup::exit(&self.cleaned, signal))
    }

    /// Prints what was not printed while it happened.
    pub fn print(&self, signal: &Stop, global: &Global) -> Result<(), CliError> {
        sync::print_reports(&self.synced, signal, global)?;
        cleanup::print_rules(&self.cleaned, None, signal, global.quiet)
    }
}
