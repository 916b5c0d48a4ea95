//! Docker Hub's webhooks (docs.docker.com, "Webhooks"): one tag a message, no digest, no kind and
//! no deletions.

use serde::Deserialize;
use serde_json::Value;

use super::json;
use super::{Action, PushEvent, Refusal};

const SENDER: &str = "Docker Hub";

#[derive(Deserialize)]
struct Message {
    push_data: PushData,
    repository: Repository,
}

#[derive(Deserialize)]
struct PushData {
    #[serde(default)]
    pushed_at: Value,
    tag: Option<String>,
}

#[derive(Deserialize)]
struct Repository {
    repo_name: String,
}

pub fn parse(body: &[u8]) -> Result<Vec<PushEvent>, Refusal> {
    let Message { push_data, repository } = json::read(SENDER, body)?;
    let name = repository.repo_name;
    // The names of official images are written without their namespace.
    let name = if name.contains('/') { name } else { format!("library/{name}") };
    let at = json::moment(&push_data.pushed_at);
    Ok(vec![PushEvent::new(Action::Push, &name, push_data.tag.as_deref(), None, at)?])
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_refused, body, push};
    use super::*;
    use serde_json::json;

    fn message(repository: &str, tag: &str) -> Vec<u8> {
        body(&json!({
            "callback_url": "https://registry.hub.docker.com/u/acme/app/hook/2141b5bi5i5b02bec/",
            "push_data": { "pushed_at": 1_417_566_161, "pusher": "builder", "tag": tag },
            "repository": {
                "comment_count": 0, "date_created": 1_417_494_799, "description": "",
                "full_description": "An app", "is_official": false, "is_private": true,
                "is_trusted": true, "name": "app", "namespace": "acme", "owner": "acme",
                "repo_name": repository, "repo_url": "https://registry.hub.docker.com/r/acme/app/",
                "star_count": 0, "status": "Active"
            }
        }))
    }

    #[test]
    fn a_pushed_tag() {
        let at = "2014-12-03T00:22:41Z".parse().ok();
        for (name, expected) in [("acme/app", "acme/app"), ("nginx", "library/nginx")] {
            let expected = PushEvent { at, digest: None, ..push(expected, "latest") };
            assert_eq!(parse(&message(name, "latest")), Ok(vec![expected]));
        }
    }

    #[test]
    fn malformed_messages_are_refused() {
        let cases = [
            (b"{}".to_vec(), "not what Docker Hub sends: missing field `push_data`"),
            (b"payload=%7B%7D".to_vec(), "not what Docker Hub sends: expected"),
            (message("acme/App", "latest"), "upper-case"),
            (message("acme/app", "a:b"), "is not a tag"),
        ];
        for (body, expected) in cases {
            assert_refused(parse(&body), expected);
        }
    }
}
