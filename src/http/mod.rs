//! HTTP without registries: what every client and every retry in this program has in common.
//!
//! - `backoff`: how long to wait after repeated failures.
//! - `retry`: whether a failed request is tried again, and when.
//!
//! Inside this crate `http::` is the extern crate of that name; this module is `crate::http`.

pub mod backoff;
pub mod retry;

pub use backoff::Backoff;
pub use retry::RetryPolicy;
