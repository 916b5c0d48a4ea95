//! The composition root: one configuration made ready, and its rules carried out.
//!
//! The command line and the daemon build the same [`Engine`] and run rules through it, so that a
//! run is recorded, audited and kept from others in the same way whoever started it.
//!
//! - `engine`: registries, syncer and cleaner of one configuration. `carry_out`: one run of a rule.
//! - `rule`: a rule of either kind. `runner`: what the tests of the scheduler replace.
//! - `clock`: the time of day.

mod carry_out;
mod clock;
mod engine;
mod rule;
mod runner;

pub use carry_out::{CleanupOptions, Run, SyncOptions, Synced};
pub use clock::{Clock, System};
pub use engine::{Engine, Resources};
pub use rule::Rule;
pub use runner::{RealRunner, Runner};
