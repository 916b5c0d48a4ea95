//! The rules of the configuration, run at their times.
//!
//! - `agenda`: which rule is due when; pure.

pub mod agenda;
