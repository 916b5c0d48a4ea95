//! Plans as a whole: the invariants over generated repositories, and the stories of what went
//! wrong elsewhere.

mod generate;
mod invariants;
mod stories;
mod world;
