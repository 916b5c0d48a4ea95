//! What can go wrong with a repository: a kind to decide by, and words for the person who must act.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::oci::Digest;
use crate::oci::manifest::ManifestError;
use crate::redact;

pub type Result<T> = std::result::Result<T, Error>;

/// Hints to which a command may add the options that it has.
pub mod hints {
    pub const UNTRUSTED: &str = "set ca_file for this registry, or put the authority into its certs.d folder (docs/credentials.md)";
    pub const NO_TLS: &str = "if the registry has no TLS, set insecure = \"http\" for it";
}

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

/// What an error means. Decisions are made by this alone: only `registry/` knows which statuses
/// and error codes lead to it (`registry/classify.rs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// What was asked for, or the repository, is not there.
    Missing,
    /// A manifest names a blob or a manifest that the repository lacks.
    MissingParts,
    /// The credentials are known, but lack the right.
    Denied,
    /// The registry wants credentials, and there are none.
    Unauthenticated,
    /// The registry or its token server does not accept the credentials.
    WrongCredentials,
    /// The repository does not offer this operation, or has it switched off.
    Unsupported,
    /// The repository deletes manifests by digest, but not single tags.
    DigestOnly,
    /// The request was found invalid, for any reason: another form of it may be accepted.
    Invalid,
    /// The request was understood, but documents or contents of this sort are not accepted.
    Unwanted,
    /// The document is not one that can be copied.
    Malformed,
    /// The tag must not be changed.
    Immutable,
    /// Something refers to it, or it is locked.
    InUse,
    /// The manifest can be deleted once its tags are deleted.
    Tagged,
    /// The repository is in a state that does not allow the operation.
    Conflict,
    /// A policy of the registry forbids it, such as one about vulnerabilities.
    Policy,
    /// Too many requests.
    Throttled,
    NoSpace,
    TooLarge,
    /// The registry refused for a reason that has no kind of its own.
    Refused,
    /// The registry failed, and may work again later.
    Unavailable,
    /// The registry failed at this very request, and may always do so: what it stores may be damaged.
    InternalError,
    /// The server's certificate is not trusted.
    UntrustedCertificate,
    /// The server's certificate is for another host.
    CertificateName,
    /// The server's certificate has expired, or is not valid yet.
    CertificateDate,
    /// The server wants a client certificate, or another one.
    ClientCertificate,
    /// A file of authorities, of a client certificate or of its key cannot be used.
    CertificateFile,
    /// The server does not speak TLS.
    NotTls,
    /// The server speaks TLS, and was spoken to without.
    NeedsTls,
    /// The proxy on the way cannot be used.
    Proxy,
    /// Whatever answers there is no registry.
    NotARegistry,
    /// No connection can be made: nothing listens there, or there is no way to it.
    Unreachable,
    /// The server ended the connection without an answer. Some do so without a client certificate.
    Closed,
    /// There is no host of this name.
    NameResolution,
    /// Any other failure of the network.
    Connection,
    TimedOut,
    /// The bytes received are not the ones that were asked for.
    Corrupt,
    /// The answer breaks the protocol.
    Protocol,
    /// Somebody else has changed it.
    Changed,
    Credentials,
    /// The configuration of the registry names something that is not there.
    Configuration,
    Io,
    Interrupted,
}

impl ErrorKind {
    /// Whether it would be the same for everything else in the registry.
    pub fn is_of_registry(self) -> bool {
        self.is_hopeless()
            || matches!(
                self,
                Self::Unreachable
                    | Self::Proxy
                    | Self::NotARegistry
                    | Self::Unauthenticated
                    | Self::WrongCredentials
            )
    }

    /// Whether trying again cannot help: somebody has to change something first.
    pub fn is_hopeless(self) -> bool {
        matches!(
            self,
            Self::UntrustedCertificate
                | Self::CertificateName
                | Self::CertificateDate
                | Self::ClientCertificate
                | Self::CertificateFile
                | Self::NotTls
                | Self::NeedsTls
                | Self::NameResolution
                | Self::Configuration
        )
    }

    /// Whether the operation may have been carried out in spite of the error: the answer was lost,
    /// or the server failed while it worked.
    pub fn is_uncertain(self) -> bool {
        !matches!(
            self,
            Self::MissingParts
                | Self::Denied
                | Self::Unauthenticated
                | Self::WrongCredentials
                | Self::Unsupported
                | Self::DigestOnly
                | Self::Invalid
                | Self::Unwanted
                | Self::Immutable
                | Self::InUse
                | Self::Tagged
                | Self::Conflict
                | Self::Policy
                | Self::Throttled
                | Self::TooLarge
                | Self::Refused
                | Self::Configuration
        )
    }
}

