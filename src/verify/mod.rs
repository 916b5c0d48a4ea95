//! Compares source and target down to every blob, and copies again what is missing or different.
//!
//! - `verifier`: the entrance: rules side by side. `pairs`: what is compared.
//! - `compare`: one image: its root, everything below it, everything that refers to it.
//! - `checks`: one manifest or blob at the target. `memo`: each is checked once.
//! - `repair`: copies one image again, without trusting what the state notes of it.
//! - `report`: what was found, for people and for programs.

mod checks;
mod compare;
mod memo;
mod pairs;
mod repair;
mod report;
mod verifier;

pub use pairs::{Item, Part, RepositoryPair, Task, Withheld};
pub use repair::Repairer;
pub use report::{
    Checked, Counts, ImageOutcome, ImageReport, Problem, ProblemKind, Repair, VerifyReport,
};
pub use verifier::{Progressed, Verifier};
