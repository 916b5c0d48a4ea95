//! What can go wrong on the way in, told to the person who must act. Never shows a secret.

use std::path::PathBuf;

/// Why a request cannot be authorized.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// The registry sends us to a token server that must not get what it would be sent.
    #[error(
        "{registry} wants tokens to be fetched from {realm}: {reason}; if that is right, add \"{origin}\" to auth_realms of this registry"
    )]
    Realm { registry: String, realm: String, reason: &'static str, origin: String },
    /// The token server knows the credentials and says no, or does not know them.
    #[error("the token server {server} refused {}: {status}{}", who(.anonymous), words(.message))]
    Refused { server: String, status: u16, message: String, anonymous: bool },
    /// Too many refusals in a row: asking on would get the address banned (GitLab: 15 minutes).
    #[error(
        "the credentials for {registry} were refused {refusals} times in a row and are not tried again for {minutes} minutes, to stay clear of a ban"
    )]
    HeldBack { registry: String, refusals: u32, minutes: u64 },
    /// The token server cannot be talked to, or what it says makes no sense.
    #[error("the token server {server} {problem}")]
    TokenServer { server: String, problem: String },
    #[error(
        "{registry} wants a user name and a password, but the credentials for it are an identity token: log in with `tranship login`"
    )]
    IdentityToken { registry: String },
    #[error("the environment variable {name} is not set")]
    Variable { name: String },
    #[error("the environment variable {name} is not valid UTF-8")]
    VariableEncoding { name: String },
    #[error("the secret file {} {problem}", path.display())]
    SecretFile { path: PathBuf, problem: String },
    #[error("the command `{program}`, which gives the password for {whose}, {problem}")]
    Command { program: String, whose: String, problem: String },
    #[error("the credential helper `{helper}` {problem} (asked for {registry})")]
    Helper { helper: String, registry: String, problem: String },
    #[error(
        "`{0}` is not the name of a credential helper: expected letters, digits, `.`, `_` and dashes"
    )]
    HelperName(String),
    #[error("the auth file {} {problem}", path.display())]
    AuthFile { path: PathBuf, problem: String },
}

impl AuthError {
    /// Whether a token server refused who we are or what we want: asking again is no use.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::HeldBack { .. })
    }
}

fn who(anonymous: &bool) -> &'static str {
    if *anonymous { "to give a token without credentials" } else { "the credentials" }
}

fn words(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}
