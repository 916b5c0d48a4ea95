//! HTTP for everything: what the clients of registries, token servers, webhooks, collectors of
//! traces and the daemon's own API have in common.
//!
//! - `client`: how every HTTP client is set up; `error`: what an error of one says.
//! - `proxy`: which requests go through a proxy.
//! - `body`: reads an answer's body, never more of it than a limit.
//! - `send`: sends a request of which only success or failure matters.
//! - `retry`: whether a failed request is tried again, and when; `backoff`: the waits in between.
//! - `address`: which addresses belong to private networks.
//!
//! Inside this crate `http::` is the extern crate of that name; this module is `crate::http`.

pub mod address;
mod backoff;
pub mod body;
pub mod client;
pub mod error;
pub mod proxy;
pub mod retry;
pub mod send;

pub use backoff::Backoff;
pub use error::describe;
pub use retry::RetryPolicy;
