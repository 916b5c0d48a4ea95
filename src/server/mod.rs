//! HTTP servers.
//!
//! - `api`: the daemon's metrics, health and API.
//! - `layouts`: layouts served as a registry.
//! - `serve`: connections, from the first to the last, for both. `crowd`: who of them is idle.

pub mod api;
mod crowd;
mod layouts;
mod serve;

pub use layouts::{Observer, Options, RequestLine, registry};
pub use serve::{Bounds, serve};
