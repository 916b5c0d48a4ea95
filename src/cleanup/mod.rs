//! What a cleanup policy deletes: planned, explained, and deleted so that whatever is left is as
//! whole as it was. docs/cleanup.md says what the decisions mean to people.
//!
//! - [`mod@plan`] decides: `(snapshot, policy, in use, now)` → [`Plan`], without any I/O.
//! - `gather` reads a repository into a snapshot; `observe`: with what is in use of it.
//!   [`repositories()`]: which ones a rule is about. `asked`: one image about which it is asked.
//! - [`in_use`]: what runs somewhere, read from where the configuration says; `usage`: while a rule
//!   runs.
//! - [`Cleaner`] plans and deletes for a rule (`spec`), by way of [`removal`](crate::removal), which
//!   has the plan rechecked again and again (`recheck`). `tag_removal`: the same for chosen tags.
//! - `quarantine`: copies of what is deleted; [`restore`] brings them back.
//! - `upkeep`: what is due besides, such as the end of these copies. [`report`]: what was done, as
//!   JSON. `progress`: how far a run has come.

mod asked;
mod cleaner;
mod copying;
mod gather;
pub mod in_use;
mod observe;
pub mod plan;
mod progress;
mod quarantine;
mod recheck;
pub mod report;
mod repositories;
pub mod restore;
mod spec;
mod tag_removal;
#[cfg(test)]
mod tests;
mod upkeep;
mod usage;

pub use asked::Asked;
pub use cleaner::{Cleaner, warn_of_idle_keep};
pub use gather::Gathering;
pub use plan::{
    Abilities, Blocker, Blockers, Builder, Explanation, Fate, InUse, Incomplete, ManifestVerdict,
    Node, Plan, Planned, PlannedStep, Refusal, Snapshot, TagFate, TagVerdict, Untag, explain, plan,
};
pub use progress::{Cleaned, CleanupProgress};
pub use report::{CleanupReport, RepositoryReport, Restorable};
pub use repositories::{Selected, repositories, resolved};
pub use spec::CleanupSpec;
pub use tag_removal::TagRemover;
pub use usage::Sources;
