//! What can go wrong with a repository, told to the person who must act.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use crate::oci::Digest;

pub type Result<T> = std::result::Result<T, Error>;

/// A failed operation: what was done, to what, what came back, and how often it was tried.
///
/// Cheap to clone, because one failed transfer fails all that waited for it.
#[derive(Debug, Clone)]
pub struct Error(Arc<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    /// Fits after "failed to": `get manifest`, `upload blob`.
    step: &'static str,
    /// What it was done to: `ghcr.io/acme/app:1.0`, `ghcr.io/acme/app@sha256:…`.
    subject: String,
    cause: Cause,
    /// How often it was tried in all.
    attempts: u32,
}

/// Why an operation failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// The registry answered, and the answer was no. `message` is its own words, with codes.
    #[error("the registry answered {status}{}", words(.message))]
    Refused { status: StatusCode, codes: Vec<String>, message: String },
    /// No answer, or a broken one: connection, TLS, name resolution, truncation.
    #[error("{0}")]
    Transport(String),
    /// Nothing came for longer than the time-out allows.
    #[error("no progress for {}", humantime::format_duration(*.0))]
    TimedOut(Duration),
    /// What came is not what was asked for: wrong digest, wrong length.
    #[error("{0}")]
    Corrupt(String),
    /// The answer breaks the protocol, or a bound on its size.
    #[error("{0}")]
    Protocol(String),
    /// The document cannot be copied.
    #[error("{0}")]
    Manifest(#[from] crate::oci::manifest::ManifestError),
    /// It should be there and is not.
    #[error("it is not there")]
    Missing,
    /// Credentials could not be had: a helper failed, a variable is not set, a realm is refused.
    #[error("{0}")]
    Credentials(String),
    /// A file operation failed.
    #[error("{0}")]
    Io(String),
    /// This place cannot do that.
    #[error("{0}")]
    Unsupported(String),
    /// It is not what it was when it was looked at. `found`: what it is now, if anything.
    #[error("somebody else has changed it meanwhile: {}", now(.found.as_ref()))]
    Changed { found: Option<Digest> },
    /// The run was stopped.
    #[error("interrupted")]
    Interrupted,
}

fn now(found: Option<&Digest>) -> String {
    found.map_or_else(|| "it is gone".to_owned(), |digest| format!("it is {digest} now"))
}

fn words(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

impl Error {
    pub fn new(step: &'static str, subject: impl Into<String>, cause: Cause) -> Self {
        Self(Arc::new(Inner { step, subject: subject.into(), cause, attempts: 1 }))
    }

    /// The same error, after so many tries in all.
    pub fn after(mut self, attempts: u32) -> Self {
        Arc::make_mut(&mut self.0).attempts = attempts;
        self
    }

    pub fn step(&self) -> &'static str {
        self.0.step
    }

    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    pub fn cause(&self) -> &Cause {
        &self.0.cause
    }

    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// The status that the registry answered with, if it answered.
    pub fn status(&self) -> Option<StatusCode> {
        match &self.0.cause {
            Cause::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether the registry's answer has this error code.
    pub fn has_code(&self, wanted: &str) -> bool {
        matches!(&self.0.cause, Cause::Refused { codes, .. } if codes.iter().any(|code| code == wanted))
    }

    /// What to do about it, where that can be said.
    pub fn hint(&self) -> Option<&'static str> {
        match &self.0.cause {
            Cause::Refused { status, codes, .. } => match status.as_u16() {
                _ if codes.iter().any(|code| code == "TAG_IMMUTABLE") => Some(
                    "the target does not allow this tag to be changed: exclude it, or set on_conflict = \"keep\"",
                ),
                401 => Some(
                    "log in with `tranship login`, or set username and password for this registry",
                ),
                403 => Some("the credentials are valid but lack the right to do this"),
                404 => Some(
                    "check the name; some registries want the repository or project to be created first",
                ),
                405 => Some("the registry has this operation switched off"),
                413 => Some("a proxy or the registry limits the size of requests"),
                429 => {
                    Some("the registry limits requests: log in, or set requests_per_second for it")
                }
                507 => Some("the target has no space left"),
                _ => None,
            },
            Cause::Transport(message)
                if message.contains("CertificateRequired")
                    || message.contains("BadCertificate")
                    || message.contains("closed the connection without an answer") =>
            {
                Some(
                    "if this registry asks for client certificates, set client_cert and client_key for it",
                )
            }
            Cause::Transport(message) if message.contains("certificate") => Some(
                "set ca_file for this registry, or insecure = \"no-verify\" where that is acceptable",
            ),
            Cause::Transport(message)
                if message.contains("InvalidContentType")
                    || message.contains("corrupt message") =>
            {
                Some(
                    "the server does not speak TLS: set insecure = \"http\" for this registry, or --insecure http",
                )
            }
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { step, subject, cause, attempts } = &*self.0;
        write!(f, "failed to {step} {subject}: {cause}")?;
        if *attempts > 1 {
            write!(f, " (tried {attempts} times)")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
