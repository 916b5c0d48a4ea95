//! A request as data: which operation, on what, for whom.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, header};
use url::Url;

use super::answer::Answer;
use super::auth::Scope;
use super::dialect::Dialect;
use super::operation::Operation;
use super::pauses;
use super::window::Kind;
use crate::fair::Flow;
use crate::oci::{Digest, RepositoryName};
use crate::repository::{Cause, Error, Reference, Traffic};

/// How much of an error's body is read.
pub(super) const MAX_ERROR_BODY: usize = 64 << 10;

/// What a request is about, for messages.
#[derive(Clone, Copy)]
pub(super) enum What<'a> {
    Name(&'a str),
    Manifest(&'a str, &'a Reference),
    Blob(&'a str, &'a Digest),
}

impl fmt::Display for What<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Manifest(name, reference) => write!(f, "{name}{}", reference.suffix()),
            Self::Blob(name, digest) => write!(f, "{name}@{digest}"),
        }
    }
}

/// One request, sent as often as it takes. Made by `Origin::request`.
#[derive(Clone)]
pub(super) struct Call<'a> {
    pub operation: Operation,
    pub what: What<'a>,
    pub method: Method,
    pub url: Url,
    pub scope: &'a Scope,
    /// Whose turn it takes.
    pub flow: Flow,
    /// How its answers are read.
    pub dialect: &'static dyn Dialect,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// At most so many bytes of a good answer's body are read.
    pub limit: usize,
    /// How long its answer may take, where that is more than the idle time-out.
    pub patience: Option<Duration>,
    /// The body of an upload may end before all of it was sent, so its length is not announced.
    pub open_ended: bool,
    /// An internal server error is the answer to what is sent: it would come again.
    pub error_is_final: bool,
}

impl Call<'_> {
    pub fn header(mut self, name: header::HeaderName, value: header::HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    pub fn error(&self, cause: Cause) -> Error {
        Error::new(self.operation.step(), self.what.to_string(), cause)
    }

    /// What an answer that is no success means.
    pub fn refusal(&self, answer: &Answer) -> Cause {
        answer.refusal(self.operation, self.dialect)
    }

    pub fn refused(&self, answer: &Answer) -> Error {
        self.error(self.refusal(answer))
    }

    pub fn traffic(&self) -> Traffic {
        match self.method {
            Method::GET | Method::HEAD => Traffic::Read,
            _ => Traffic::Write,
        }
    }

    /// What it counts as where the registry asks for long waits.
    pub fn pause_kind(&self) -> pauses::Kind {
        match self.method {
            Method::HEAD => pauses::Kind::Look,
            Method::GET => pauses::Kind::Read,
            _ => pauses::Kind::Write,
        }
    }

    /// The repository that it is about; empty: none.
    pub fn repository(&self) -> &str {
        self.scope.repository.as_ref().map_or("", RepositoryName::as_str)
    }

    pub fn latency_class(&self) -> Kind {
        match self.method {
            Method::HEAD => Kind::Probe,
            Method::GET => Kind::Read,
            Method::POST | Method::DELETE => Kind::Start,
            _ => Kind::Write,
        }
    }
}
