//! Credentials, and how they are written in a header.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

#[derive(Clone)]
pub enum Credential {
    Password {
        username: String,
        password: SecretString,
    },
    /// An identity token: for token servers only.
    RefreshToken(SecretString),
}

/// A credential, and where it comes from.
#[derive(Clone, Debug)]
pub struct Login {
    pub credential: Credential,
    /// For people: `the environment variable GHCR_TOKEN`, `/root/.docker/config.json`.
    pub origin: Arc<str>,
}

impl fmt::Display for Login {
    /// Whose credential it is and where it comes from, never the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.credential {
            Credential::Password { username, .. } => {
                write!(f, "user `{username}`, password from {}", self.origin)
            }
            Credential::RefreshToken(_) => write!(f, "identity token from {}", self.origin),
        }
    }
}

/// Whose credentials a registry gets, whatever the configuration and the auth files say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    /// Nobody's.
    Anonymous,
    Login(Credential),
    /// This bearer token with every request, and no token server is asked.
    Token(Credential),
}

impl Given {
    pub fn login(username: String, password: SecretString) -> Self {
        Self::Login(Credential::Password { username, password })
    }

    pub fn token(token: SecretString) -> Self {
        Self::Token(Credential::RefreshToken(token))
    }
}

impl Credential {
    /// The user name, which a refresh token lacks, and the secret.
    pub(super) fn parts(&self) -> (Option<&str>, &str) {
        match self {
            Self::Password { username, password } => (Some(username), password.expose_secret()),
            Self::RefreshToken(token) => (None, token.expose_secret()),
        }
    }
}

impl PartialEq for Credential {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for Credential {}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { username, .. } => write!(f, "Password({username}, [REDACTED])"),
            Self::RefreshToken(_) => f.write_str("RefreshToken([REDACTED])"),
        }
    }
}

/// The header of the Basic scheme (RFC 7617). It always exists: base64 is valid in a header.
pub(super) fn basic(username: &str, password: &SecretString) -> Option<HeaderValue> {
    let text = STANDARD.encode(format!("{username}:{}", password.expose_secret()));
    sensitive(&format!("Basic {text}"))
}

/// The header of the Bearer scheme (RFC 6750).
pub(super) fn bearer(token: &SecretString) -> Option<HeaderValue> {
    sensitive(&format!("Bearer {}", token.expose_secret()))
}

fn sensitive(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
pub(super) fn password(username: &str, password: &str) -> Credential {
    Credential::Password { username: username.to_owned(), password: password.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        let (login, token) = (password("u", "s3cret"), Credential::RefreshToken("s3cret".into()));
        let text = format!("{login:?} {token:?}");
        assert_eq!(text, "Password(u, [REDACTED]) RefreshToken([REDACTED])");
    }
}
