//! What registries tell of pushes: their notifications, checked and read into one shape.
//!
//! Pure: a request's headers, query and body in, events or a refusal out. Whoever listens first
//! asks [`authenticate`] whether the message comes from a sender that knows the secret, then
//! [`parse`] what it says. What a push means for a rule is decided elsewhere. A message is a
//! hint: it says where to look, and nothing in it is believed beyond that.

mod acr;
mod authenticate;
mod cloud_event;
mod distribution;
mod docker_hub;
mod ghcr;
mod harbor;
mod json;
mod quay;
mod refusal;
#[cfg(test)]
mod testing;
mod zot;

use http::HeaderMap;
use jiff::Timestamp;

pub use authenticate::{Forged, authenticate};
pub use refusal::Refusal;

use crate::config::EventFormat;
use crate::oci::{Digest, RepositoryName, Tag, derived};

/// More events in one message than any registry sends; such a message is refused.
pub const MAX_EVENTS: usize = 10_000;

/// One image, or one part of it, that was pushed or deleted at its registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushEvent {
    pub repository: RepositoryName,
    /// `None`: pushed by its digest alone, as the platforms of an index and most referrers are.
    pub tag: Option<Tag>,
    /// What was pushed; not every registry says.
    pub digest: Option<Digest>,
    pub action: Action,
    /// Whether this is known to belong to another image: a signature, an SBOM, the list of an
    /// image's referrers.
    pub referrer: bool,
    /// When it happened, by the registry's clock.
    pub at: Option<Timestamp>,
}

/// What was done to the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Push,
    Delete,
}

/// The pushes and deletions that a message tells of, in its order. Empty when it tells of none:
/// greetings, pulls, blobs.
///
/// The caller bounds `body`; what it holds is bounded here ([`MAX_EVENTS`]).
///
/// # Errors
/// When the message is not what a registry of this format sends, or says something that cannot
/// be. A message is refused as a whole.
pub fn parse(
    format: EventFormat,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Vec<PushEvent>, Refusal> {
    match format {
        EventFormat::Distribution => distribution::parse(body),
        EventFormat::Harbor => harbor::parse(headers, body),
        EventFormat::DockerHub => docker_hub::parse(body),
        EventFormat::Ghcr => ghcr::parse(headers, body),
        EventFormat::Quay => quay::parse(body),
        EventFormat::Acr => acr::parse(body),
        EventFormat::Zot => zot::parse(headers, body),
    }
}

impl PushEvent {
    /// Reads names as a message has them. A missing tag, an empty one and a digest in its place
    /// (Harbor, zot) are all no tag; a digest that cannot be read is none.
    fn new(
        action: Action,
        repository: &str,
        tag: Option<&str>,
        digest: Option<&str>,
        at: Option<Timestamp>,
    ) -> Result<Self, Refusal> {
        let tag = tag.filter(|tag| !tag.is_empty());
        let as_digest = tag.and_then(|tag| tag.parse::<Digest>().ok());
        let tag = match tag {
            Some(tag) if as_digest.is_none() => Some(tag.parse().map_err(Refusal::Name)?),
            _ => None,
        };
        Ok(Self {
            repository: repository.parse().map_err(Refusal::Name)?,
            referrer: tag.as_ref().is_some_and(|tag| derived::parse(tag).is_some()),
            tag,
            digest: digest.and_then(|digest| digest.parse().ok()).or(as_digest),
            action,
            at,
        })
    }
}
