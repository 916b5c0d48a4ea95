//! What a cleanup policy deletes: planned, explained, and carried out so that whatever is left is
//! as whole as it was. docs/cleanup.md says what the decisions mean to people.
//!
//! - [`mod@plan`] decides: `(snapshot, policy, in use, now)` → [`Plan`], without any I/O.
//! - `gather` reads a repository into a snapshot; `site`: which repository, and how it is looked
//!   at. [`repositories()`]: which ones a rule is about.
//! - [`in_use`]: what runs somewhere, read from where the configuration says; `usage`: while a rule
//!   runs.
//! - `apply` carries a plan out. [`audit`]: what is written down of that, before and after.
//! - `afterwards`: what a registry must do itself when it is over.
//! - `upkeep`: what is due besides.
//! - [`Cleaner`] does all of this for a rule, `removal` for who is no cleanup rule.
//! - [`restore`] brings back what a quarantine holds. [`report`]: what was done, as JSON.

mod afterwards;
mod apply;
pub mod audit;
mod cleaner;
mod copying;
mod gather;
pub mod in_use;
pub mod plan;
mod removal;
pub mod report;
mod repositories;
pub mod restore;
mod site;
#[cfg(test)]
mod tests;
mod upkeep;
mod usage;

pub use audit::{Actor, Audit};
pub use cleaner::{Cleaner, CleanupSpec};
pub use gather::Gathering;
pub use plan::{
    Abilities, Blocker, Blockers, Builder, Explanation, Fate, Found, InUse, Incomplete,
    ManifestVerdict, Node, Plan, Refusal, Snapshot, Step, TagFate, TagVerdict, Untag, explain,
    plan,
};
pub use removal::{Removal, Removed, these_tags};
pub use report::{CleanupReport, Outcome, Planned, RepositoryReport, StepReport, Verdict};
pub use repositories::{Place, Selected, repositories, resolved};
pub use usage::Sources;
