//! What runs of rules have in common, whatever the rules are about: how they are stopped, whose
//! turn it is to write to a repository, and what went wrong. `kind`: what rules can be about.

mod failure;
mod kind;
mod stop;
mod turns;

pub use failure::Failure;
pub use kind::RuleKind;
pub use stop::Stop;
pub use turns::{Held, Turns};
