//! HTTP servers.
//!
//! - `api`: the daemon's metrics, health and API.
//! - `layouts`: layouts served as a registry. `pages`: requests of web pages, which both refuse.
//! - `serve`: connections for both. `connection_limit`: which of them is closed for a new one.

pub mod api;
mod connection_limit;
mod layouts;
mod pages;
mod serve;

pub use layouts::{Observer, Options, RequestLine, registry};
pub use serve::{Bounds, serve};
