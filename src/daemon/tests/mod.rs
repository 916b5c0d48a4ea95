//! The daemon's life in tokio's paused time: no network, no waiting, years in moments.

mod cleanup;
mod requests;
mod runs;
mod schedules;
mod world;
