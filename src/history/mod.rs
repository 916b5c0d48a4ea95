//! What each run did, kept in the state directory for as long as there is room.
//!
//! The start of a run, each of its images and its end are lines of a log (`state::jsonl`). A run
//! that was started by a process that is gone, and has no end, was interrupted. Nothing in here
//! makes a run fail or wait for a disk: lines that cannot be written are counted, and the program's
//! log says so once.
//!
//! - `record`: a run as data; `cleaned`: the part for cleanup rules. `bounds`: how much is kept of
//!   texts from outside. `run_id`: the name of a run. `line`: how all this is written.
//! - `writer`: writes, in one process. `reader`: reads, in any process and while it is written.
//!   `readers`: bounds how many read at once.

mod bounds;
mod cleaned;
mod line;
mod reader;
mod readers;
mod record;
mod run_id;
#[cfg(test)]
mod tests;
mod writer;

pub use cleaned::{CleanupSummary, RefusedRepository, StepCounts};
pub use reader::{Filter, RunList, read_last_runs, read_run, read_runs};
pub use record::{Cause, RunOutcome, RunRecord, RunStart};
pub use run_id::{RunId, RunIdError};
pub use writer::{Health, History};
