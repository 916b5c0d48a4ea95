//! Plans as a whole: the invariants over generated repositories, and the stories of what went
//! wrong elsewhere.

mod applying;
mod changed_policies;
mod gathering;
mod generate;
mod invariants;
mod plans;
mod registry;
mod rules;
mod stories;
mod world;
