//! The envelope of docker-registry, which GitLab's registry sends too: CNCF distribution,
//! "Notifications" (`application/vnd.docker.distribution.events.v2+json`).
//!
//! It tells of blobs, mounts and pulls as well; those are left out by media type and action. An
//! action that is not known (GitLab has `rename`) tells of nothing.

use serde::Deserialize;
use serde_json::Value;

use super::json::{self, List};
use super::{Action, PushEvent, Refusal};
use crate::oci::media_type;

pub const SENDER: &str = "a registry of the distribution project";

#[derive(Deserialize)]
struct Envelope {
    events: List<Event>,
}

/// One event; also the whole message of Azure's registry.
#[derive(Deserialize)]
pub struct Event {
    #[serde(default)]
    timestamp: Value,
    pub action: Option<String>,
    target: Option<Target>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Target {
    media_type: Option<String>,
    repository: Option<String>,
    tag: Option<String>,
    digest: Option<String>,
    /// What a manifest points at, where the registry is told to say it (`includereferences`).
    #[serde(default)]
    references: Option<Vec<Reference>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    media_type: Option<String>,
}

pub fn parse(body: &[u8]) -> Result<Vec<PushEvent>, Refusal> {
    json::read::<Envelope>(SENDER, body)?.events.events(read)
}

/// The push or deletion of a manifest; `None` for everything else.
pub fn read(event: Event) -> Option<Result<PushEvent, Refusal>> {
    let action = match event.action.as_deref() {
        Some("push") => Action::Push,
        Some("delete") => Action::Delete,
        _ => return None,
    };
    let Target { media_type, repository, tag, digest, references } = event.target?;
    // Deletions name no media type.
    if action == Action::Push && !media_type.as_deref().is_some_and(is_manifest) {
        return None;
    }
    let Some(repository) = repository else {
        let hint = "an event must name its repository";
        return Some(Err(Refusal::Missing { field: "target.repository", hint }));
    };
    let at = json::moment(&event.timestamp);
    let event = PushEvent::new(action, &repository, tag.as_deref(), digest.as_deref(), at);
    Some(event.map(|event| PushEvent {
        referrer: event.referrer || (event.tag.is_none() && is_artifact(references.as_deref())),
        ..event
    }))
}

fn is_manifest(media_type: &str) -> bool {
    media_type::is_manifest(media_type) || media_type::DOCKER_SCHEMA1.contains(&media_type)
}

/// Whether a manifest, by what it points at, is not an image, and so most likely refers to one: it
/// has something, but neither an image's configuration nor, as an index has, other manifests.
fn is_artifact(references: Option<&[Reference]>) -> bool {
    let types = || references.unwrap_or_default().iter().filter_map(|r| r.media_type.as_deref());
    let of_image = |t: &str| media_type::is_image_config(t) || is_manifest(t);
    types().next().is_some() && !types().any(of_image)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{DIGEST, assert_refused, event, push};
    use super::*;
    use serde_json::json;

    /// As a docker-registry 2.8 sends it, with the fields that are not read.
    fn envelope(action: &str, target: Value) -> Vec<u8> {
        let event = json!({
            "id": "320678d8-ca14-430f-8bb6-4ca139cd83f7",
            "timestamp": "2016-03-09T14:44:26.402973972-08:00",
            "action": action,
            "target": target,
            "request": {
                "id": "6df24a34-0959-4923-81ca-14f09767db19", "addr": "192.168.64.11:42961",
                "host": "192.168.100.227:5000", "method": "PUT", "useragent": "curl/7.38.0"
            },
            "actor": {},
            "source": {
                "addr": "xtal.local:5000", "instanceID": "a53db899-3b4b-4a62-a067-8dd013beaca4"
            }
        });
        json!({ "events": [event] }).to_string().into_bytes()
    }

    fn manifest(fields: Value) -> Value {
        let mut target = json!({
            "mediaType": media_type::OCI_MANIFEST, "digest": DIGEST, "size": 708, "length": 708,
            "repository": "hello/world", "url": format!("http://r/v2/hello/world/manifests/{DIGEST}"),
        });
        target.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        target
    }

    #[test]
    fn a_pushed_tag() {
        let events = parse(&envelope("push", manifest(json!({ "tag": "latest" })))).unwrap();
        let at = "2016-03-09T22:44:26.402973972Z".parse().ok();
        assert_eq!(events, [PushEvent { at, ..push("hello/world", "latest") }]);
        let list = manifest(json!({ "tag": "v1", "mediaType": media_type::DOCKER_LIST }));
        assert_eq!(parse(&envelope("push", list)).unwrap()[0].tag, "v1".parse().ok());
    }

    #[test]
    fn manifests_by_digest_are_told_from_referrers_by_what_they_point_at() {
        let cases = [
            (json!({}), false),
            (json!({ "references": null }), false),
            (json!({ "references": [{ "mediaType": media_type::OCI_CONFIG }, {}] }), false),
            (json!({ "references": [{ "mediaType": media_type::OCI_MANIFEST }] }), false),
            (json!({ "references": [{ "mediaType": media_type::EMPTY }, {}] }), true),
            (json!({ "references": [{ "mediaType": media_type::EMPTY }], "tag": "chart" }), false),
        ];
        for (fields, referrer) in cases {
            let events = parse(&envelope("push", manifest(fields.clone()))).unwrap();
            assert_eq!(events[0].referrer, referrer, "{fields}");
            assert_eq!(events[0].digest, DIGEST.parse().ok());
        }
    }

    #[test]
    fn deletions_name_a_tag_or_a_digest() {
        let by_tag = json!({ "repository": "hello/world", "tag": "v1" });
        let events = parse(&envelope("delete", by_tag)).unwrap();
        assert_eq!(
            (events[0].action, events[0].tag.as_ref()),
            (Action::Delete, "v1".parse().ok().as_ref())
        );
        let by_digest = json!({ "repository": "hello/world", "digest": DIGEST });
        let events = parse(&envelope("delete", by_digest)).unwrap();
        assert_eq!(
            events,
            [PushEvent { at: events[0].at, ..event(Action::Delete, "hello/world", None) }]
        );
    }

    #[test]
    fn blobs_mounts_pulls_and_unknown_actions_are_no_events() {
        let blob = json!({
            "mediaType": "application/octet-stream", "digest": DIGEST, "repository": "hello/world"
        });
        let cases = [
            ("push", blob.clone()),
            (
                "push",
                manifest(json!({ "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip" })),
            ),
            ("mount", blob),
            ("pull", manifest(json!({ "tag": "latest" }))),
            ("rename", json!({ "repository": "hello/world" })),
            ("push", json!(null)),
        ];
        for (action, target) in cases {
            assert_eq!(parse(&envelope(action, target)), Ok(vec![]), "{action}");
        }
        assert_eq!(parse(br#"{"events":[]}"#), Ok(vec![]));
    }

    #[test]
    fn malformed_messages_are_refused() {
        let cases = [
            (b"<html>".to_vec(), "not what a registry of the distribution project sends: expected"),
            (b"{}".to_vec(), "missing field `events`"),
            (br#"{"events":7}"#.to_vec(), "expected a list"),
            (envelope("push", manifest(json!({ "repository": "Hello" }))), "upper-case"),
            (envelope("push", manifest(json!({ "repository": null }))), "no `target.repository`"),
            (envelope("push", manifest(json!({ "tag": "-x" }))), "`-x` is not a tag"),
        ];
        for (body, expected) in cases {
            assert_refused(parse(&body), expected);
        }
        let many = format!(r#"{{"events":[{}{{}}]}}"#, "{},".repeat(super::super::MAX_EVENTS));
        assert_eq!(parse(many.as_bytes()), Err(Refusal::TooMany));
    }
}
