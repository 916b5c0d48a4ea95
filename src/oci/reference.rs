//! Names: registry hosts, repositories, tags, and the references people type.
//!
//! The grammar is distribution-spec's ("Pulling manifests") and, for hosts and defaults, the one
//! of docker's `distribution/reference`.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use super::digest::{Digest, DigestError};
use super::{read_from_text, shown_as_text};

/// `host[:port]` of a registry, lower case, with `docker.io` for all of Docker Hub's names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct RegistryHost(String);

/// The path of a repository within its registry, like `library/alpine`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct RepositoryName(String);

/// A tag: at most 128 of `[A-Za-z0-9_.-]`, not starting with a dot or a dash.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Tag(String);

read_from_text!(RepositoryName, Tag);

/// Why a text is not a reference. Each message says what is wrong in one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    #[error("the reference is empty")]
    Empty,
    #[error("`{0}` is not a registry host: expected `host` or `host:port`")]
    Host(String),
    #[error("`{0}` names a registry and no repository: write `{0}/REPOSITORY`")]
    OnlyHost(String),
    #[error("`{0}` is not a repository name: it is empty")]
    NoRepository(String),
    #[error("`{0}` is not a repository name: upper-case letters are not allowed")]
    Uppercase(String),
    #[error(
        "`{0}` is not a repository name: expected parts of `a-z0-9` joined by `/`, `.`, `_`, `__` or dashes"
    )]
    Repository(String),
    #[error("`{0}` is longer than the 255 characters that registries accept")]
    TooLong(String),
    #[error(
        "`{0}` is not a tag: expected at most 128 of `A-Za-z0-9_.-`, not starting with `.` or `-`"
    )]
    Tag(String),
    #[error(transparent)]
    Digest(#[from] DigestError),
    #[error(
        "`{0}` is not supported: use a registry reference, `oci:DIR[:TAG]` or `oci-archive:FILE[:TAG]`"
    )]
    Transport(String),
    #[error("`{transport}` is not supported: use {instead}")]
    OtherTransport { transport: &'static str, instead: &'static str },
    #[error("`{0}:` needs a path, as in `{0}:DIR[:TAG]`")]
    NoPath(&'static str),
}

const DOCKER_HUB: &str = "docker.io";

impl RegistryHost {
    /// Whether this is Docker Hub, whose API lives on another host.
    pub fn is_docker_hub(&self) -> bool {
        self.0 == DOCKER_HUB
    }

    /// The host without its port.
    pub fn name(&self) -> &str {
        match self.0.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => &self.0,
        }
    }
}

impl FromStr for RegistryHost {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let error = || ReferenceError::Host(shorten(text));
        let port = if let Some(v6) = text.strip_prefix('[') {
            let (address, rest) = v6.split_once(']').ok_or_else(error)?;
            address.parse::<std::net::Ipv6Addr>().map_err(|_| error())?;
            match rest.strip_prefix(':') {
                None if !rest.is_empty() => return Err(error()),
                port => port,
            }
        } else {
            let (name, port) = match text.split_once(':') {
                Some((name, port)) => (name, Some(port)),
                None => (text, None),
            };
            let label = |label: &str| {
                !label.is_empty()
                    && !label.starts_with('-')
                    && !label.ends_with('-')
                    && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            };
            if !name.split('.').all(label) {
                return Err(error());
            }
            port
        };
        let is_port =
            |port: &str| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok();
        if !port.is_none_or(is_port) {
            return Err(error());
        }
        if text.len() > 255 {
            return Err(ReferenceError::TooLong(shorten(text)));
        }
        let lower = text.to_ascii_lowercase();
        let hub = ["index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"];
        Ok(Self(if hub.contains(&lower.as_str()) { DOCKER_HUB.to_owned() } else { lower }))
    }
}

impl RepositoryName {
    /// For names that are made, not parsed: the caller knows that the text is valid.
    pub(crate) fn from_valid(text: &str) -> Self {
        debug_assert!(text.parse::<Self>().is_ok(), "{text}");
        Self(text.to_owned())
    }
}

