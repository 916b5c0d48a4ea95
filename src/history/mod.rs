//! What each run did, kept in the state directory for as long as there is room.
//!
//! A run is begun, tells of its images, and ends; each of these is a line of a log
//! (`state::jsonl`). What was begun by a process that is gone, and never ended, was interrupted.
//! Nothing in here makes a run fail or wait for a disk: what cannot be written is counted, and the
//! log says so once.
//!
//! - `record`: a run as data; `cleaned`: what it is of a cleanup rule. `run_id`: its name.
//!   `line`: how that is written.
//! - `writer`: the one process that writes. `reader`: everybody else, while it does.
//!   `readers`: how many of them at once.

mod cleaned;
mod line;
mod reader;
mod readers;
mod record;
mod run_id;
#[cfg(test)]
mod tests;
mod writer;

pub use cleaned::{Cleaned, Refused, Steps};
pub use reader::{Filter, Read, read_last_runs, read_run, read_runs};
pub use record::{Begun, Cause, Outcome, RunRecord};
pub use run_id::{RunId, RunIdError};
pub use writer::{Health, History};
