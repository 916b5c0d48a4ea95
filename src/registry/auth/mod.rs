//! How a registry is told who is asking.
//!
//! - `authenticator`: the `Authorization` header of each request; `learned`: how the registry
//!   wants to be asked, as its answers told.
//! - `challenge`: reads `WWW-Authenticate`.
//! - `scope`: what a request needs to be allowed to do, and how that is written.
//! - `realm`: which token servers may be trusted with credentials.
//! - `token`: one conversation with a token server; `cache`: its results, each asked for once.
//! - `credentials`: who we are at a registry; from the configuration, or from
//!   `docker_config` files and their `helper` programs.
//! - `secret`: reads a configured secret.
//! - `environment`: the variables that all this looks at.
//!
//! Secrets are kept in `secrecy` types and never shown, neither by `Debug` nor in errors.

pub mod authenticator;
mod cache;
pub mod challenge;
pub mod credentials;
pub mod docker_config;
pub mod environment;
pub mod error;
mod helper;
mod learned;
pub mod realm;
pub mod scope;
mod secret;
mod token;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

pub use authenticator::{Authenticator, Authorization};
pub use credentials::{Credential, CredentialSource, CredentialStore, ExplicitCredential};
pub use environment::Environment;
pub use error::AuthError;
pub use scope::{Access, Scope};
pub use secret::read_secret;

/// A clock that never goes backwards: `Arc::new(Instant::now)` outside tests.
pub type Clock = Arc<dyn Fn() -> Instant + Send + Sync>;
