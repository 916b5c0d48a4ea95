//! Authentication at registries and token servers.
//!
//! - `authenticator`: the `Authorization` header of each request; `api`: of those to a product's API;
//!   `learned`: which authentication scheme and which scopes the registry wants, as its answers have
//!   shown.
//! - `challenge`: reads `WWW-Authenticate`.
//! - `scope`: what a request must be allowed to do, and how that is written.
//! - `realm`: which token servers may be trusted with credentials.
//! - `token`: one exchange with a token server; `token_cache`: its results, each fetched once.
//! - `credentials`: finds the `credential` for a registry, in the configuration, in
//!   `docker_config` files, and with their `helper` programs.
//!
//! Secrets are kept in `secrecy` types and never shown, neither by `Debug` nor in errors.

mod api;
mod authenticator;
pub mod challenge;
mod clock;
mod credential;
mod credentials;
pub mod docker_config;
mod error;
mod helper;
mod learned;
mod realm;
mod scope;
#[cfg(test)]
mod tests;
mod token;
mod token_cache;

pub use api::Authentication;
pub use authenticator::{Authenticator, Authorization, Parts};
pub use credential::{Credential, Given};
pub use credentials::{CredentialStore, ExplicitCredential};
pub use error::AuthError;
pub use realm::is_listed;
pub use scope::{Access, Scope};
