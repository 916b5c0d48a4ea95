//! What is asked of one run of a cleanup rule.

use jiff::Timestamp;

use super::plan::Plan;
use super::progress::CleanupProgress;
use crate::config::CleanupRule;
use crate::config::cleanup::Mode;
use crate::fair::{Flow, Pulse};
use crate::oci::Address;
use crate::removal::Actor;
use crate::stop::StopSignal;

/// One run of one rule: what is asked of it, and how it is stopped and watched.
#[derive(Clone, Copy)]
pub struct CleanupSpec<'a> {
    pub rule: &'a CleanupRule,
    /// Whether anything is deleted. The caller sees to it that this is no more than the rule itself
    /// allows.
    pub mode: Mode,
    /// Whether a person has asked for it here and now, who can look at the plan before.
    pub attended: bool,
    /// The only repository that the run is about; `None`: all of them.
    pub only: Option<&'a Address>,
    pub stop: &'a StopSignal,
    pub flow: Flow,
    /// How far it has come, for observers.
    pub progress: &'a CleanupProgress,
    /// Signs of life go here.
    pub pulse: &'a Pulse,
    /// Who asked for it, and in which run: for the audit.
    pub actor: &'a Actor,
    /// The time that ages are reckoned from.
    pub now: Timestamp,
    /// Sees the plan of each repository before anything is deleted.
    pub watch: &'a (dyn Fn(&Plan<'_>) + Sync),
}
