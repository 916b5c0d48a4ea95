//! Quay's repository notifications by webhook (Red Hat Quay, "Repository Notifications": push):
//! several tags a message, no digests, no times and no deletions.

use serde::Deserialize;

use super::json::{self, List};
use super::{Action, PushEvent, Refusal};

#[derive(Deserialize)]
struct Message {
    /// With its namespace.
    repository: Option<String>,
    updated_tags: Option<List<String>>,
}

pub fn parse(body: &[u8]) -> Result<Vec<PushEvent>, Refusal> {
    let Message { repository, updated_tags } = json::read("Quay", body)?;
    // Quay's other notifications say nowhere what they are.
    let hint = "let the notification's event be `Push to Repository`";
    let tags = updated_tags.ok_or(Refusal::Missing { field: "updated_tags", hint })?;
    let repository = repository.ok_or(Refusal::Missing { field: "repository", hint })?;
    tags.events(|tag| Some(PushEvent::new(Action::Push, &repository, Some(&tag), None, None)))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_refused, body, push};
    use super::*;
    use serde_json::{Value, json};

    fn message(tags: Value) -> Vec<u8> {
        body(&json!({
            "name": "test", "repository": "acme/test", "namespace": "acme",
            "docker_url": "quay.io/acme/test", "homepage": "https://quay.io/repository/acme/test",
            "updated_tags": tags
        }))
    }

    #[test]
    fn pushed_tags() {
        let expected: Vec<_> =
            ["latest", "v1"].map(|tag| PushEvent { digest: None, ..push("acme/test", tag) }).into();
        assert_eq!(parse(&message(json!(["latest", "v1"]))), Ok(expected));
        assert_eq!(parse(&message(json!([]))), Ok(vec![]));
    }

    #[test]
    fn malformed_messages_are_refused() {
        let build = br#"{"build_id":"296ec063","repository":"acme/test"}"#.to_vec();
        let cases = [
            (build, "no `updated_tags`: let the notification's event be `Push to Repository`"),
            (br#"{"updated_tags":[]}"#.to_vec(), "no `repository`"),
            (message(json!({ "latest": "x" })), "not what Quay sends"),
            (message(json!(["a", "b c"])), "`b c` is not a tag"),
            (message(json!(vec!["x"; super::super::MAX_EVENTS + 1])), "more than 10000 events"),
        ];
        for (body, expected) in cases {
            assert_refused(parse(&body), expected);
        }
    }
}
