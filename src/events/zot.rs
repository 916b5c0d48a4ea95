//! zot's events extension: CloudEvents in either mode, `zotregistry.image.updated` and others
//! (zotregistry.dev, "Event Support for zot"). What comes before `.image.updated` is zot's
//! setting `typePrefix`.

use serde::Deserialize;

use super::cloud_event::CloudEvent;
use super::{Action, PushEvent, Refusal};

pub const SENDER: &str = "zot";

#[derive(Deserialize)]
struct Data {
    name: String,
    /// A tag, or the digest of what was pushed without one.
    reference: Option<String>,
    digest: Option<String>,
    /// The manifest's text, where zot sends it.
    manifest: Option<String>,
}

/// What is read of a manifest, whatever its type: image-spec, "subject".
#[derive(Deserialize)]
struct Manifest {
    subject: Option<serde::de::IgnoredAny>,
}

pub fn parse(event: &CloudEvent<'_>) -> Result<Vec<PushEvent>, Refusal> {
    let kind = event.kind.as_str();
    let is = |suffix| kind.ends_with(suffix);
    let action = if is(".image.updated") {
        Action::Push
    } else if is(".image.deleted") {
        Action::Delete
    } else if is(".repository.created") || is(".image.lint_failed") {
        return Ok(Vec::new());
    } else {
        let hint = "let only zot send to this address";
        return Err(Refusal::kind(SENDER, kind, hint));
    };
    let Data { name, reference, digest, manifest } = event.data()?;
    let read = PushEvent::new(action, &name, reference.as_deref(), digest.as_deref(), event.at)?;
    let referrer = read.referrer || manifest.as_deref().is_some_and(has_subject);
    Ok(vec![PushEvent { referrer, ..read }])
}

fn has_subject(manifest: &str) -> bool {
    serde_json::from_str::<Manifest>(manifest).is_ok_and(|manifest| manifest.subject.is_some())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{DIGEST, body, event, headers, push};
    use super::*;
    use http::HeaderMap;
    use serde_json::{Value, json};

    fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Vec<PushEvent>, Refusal> {
        super::parse(&CloudEvent::read(SENDER, headers, body)?)
    }

    fn structured(kind: &str, data: &Value) -> Vec<u8> {
        body(&json!({
            "specversion": "1.0", "id": "f7a2b0f0-3f86-4b0c-8c0b-c3a1a4b1a9a3",
            "source": "zotregistry.dev", "type": kind, "datacontenttype": "application/json",
            "time": "2025-05-06T07:08:09.123456789Z", "data": data
        }))
    }

    fn data(reference: &str, manifest: &Value) -> Value {
        json!({
            "name": "tools/golang", "reference": reference, "digest": DIGEST,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "manifest": manifest.to_string()
        })
    }

    #[test]
    fn both_modes_tell_of_the_same_push() {
        let at = "2025-05-06T07:08:09.123456789Z".parse().ok();
        let expected = vec![PushEvent { at, ..push("tools/golang", "latest") }];
        let data = data("latest", &json!({ "schemaVersion": 2 }));
        let body = structured("zotregistry.image.updated", &data);
        assert_eq!(parse(&HeaderMap::new(), &body), Ok(expected.clone()));
        let headers = headers(&[
            ("ce-type", "zotregistry.image.updated"),
            ("ce-time", "2025-05-06T07:08:09.123456789Z"),
        ]);
        assert_eq!(parse(&headers, data.to_string().as_bytes()), Ok(expected));
    }

    #[test]
    fn a_manifest_with_a_subject_is_a_referrer() {
        let signature = json!({ "subject": { "digest": DIGEST } });
        for (manifest, referrer) in [(signature, true), (json!({ "subject": null }), false)] {
            let body = structured("zotregistry.image.updated", &data(DIGEST, &manifest));
            let events = parse(&HeaderMap::new(), &body).unwrap();
            let expected = event(Action::Push, "tools/golang", None);
            assert_eq!(events, [PushEvent { at: events[0].at, referrer, ..expected }]);
        }
    }

    #[test]
    fn other_kinds_are_no_events_or_are_refused() {
        let body = structured("zotregistry.repository.created", &json!({ "name": "a" }));
        assert_eq!(parse(&HeaderMap::new(), &body), Ok(vec![]));
        let deleted = structured("com.example.image.deleted", &data("v1", &json!({})));
        assert_eq!(parse(&HeaderMap::new(), &deleted).unwrap()[0].action, Action::Delete);
        let body = structured("org.example.mail", &json!({}));
        assert!(matches!(parse(&HeaderMap::new(), &body), Err(Refusal::Kind { .. })));
        let body = structured("zotregistry.image.deleted", &json!({ "name": "a//b" }));
        assert!(matches!(parse(&HeaderMap::new(), &body), Err(Refusal::Name(_))));
        assert!(matches!(parse(&HeaderMap::new(), b"{}"), Err(Refusal::Shape { .. })));
    }
}