impl FromStr for RepositoryName {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.is_empty() {
            return Err(ReferenceError::NoRepository(String::new()));
        }
        if text.len() > 255 {
            return Err(ReferenceError::TooLong(shorten(text)));
        }
        if text.split('/').all(is_path_component) {
            Ok(Self(text.to_owned()))
        } else if text.bytes().any(|b| b.is_ascii_uppercase()) {
            Err(ReferenceError::Uppercase(shorten(text)))
        } else {
            Err(ReferenceError::Repository(shorten(text)))
        }
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_path_component(text: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends = (bytes.first(), bytes.last());
    if !matches!(ends, (Some(&first), Some(&last)) if alphanumeric(first) && alphanumeric(last)) {
        return false;
    }
    bytes.split(|&b| alphanumeric(b)).all(|separator| {
        matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|&b| b == b'-')
    })
}

impl Tag {
    /// What is meant where docker's habit leaves the tag out.
    pub fn latest() -> Self {
        Self("latest".to_owned())
    }

    /// For tags that are made, not parsed: the caller knows that the text is valid.
    pub(crate) fn from_valid(text: String) -> Self {
        debug_assert!(text.parse::<Self>().is_ok(), "{text}");
        Self(text)
    }
}

impl FromStr for Tag {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let valid = text.len() <= 128
            && text.bytes().next().is_some_and(word)
            && text.bytes().all(|b| word(b) || b == b'.' || b == b'-');
        if valid { Ok(Self(text.to_owned())) } else { Err(ReferenceError::Tag(shorten(text))) }
    }
}

/// Error messages quote input, but not pages of it.
fn shorten(text: &str) -> String {
    crate::text::quote(text, 120)
}

shown_as_text!(RegistryHost.0, RepositoryName.0, Tag.0);

/// An image, or a whole repository, in a registry: `host[:port]/repository[:tag][@digest]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageReference {
    pub registry: RegistryHost,
    pub repository: RepositoryName,
    pub tag: Option<Tag>,
    pub digest: Option<Digest>,
}

impl FromStr for ImageReference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let text = text.strip_prefix("docker://").unwrap_or(text);
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        if let Some((transport, _)) = text.split_once("://") {
            return Err(ReferenceError::Transport(format!("{}://", shorten(transport))));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse()?)),
            None => (text, None),
        };
        // A colon behind the last slash starts a tag; one before it, a port.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag.parse()?)),
            _ => (rest, None),
        };
        let (registry, path) = split_host(name);
        if registry.is_none() && !path.contains('/') && is_host(path) {
            return Err(ReferenceError::OnlyHost(shorten(rest)));
        }
        let registry: RegistryHost = registry.unwrap_or(DOCKER_HUB).parse()?;
        if path.is_empty() {
            return Err(ReferenceError::NoRepository(shorten(text)));
        }
        let repository: RepositoryName = if registry.is_docker_hub() && !path.contains('/') {
            format!("library/{path}").parse()?
        } else {
            path.parse()?
        };
        if registry.as_str().len() + 1 + repository.as_str().len() > 255 {
            return Err(ReferenceError::TooLong(shorten(text)));
        }
        Ok(Self { registry, repository, tag, digest })
    }
}

/// Splits `host/path` as docker does: the first part is a host if it could not be a name.
pub fn split_host(name: &str) -> (Option<&str>, &str) {
    match name.split_once('/') {
        Some((host, path)) if is_host(host) => (Some(host), path),
        _ => (None, name),
    }
}

/// Whether the first part of a name is a host.
fn is_host(part: &str) -> bool {
    part.contains(['.', ':', '[']) || part == "localhost"
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        write_image(f, self.tag.as_ref(), self.digest.as_ref())
    }
}

