//! What a cleanup policy would delete in one repository, and why.
//!
//! `(snapshot, policy, in use, now)` → [`Plan`] is a pure decision: no clock, no randomness, no I/O
//! (which only `gather`, `repositories` and `in_use` do, to have something to decide about); the same
//! input gives the same plan, in whatever order it was gathered. docs/cleanup.md says what the
//! decisions mean to people.
//!
//! - [`snapshot`] is one repository as data, made by a [`Builder`]; what is not known for sure
//!   makes it incomplete, and nothing is deleted.
//! - [`gather()`] reads a repository into a snapshot. [`repositories()`]: which ones a rule is about.
//! - [`in_use`]: what runs somewhere, read from where the configuration says.
//! - `clock`: how old a manifest is. `rank`: what is newest. `select`: what a rule matches.
//! - `owners`: what belongs to what. `live`: what goes when its owners go.
//! - `decide`: a verdict for every tag and manifest. [`plan()`]: limits, order and bytes.
//! - [`document`] is the plan as JSON, `explain` the reasons for one tag or manifest.

mod apply;
pub mod audit;
mod builder;
mod cleaner;
mod clock;
mod decide;
pub mod document;
mod drift;
mod expire;
mod explain;
mod gather;
pub mod in_use;
mod lists;
mod live;
mod owners;
pub mod plan;
mod quarantine;
mod rank;
mod recover;
mod removal;
pub mod report;
mod repositories;
pub mod restore;
mod select;
mod setback;
mod site;
pub mod snapshot;
#[cfg(test)]
mod tests;
mod untag;
mod usage;

pub use audit::{Actor, Audit};
pub use builder::{Builder, Found};
pub use cleaner::{Cleaner, CleanupSpec};
pub use decide::{Blocker, Blockers, Fate, ManifestVerdict, TagFate, TagVerdict};
pub use explain::{Explanation, explain};
pub use gather::Gathering;
pub use plan::{InUse, Plan, Refusal, Step, plan};
pub use removal::{Removal, these_tags};
pub use report::{CleanupReport, Outcome, Planned, RepositoryReport, StepReport, Verdict};
pub use repositories::{Place, Selected, repositories, resolved};
pub use snapshot::{Abilities, Incomplete, Node, Snapshot, Untag};
pub use usage::Sources;
