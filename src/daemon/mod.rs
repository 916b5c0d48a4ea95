//! The daemon: runs the rules when their time has come and when registries tell of pushes.

pub mod agenda;
pub mod concern;
pub mod inbox;
pub mod wanted;
