//! Why a request cannot be authorized, told to the person who must act. Never shows a secret.

use std::path::PathBuf;

use crate::repository::{Cause, ErrorKind};
use crate::secret::SecretError;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// The registry sends us to a token server that must not get what it would be sent.
    #[error(
        "{registry} wants tokens to be fetched from {realm}: {reason}; if that is right, add \"{origin}\" to auth_realms of this registry"
    )]
    Realm { registry: String, realm: String, reason: &'static str, origin: String },
    /// The token server knows the credentials and says no, or does not know them.
    /// `login`: the credentials; `None`: there were none.
    #[error("the token server {server} refused {}: {status}{}", who(.login.as_deref()), words(.message))]
    Refused { server: String, status: u16, message: String, login: Option<String> },
    /// The registry accepts the credentials for nothing.
    #[error("{registry} refuses the credentials ({login})")]
    Wrong { registry: String, login: String },
    /// Too many refusals in a row: asking on would get the address banned (GitLab: 15 minutes).
    #[error(
        "the credentials for {registry} ({login}) were refused {refusals} times in a row and are not tried again for {minutes} minutes, to stay clear of a ban"
    )]
    HeldBack { registry: String, login: String, refusals: u32, minutes: u64 },
    /// The token server cannot be reached, or its answer makes no sense.
    #[error("the token server {server} {problem}")]
    TokenServer { server: String, problem: String, kind: ErrorKind },
    #[error(
        "{registry} wants a user name and a password, but the credentials for it are an identity token: log in with `tranship login`"
    )]
    IdentityToken { registry: String },
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("the credential helper `{helper}` {problem} (for {registry})")]
    Helper { helper: String, registry: String, problem: String },
    #[error(
        "`{0}` is not the name of a credential helper: expected letters, digits, `.`, `_` and dashes"
    )]
    HelperName(String),
    #[error("the auth file {} {problem}", path.display())]
    AuthFile { path: PathBuf, problem: String },
}

impl AuthError {
    /// Whether a token server refused the credentials or the scope: asking again is no use.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::HeldBack { .. } | Self::Wrong { .. })
    }

    /// The same as an error of a repository.
    pub fn cause(&self) -> Cause {
        let kind = match self {
            Self::Refused { login: None, .. } => ErrorKind::Unauthenticated,
            Self::Refused { status: 401, .. } | Self::HeldBack { .. } | Self::Wrong { .. } => {
                ErrorKind::WrongCredentials
            }
            Self::TokenServer { kind, .. } => *kind,
            Self::Refused { .. } => ErrorKind::Denied,
            _ => ErrorKind::Credentials,
        };
        Cause::Credentials { kind, message: self.to_string() }
    }

    /// Whether the token server does not accept these credentials, but might accept others.
    pub(super) fn may_differ_for_others(&self) -> bool {
        matches!(
            self,
            Self::Refused { status: 401, .. }
                | Self::Refused { status: 403, login: None, .. }
                | Self::HeldBack { .. }
                | Self::Wrong { .. }
        )
    }
}

fn who(login: Option<&str>) -> String {
    match login {
        None => "to give a token without credentials".to_owned(),
        Some(login) => format!("the credentials ({login})"),
    }
}

fn words(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}
