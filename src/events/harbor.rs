//! Harbor's project webhooks, in both payload formats: `Default` and `CloudEvents`
//! (goharbor.io, "Configure Webhook Notifications").

use http::HeaderMap;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::cloud_event::CloudEvent;
use super::json::{self, List};
use super::{Action, PushEvent, Refusal};

const SENDER: &str = "Harbor";

const HINT: &str = "let the webhook send `Artifact pushed` only";

#[derive(Deserialize)]
struct Message {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    occur_at: Value,
    event_data: Option<Value>,
}

/// What both formats say of an artifact.
#[derive(Deserialize)]
struct Data {
    resources: List<Resource>,
    repository: Repository,
}

#[derive(Deserialize)]
struct Resource {
    /// The digest again, for what was pushed without a tag.
    tag: Option<String>,
    digest: Option<String>,
}

#[derive(Deserialize)]
struct Repository {
    /// With the project before it.
    repo_full_name: String,
}

pub fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Vec<PushEvent>, Refusal> {
    if CloudEvent::is_one(headers, body) {
        let event = CloudEvent::read(SENDER, headers, body)?;
        return match action(&event.kind)? {
            Some(action) => read(action, event.data()?, event.at),
            None => Ok(Vec::new()),
        };
    }
    let message: Message = json::read(SENDER, body)?;
    let Some(action) = action(&message.kind)? else { return Ok(Vec::new()) };
    let data = serde_json::from_value(message.event_data.unwrap_or_default())
        .map_err(|error| Refusal::Shape { sender: SENDER, problem: error.to_string() })?;
    read(action, data, json::moment(&message.occur_at))
}

/// What the kind of a message means; `None` for the other things that Harbor tells of.
fn action(kind: &str) -> Result<Option<Action>, Refusal> {
    match kind {
        "PUSH_ARTIFACT" | "harbor.artifact.pushed" => Ok(Some(Action::Push)),
        "DELETE_ARTIFACT" | "harbor.artifact.deleted" => Ok(Some(Action::Delete)),
        "PULL_ARTIFACT" | "SCANNING_COMPLETED" | "SCANNING_FAILED" | "SCANNING_STOPPED"
        | "QUOTA_EXCEED" | "QUOTA_WARNING" | "REPLICATION" | "TAG_RETENTION" => Ok(None),
        other if other.starts_with("harbor.") => Ok(None),
        other => Err(Refusal::kind(SENDER, other, HINT)),
    }
}

fn read(action: Action, data: Data, at: Option<Timestamp>) -> Result<Vec<PushEvent>, Refusal> {
    let repository = data.repository.repo_full_name;
    data.resources.events(|Resource { tag, digest }| {
        Some(PushEvent::new(action, &repository, tag.as_deref(), digest.as_deref(), at))
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{DIGEST, assert_refused, body, event, headers, push};
    use super::*;
    use serde_json::json;

    fn data(resources: Value) -> Value {
        json!({
            "resources": resources,
            "repository": {
                "date_created": 1_680_501_430, "name": "team/nginx", "namespace": "library",
                "repo_full_name": "library/team/nginx", "repo_type": "private"
            },
            "custom_attributes": null
        })
    }

    fn default(kind: &str, data: Value) -> Vec<u8> {
        body(&json!({
            "type": kind, "occur_at": 1_680_501_893, "operator": "robot$ci", "event_data": data
        }))
    }

    fn structured(kind: &str, data: Value) -> Vec<u8> {
        body(&json!({
            "specversion": "1.0", "id": "8b9ce3ff-3e3f-4d8b-bc4b-3bcae9bd0b47",
            "requestid": "2b9ee4ef-a6d4-4ff6-9c93-df5fbe65dda3",
            "source": "/projects/2/webhook/policies/15", "type": kind,
            "datacontenttype": "application/json", "time": "2023-04-03T06:04:53Z",
            "operator": "robot$ci", "data": data
        }))
    }

    fn nginx(tag: &str) -> Value {
        let url = format!("harbor.dev/library/team/nginx:{tag}");
        json!({ "digest": DIGEST, "tag": tag, "resource_url": url })
    }

    #[test]
    fn both_formats_tell_of_the_same_push() {
        let none = HeaderMap::new();
        let at = "2023-04-03T06:04:53Z".parse().ok();
        let expected: Vec<_> = ["latest", "1.25"]
            .map(|tag| PushEvent { at, ..push("library/team/nginx", tag) })
            .into();
        let data = data(json!([nginx("latest"), nginx("1.25")]));
        let body = default("PUSH_ARTIFACT", data.clone());
        assert_eq!(parse(&none, &body), Ok(expected.clone()));
        let body = structured("harbor.artifact.pushed", data.clone());
        assert_eq!(parse(&none, &body), Ok(expected.clone()));
        let headers =
            headers(&[("ce-type", "harbor.artifact.pushed"), ("ce-time", "2023-04-03T06:04:53Z")]);
        assert_eq!(parse(&headers, data.to_string().as_bytes()), Ok(expected));
    }

    #[test]
    fn a_digest_in_place_of_a_tag_is_no_tag() {
        let body = default("DELETE_ARTIFACT", data(json!([nginx(DIGEST)])));
        let events = parse(&HeaderMap::new(), &body).unwrap();
        let expected = event(Action::Delete, "library/team/nginx", None);
        assert_eq!(events, [PushEvent { at: events[0].at, ..expected }]);
    }

    #[test]
    fn a_signature_is_a_referrer() {
        let tag = format!("{}.sig", DIGEST.replace(':', "-"));
        let body = default("PUSH_ARTIFACT", data(json!([nginx(&tag)])));
        assert!(parse(&HeaderMap::new(), &body).unwrap()[0].referrer);
    }

    #[test]
    fn other_kinds_are_no_events() {
        for kind in ["PULL_ARTIFACT", "QUOTA_EXCEED", "TAG_RETENTION"] {
            let body = default(kind, json!({ "anything": 1 }));
            assert_eq!(parse(&HeaderMap::new(), &body), Ok(vec![]), "{kind}");
        }
        let body = structured("harbor.quota.exceeded", json!(null));
        assert_eq!(parse(&HeaderMap::new(), &body), Ok(vec![]));
    }

    #[test]
    fn malformed_messages_are_refused() {
        let nameless = json!({ "resources": [], "repository": {} });
        let cases = [
            (b"[]".to_vec(), "not what Harbor sends"),
            (default("OPEN_POD_BAY", json!({})), "of the kind `OPEN_POD_BAY` about images"),
            (default("PUSH_ARTIFACT", json!(null)), "not what Harbor sends"),
            (default("PUSH_ARTIFACT", nameless), "missing field `repo_full_name`"),
            (default("PUSH_ARTIFACT", data(json!([nginx("a b")]))), "is not a tag"),
            (structured("harbor.artifact.pushed", json!(7)), "its data: "),
        ];
        for (body, expected) in cases {
            assert_refused(parse(&HeaderMap::new(), &body), expected);
        }
    }
}
