//! What registries tell of pushes: their notifications, checked and read into one shape.
//!
//! Pure: a request's headers, query and body in, events or a refusal out. The server first
//! asks [`authenticate()`] whether the message comes from a sender that knows the secret, then
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

pub use authenticate::{Forged, authenticate, authenticate_head};
pub use refusal::Refusal;

use crate::config::EventFormat;
use crate::oci::{Digest, RepositoryName, Tag, derived};
use cloud_event::CloudEvent;

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
        EventFormat::Zot => zot::parse(&CloudEvent::read(zot::SENDER, headers, body)?),
    }
}

impl PushEvent {
    /// When it happened, for a message that arrived at `received`. The registry's clock may be
    /// ahead; nothing happens later than it is told.
    pub fn happened(&self, received: Timestamp) -> Timestamp {
        self.at.map_or(received, |at| at.min(received))
    }

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

#[cfg(test)]
mod tests {
    use super::testing::{DIGEST, push};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_event_is_never_later_than_its_message() {
        let [early, late] = ["2024-01-01T00:00:00Z", "2024-01-01T00:00:09Z"]
            .map(|text| text.parse::<Timestamp>().unwrap());
        let told = |at| PushEvent { at, ..push("a", "b") };
        assert_eq!(told(Some(early)).happened(late), early);
        assert_eq!(told(Some(late)).happened(early), early);
        assert_eq!(told(None).happened(late), late);
    }

    #[test]
    fn derived_tags_are_referrers() {
        let stem = DIGEST.replace(':', "-");
        for (tag, referrer) in
            [(stem.clone(), true), (format!("{stem}.sig"), true), ("v1".into(), false)]
        {
            let event = PushEvent::new(Action::Push, "a", Some(&tag), None, None).unwrap();
            assert_eq!(event.referrer, referrer, "{tag}");
        }
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            "push|published|CONTAINER|PUSH_ARTIFACT|a/b".prop_map(Into::into),
            Just(DIGEST.into()),
            "\\PC{0,12}".prop_map(Into::into),
        ];
        let keys = "events|action|target|mediaType|repository|tag|digest|references|type|event_data\
            |resources|repo_full_name|push_data|repo_name|package|package_type|owner|login|name\
            |package_version|container_metadata|updated_tags|specversion|data|reference|manifest";
        leaf.prop_recursive(5, 60, 6, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                proptest::collection::btree_map(keys, inner, 0..6)
                    .prop_map(|map| map.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_body_is_events_or_a_refusal(json in any_json(), bytes: Vec<u8>, kind in "\\PC{0,20}|package") {
            let mut headers = HeaderMap::new();
            if let Ok(kind) = http::HeaderValue::from_str(&kind) {
                headers.insert("x-github-event", kind.clone());
                headers.insert("ce-type", kind);
            }
            for format in EventFormat::ALL {
                for headers in [&headers, &HeaderMap::new()] {
                    for body in [json.to_string().as_bytes(), &bytes] {
                        if let Err(refusal) = parse(format, headers, body) {
                            prop_assert!(refusal.to_string().len() < 1000);
                        }
                    }
                }
            }
        }
    }
}
