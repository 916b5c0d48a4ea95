//! What runs of rules have in common, whatever the rules are about: how they are stopped, whose
//! turn it is to write to a repository, and what went wrong.

mod failure;
mod stop;
mod turns;

pub use failure::Failure;
pub use stop::Stop;
pub use turns::{Held, Turns};
