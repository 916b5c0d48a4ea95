//! Where a secret comes from. Never the secret itself.

use std::path::PathBuf;

/// Where a secret is to be read when it is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// An environment variable.
    Env(String),
    /// A file; a newline at its end is not part of the secret.
    File(PathBuf),
    /// A program and its arguments, run without a shell; the first line it prints.
    Command(Vec<String>),
}
