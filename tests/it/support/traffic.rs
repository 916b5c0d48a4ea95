//! What went over the wire, in one form for every registry of the harness.

use std::fmt;
use std::time::Duration;

use http::HeaderMap;

/// What a request was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Ping,
    Manifest,
    Blob,
    /// Opening, feeding and closing of blob uploads, mounts among them.
    Upload,
    Tags,
    Referrers,
    Catalog,
    Other,
}

impl Kind {
    /// The kind that a request's path shows.
    pub fn of(path: &str) -> Self {
        if matches!(path, "/v2" | "/v2/") {
            return Self::Ping;
        }
        let parts = [
            ("/blobs/uploads/", Self::Upload),
            ("/blobs/", Self::Blob),
            ("/manifests/", Self::Manifest),
            ("/tags/list", Self::Tags),
            ("/referrers/", Self::Referrers),
            ("/_catalog", Self::Catalog),
        ];
        parts.iter().find(|(part, _)| path.contains(part)).map_or(Self::Other, |(_, kind)| *kind)
    }
}

/// One request as a registry saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    pub path: String,
    /// Without the question mark.
    pub query: String,
    pub kind: Kind,
    /// `None`: it was never answered.
    pub status: Option<u16>,
    /// Empty where only an access log tells of the request.
    pub headers: HeaderMap,
    /// Bytes of the request's body that arrived. 0 from an access log.
    pub body_length: u64,
    /// Bytes of the answer's body, as far as known.
    pub answer_length: u64,
    /// Since the registry was started. Zero from an access log.
    pub at: Duration,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// The requests of some span of time, in the order of their arrival (of their end, from an
/// access log).
#[derive(Debug, Clone, Default)]
pub struct Traffic(pub Vec<Seen>);

impl Traffic {
    /// How many requests had this method and kind.
    pub fn count(&self, method: &str, kind: Kind) -> usize {
        self.iter().filter(|seen| seen.method == method && seen.kind == kind).count()
    }

    /// How many requests had this method and kind and were answered with this status.
    pub fn count_status(&self, method: &str, kind: Kind, status: u16) -> usize {
        self.of(method, kind).filter(|seen| seen.status == Some(status)).count()
    }

    /// The requests with this method and kind.
    pub fn of<'a>(&'a self, method: &'a str, kind: Kind) -> impl Iterator<Item = &'a Seen> {
        self.iter().filter(move |seen| seen.method == method && seen.kind == kind)
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Seen> {
        self.0.iter()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes that clients sent in bodies.
    pub fn bytes_received(&self) -> u64 {
        self.iter().map(|seen| seen.body_length).sum()
    }

    /// Requests that changed, or tried to change, something.
    pub fn writes(&self) -> usize {
        self.iter().filter(|seen| !matches!(seen.method.as_str(), "GET" | "HEAD")).count()
    }
}

/// A table of counts, for the message of a failed assertion: `3 GET blob 200`.
impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut counts = std::collections::BTreeMap::new();
        for seen in self.iter() {
            *counts.entry((seen.kind, seen.method.as_str(), seen.status)).or_insert(0) += 1;
        }
        for ((kind, method, status), count) in counts {
            let status = status.map_or("unanswered".to_owned(), |status| status.to_string());
            writeln!(f, "{count} {method} {} {status}", format!("{kind:?}").to_lowercase())?;
        }
        Ok(())
    }
}