/// Why an operation failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// The registry answered, and the answer was no. `status` and `message`, which are the
    /// registry's own words with its error codes, are for people: `kind` is what they mean.
    #[error("the registry answered {status}{}", words(.message))]
    Refused { kind: ErrorKind, status: String, message: String },
    /// No answer, or a broken one: connection, TLS, name resolution, truncation.
    #[error("{message}")]
    Transport { kind: ErrorKind, message: String },
    /// Nothing came for longer than the time-out allows.
    #[error("no progress for {}", humantime::format_duration(*.0))]
    TimedOut(Duration),
    /// What came is not what was asked for: wrong digest, wrong length.
    #[error("{0}")]
    Corrupt(String),
    /// The answer breaks the protocol, or a bound on what it may hold.
    #[error("{0}")]
    Protocol(String),
    /// The answer has more bytes than were to be read.
    #[error("the answer is larger than {0} bytes")]
    LargerThan(usize),
    /// The document cannot be copied.
    #[error("{0}")]
    Manifest(#[from] ManifestError),
    /// It should be there and is not.
    #[error("it is not there")]
    Missing,
    /// The same for an image, where nothing more is known.
    #[error(
        "image not found: the repository or the tag does not exist, or is hidden from these credentials"
    )]
    NoImage,
    #[error("there is no such repository")]
    NoRepository,
    #[error("the repository has no such tag")]
    NoTag,
    #[error("the repository has no manifest with this digest")]
    NoManifest,
    /// A blob that the manifest names is not in the repository.
    #[error("its blob {0} is not there")]
    MissingPart(Digest),
    /// Credentials could not be had: a helper failed, a variable is not set, a realm is refused.
    #[error("{message}")]
    Credentials { kind: ErrorKind, message: String },
    /// What the configuration of the registry names is not there.
    #[error("{0}")]
    Configuration(String),
    /// A file operation failed.
    #[error("{0}")]
    Io(String),
    /// This repository, or tranship, cannot do that.
    #[error("{0}")]
    Unsupported(String),
    /// A tag cannot be deleted by itself; with the registry's answer.
    #[error(
        "this registry deletes by digest only, which takes every tag with that digest along ({0})"
    )]
    DigestOnly(String),
    /// It has changed since it was last looked at. `found`: what it is now, if anything.
    #[error("it was changed by another client in the meantime: {}", now(.found.as_ref()))]
    Changed { found: Option<Digest> },
    /// The place answers nothing for now, and other targets of the image went on without it. It is
    /// served afterwards.
    #[error("it does not respond")]
    LeftBehind,
    /// The run was stopped.
    #[error("interrupted")]
    Interrupted,
}

impl Cause {
    /// The network failed.
    pub fn connection(message: impl Into<String>) -> Self {
        Self::Transport { kind: ErrorKind::Connection, message: message.into() }
    }

    /// Credentials cannot be had or used.
    pub fn credentials(message: impl Into<String>) -> Self {
        Self::Credentials { kind: ErrorKind::Credentials, message: message.into() }
    }

    /// A file of certificates or keys cannot be used.
    pub fn certificate_file(message: impl Into<String>) -> Self {
        Self::Credentials { kind: ErrorKind::CertificateFile, message: message.into() }
    }

    /// Words that may be a stranger's.
    fn words_mut(&mut self) -> Vec<&mut String> {
        match self {
            Self::Manifest(ManifestError::Contradiction { header, body }) => vec![header, body],
            Self::Manifest(ManifestError::MediaType(words) | ManifestError::Json(words))
            | Self::Refused { message: words, .. }
            | Self::Transport { message: words, .. }
            | Self::Corrupt(words)
            | Self::Protocol(words)
            | Self::Credentials { message: words, .. }
            | Self::Configuration(words)
            | Self::Io(words)
            | Self::Unsupported(words)
            | Self::DigestOnly(words) => vec![words],
            Self::TimedOut(_)
            | Self::LargerThan(_)
            | Self::Manifest(_)
            | Self::Missing
            | Self::NoImage
            | Self::NoRepository
            | Self::NoTag
            | Self::NoManifest
            | Self::MissingPart(_)
            | Self::Changed { .. }
            | Self::LeftBehind
            | Self::Interrupted => Vec::new(),
        }
    }

    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused { kind, .. }
            | Self::Transport { kind, .. }
            | Self::Credentials { kind, .. } => *kind,
            Self::TimedOut(_) => ErrorKind::TimedOut,
            Self::Corrupt(_) => ErrorKind::Corrupt,
            Self::Protocol(_) | Self::LargerThan(_) => ErrorKind::Protocol,
            Self::Manifest(_) => ErrorKind::Malformed,
            Self::Missing | Self::NoImage | Self::NoRepository | Self::NoTag | Self::NoManifest => {
                ErrorKind::Missing
            }
            Self::MissingPart(_) => ErrorKind::MissingParts,
            Self::Configuration(_) => ErrorKind::Configuration,
            Self::Io(_) => ErrorKind::Io,
            Self::Unsupported(_) => ErrorKind::Unsupported,
            Self::DigestOnly(_) => ErrorKind::DigestOnly,
            Self::Changed { .. } => ErrorKind::Changed,
            Self::LeftBehind => ErrorKind::TimedOut,
            Self::Interrupted => ErrorKind::Interrupted,
        }
    }
}