/// What stands behind the name of a repository to name an image: `[:tag][@digest]`.
pub(super) fn write_image(
    f: &mut fmt::Formatter<'_>,
    tag: Option<&Tag>,
    digest: Option<&Digest>,
) -> fmt::Result {
    if let Some(tag) = tag {
        write!(f, ":{tag}")?;
    }
    digest.map_or(Ok(()), |digest| write!(f, "@{digest}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::assert_refused;
    use proptest::prelude::*;

    #[test]
    fn references_get_dockers_defaults() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let cases = [
            ("alpine", "docker.io/library/alpine"),
            ("alpine:3.20", "docker.io/library/alpine:3.20"),
            ("grafana/grafana", "docker.io/grafana/grafana"),
            ("docker://index.docker.io/alpine", "docker.io/library/alpine"),
            ("registry-1.docker.io/library/alpine", "docker.io/library/alpine"),
            ("localhost/app", "localhost/app"),
            ("localhost:5000/app:1", "localhost:5000/app:1"),
            ("GHCR.io/acme/app", "ghcr.io/acme/app"),
            ("[::1]:5000/app", "[::1]:5000/app"),
            ("127.0.0.1:5000/a/b__c/d-.-e:X", ""),
            ("127.0.0.1:5000/a/b__c/d--e:X", "127.0.0.1:5000/a/b__c/d--e:X"),
            (&format!("ghcr.io/a/b:1@{digest}"), &format!("ghcr.io/a/b:1@{digest}")),
        ];
        for (text, expected) in cases {
            let parsed = text.parse::<ImageReference>();
            assert_eq!(parsed.map(|r| r.to_string()).unwrap_or_default(), expected, "{text}");
        }
    }

    /// Every malformed form has one line of its own that says what is wrong.
    #[test]
    fn malformed_references_say_what_is_wrong() {
        let long = "a".repeat(300);
        assert_refused::<ImageReference>(&[
            ("", "the reference is empty"),
            ("docker://", "the reference is empty"),
            ("ghcr.io/", "is empty"),
            ("registry.example.com:5000", "names a registry and no repository"),
            ("ghcr.io", "write `ghcr.io/REPOSITORY`"),
            ("localhost:5000", "names a registry and no repository"),
            ("ghcr.io/Acme/app", "upper-case"),
            ("Acme/app", "upper-case"),
            ("ghcr.io/acme//app", "not a repository name"),
            ("ghcr.io/acme/-app", "not a repository name"),
            ("ghcr.io/acme/app_", "not a repository name"),
            ("ghcr.io/acme/app:", "not a tag"),
            ("ghcr.io/acme/app:.x", "not a tag"),
            ("ghcr.io/acme/app:a b", "not a tag"),
            ("ghcr.io/acme/app@", "not a digest"),
            ("ghcr.io/acme/app@sha256:abc", "not a digest"),
            ("ghcr.io/acme/app@md5:abc", "not supported"),
            ("ghcr.io:port/acme/app", "not a registry host"),
            ("ghcr.io:99999/acme/app", "not a registry host"),
            ("-x.io/acme/app", "not a registry host"),
            ("[::1/app", "not a registry host"),
            ("https://ghcr.io/acme/app", "not supported"),
            (&format!("ghcr.io/{long}"), "longer than"),
        ]);
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_round_trips(text in "\\PC{0,40}|[a-z0-9./:@_-]{0,60}") {
            if let Ok(reference) = text.parse::<ImageReference>() {
                prop_assert_eq!(reference.to_string().parse::<ImageReference>().unwrap(), reference);
            }
        }

        /// The independent parser of oci-client agrees wherever we accept.
        #[test]
        fn oci_client_accepts_the_same_references(text in "([a-z]{1,5}[.:][a-z0-9]{1,4}/)?[a-z0-9_.-]{1,8}(/[a-z0-9_.-]{1,8})?(:[A-Za-z0-9_.-]{1,8})?") {
            if let Ok(reference) = text.parse::<ImageReference>() {
                let theirs: oci_client::Reference = text.parse().unwrap();
                prop_assert_eq!(theirs.repository(), reference.repository.as_str());
                prop_assert_eq!(theirs.registry(), reference.registry.as_str());
            }
        }
    }
}
