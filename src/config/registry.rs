//! The settings of one registry.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

/// How to reach a registry and who to be there. The default is what a public registry needs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RegistryConfig {
    /// Given if and only if `password` is.
    pub username: Option<String>,
    pub password: Option<SecretSource>,
    pub insecure: Insecure,
    /// PEM, trusted in addition to the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM; given if and only if `client_key` is.
    pub client_cert: Option<PathBuf>,
    pub client_key: Option<PathBuf>,
    /// Most requests at a time.
    pub parallel: Option<NonZeroU32>,
    /// Positive and finite; may be below 1.
    pub requests_per_second: Option<f64>,
    /// Without a byte moving in either direction; not zero.
    pub idle_timeout: Option<Duration>,
    /// Hosts (`host[:port]`, lower case; `http://` before it where https is not meant) besides the
    /// registry's own that may get its credentials as its token service.
    pub auth_realms: Vec<String>,
}

/// Which protection is given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Insecure {
    #[default]
    No,
    /// No TLS at all.
    Http,
    /// TLS with any certificate.
    NoVerify,
}

/// Where a secret comes from. It is read when it is needed, not with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// An environment variable, set when the configuration was read.
    Env(String),
    /// A file, there when the configuration was read; absolute.
    File(PathBuf),
    /// A program and its arguments; it prints the secret.
    Command(Vec<String>),
}