fn now(found: Option<&Digest>) -> String {
    found.map_or_else(|| "it is gone".to_owned(), |digest| format!("it is {digest} now"))
}

fn words(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

impl Error {
    /// Secrets in use are hidden: there may be strangers' words in the subject and the cause.
    pub fn new(step: &'static str, subject: impl Into<String>, mut cause: Cause) -> Self {
        let mut subject = subject.into();
        cause.words_mut().into_iter().chain([&mut subject]).for_each(|words| {
            if let Cow::Owned(hidden) = redact::hide(words) {
                *words = hidden;
            }
        });
        Self(Arc::new(Inner { step, subject, cause, attempts: 1 }))
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

    pub fn kind(&self) -> ErrorKind {
        self.0.cause.kind()
    }

    /// The registry, if everything else in it fails for the same reason.
    pub fn registry(&self) -> Option<&str> {
        let host = self.0.subject.split_once('/').map_or(&*self.0.subject, |(host, _)| host);
        self.kind().is_of_registry().then_some(host)
    }

    /// What to do about it, where that can be said.
    pub fn hint(&self) -> Option<&'static str> {
        let is_answer = matches!(self.0.cause, Cause::Refused { .. });
        match self.kind() {
            ErrorKind::Immutable => Some(
                "the registry does not allow this tag to be changed: exclude it, or set on_conflict = \"keep\"",
            ),
            ErrorKind::Unauthenticated => {
                Some("log in with `tranship login`, or set username and password for this registry")
            }
            ErrorKind::WrongCredentials => Some(
                "the user name or the password is wrong, or has expired: correct it where the message says it comes from",
            ),
            ErrorKind::Denied => Some(
                "check the permissions of these credentials, and the name: some registries answer so for what is not there",
            ),
            ErrorKind::Missing if is_answer => Some(
                "check the name; some registries want the repository or project to be created first",
            ),
            ErrorKind::Unsupported if is_answer => {
                Some("the registry has this operation switched off")
            }
            ErrorKind::TooLarge => Some("a proxy or the registry limits the size of requests"),
            ErrorKind::Throttled => {
                Some("the registry limits requests: log in, or set requests_per_second for it")
            }
            ErrorKind::NoSpace => {
                Some("free space in the storage of the registry, or raise its quota")
            }
            ErrorKind::ClientCertificate | ErrorKind::Closed => Some(
                "if this registry asks for client certificates, set client_cert and client_key for it",
            ),
            ErrorKind::UntrustedCertificate => Some(hints::UNTRUSTED),
            ErrorKind::CertificateName => Some(
                "use a name that the certificate has, or have a certificate issued for this one",
            ),
            ErrorKind::CertificateDate => Some(
                "check the clock of this machine; if it is right, renew the certificate of the server",
            ),
            ErrorKind::CertificateFile => Some(
                "`tranship config check` checks these files of all registries; docs/credentials.md says where they are looked for",
            ),
            ErrorKind::NotTls => Some(hints::NO_TLS),
            ErrorKind::NeedsTls => {
                Some("leave out insecure = \"http\" or --insecure http for this registry")
            }
            ErrorKind::NameResolution => {
                Some("check the name of the registry, and the DNS servers of this machine")
            }
            ErrorKind::Unreachable => Some(
                "check the host and the port, and that the registry runs and can be reached from this machine",
            ),
            ErrorKind::Proxy => Some(
                "correct the proxy, or exclude the registry from it with NO_PROXY (docs/operations.md)",
            ),
            ErrorKind::NotARegistry => Some(
                "check the host and the port: a web server, a login page of the network or a proxy has answered",
            ),
            ErrorKind::Policy => Some(
                "the policy is set in the registry, such as one about vulnerabilities or signatures: change it there, or exclude the image",
            ),
            ErrorKind::Missing if matches!(self.0.cause, Cause::NoTag) => {
                Some("`tranship list-tags REPOSITORY` shows the tags that are there")
            }
            ErrorKind::Missing if matches!(self.0.cause, Cause::NoRepository) => {
                Some("check the name, and that these credentials may see the repository")
            }
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    /// One line: what servers, images and archives say in it is inert.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { step, subject, cause, attempts } = &*self.0;
        let text = format!("failed to {step} {subject}: {cause}");
        f.write_str(&crate::text::inert(&text))?;
        if *attempts > 1 {
            write!(f, " (tried {attempts} times)")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
