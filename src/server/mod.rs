//! HTTP servers.
//!
//! - `api`: the daemon's metrics, health and API.
//! - `layouts`: layouts served as a registry.
//! - `serve`: connections, from the first to the last, for both.

pub mod api;
mod layouts;
mod serve;

pub use layouts::{Observer, Options, RequestLine, registry};
pub use serve::{Bounds, serve};
