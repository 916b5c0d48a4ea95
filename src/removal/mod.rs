//! Deletes safely what a plan asks for: the layer below `sync` and `cleanup`.
//!
//! Plans come in as data ([`Step`]) and reports go out as data ([`StepReport`]). Nothing in here
//! decides what should go; that is the planner's job, which is asked again before each stretch of
//! steps ([`Recheck`]). Each step is written to the [`audit`] before it is requested. What could not
//! be deleted keeps what belongs to it, so whatever happens, what is left is as whole as it was.
//!
//! - `step`: what is to be deleted, and what became of it.
//! - `execute`: carries steps out one after the other. `observation`: on the strength of what.
//! - `delete`: deletes a manifest. `untag`: takes a tag from a manifest that stays, after `probe` has
//!   tried that on a manifest that nobody needs.
//! - `failure`: what it means for the next steps that one failed.
//! - [`audit`]: what is written down, before and after. `recover`: settles what an earlier process
//!   was cut off in.
//! - `tags`: deletions of chosen tags on behalf of sync rules and quarantines.

pub mod audit;
mod delete;
mod execute;
mod failure;
mod observation;
mod probe;
mod recover;
mod step;
mod tags;
mod untag;

pub use audit::{Actor, Audit};
pub use execute::{Checked, Executed, KeepCopies, Order, Recheck, Rechecked, execute, stretch_of};
pub use observation::Observed;
pub use recover::recover;
pub use step::{Clock, Step, StepAction, StepOutcome, StepReport};
pub use tags::{RemoveTags, RemovedTags, TagRemoval};
