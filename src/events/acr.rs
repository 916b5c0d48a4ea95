//! Azure Container Registry's webhooks (learn.microsoft.com, "Azure Container Registry webhook
//! reference"): one event of the distribution envelope as the whole message.

use super::distribution;
use super::json;
use super::{PushEvent, Refusal};

const SENDER: &str = "Azure Container Registry";

pub fn parse(body: &[u8]) -> Result<Vec<PushEvent>, Refusal> {
    let event: distribution::Event = json::read(SENDER, body)?;
    match event.action.as_deref() {
        Some("push" | "delete") => distribution::read(event).into_iter().collect(),
        Some("ping" | "quarantine" | "chart_push" | "chart_delete") => Ok(Vec::new()),
        Some(other) => {
            let hint = "let the webhook's actions be `push` only";
            Err(Refusal::kind(SENDER, other, hint))
        }
        None => Err(Refusal::Missing { field: "action", hint: "Azure says it in every message" }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Action;
    use super::super::testing::{DIGEST, assert_refused, body, event, push};
    use super::*;
    use serde_json::{Value, json};

    fn message(action: &str, target: Value) -> Vec<u8> {
        body(&json!({
            "id": "cb8c3971-9adc-488b-xxxx-43cbb4974ff5",
            "timestamp": "2017-11-17T16:52:01.343145347Z",
            "action": action,
            "target": target,
            "request": {
                "id": "3cbb6949-7549-4fa1-xxxx-a6d5451dffc7", "host": "acme.azurecr.io",
                "method": "PUT",
                "useragent": "docker/17.09.0-ce go/go1.8.3 kernel/4.10.0 os/linux arch/amd64"
            }
        }))
    }

    fn image(tag: Option<&str>) -> Value {
        json!({
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json", "size": 524,
            "digest": DIGEST, "length": 524, "repository": "hello-world", "tag": tag
        })
    }

    #[test]
    fn pushes_and_deletions() {
        let at = "2017-11-17T16:52:01.343145347Z".parse().ok();
        let pushed = PushEvent { at, ..push("hello-world", "v1") };
        assert_eq!(parse(&message("push", image(Some("v1")))), Ok(vec![pushed]));
        let platform = PushEvent { at, ..event(Action::Push, "hello-world", None) };
        assert_eq!(parse(&message("push", image(None))), Ok(vec![platform]));
        let deleted = PushEvent { at, ..event(Action::Delete, "hello-world", None) };
        assert_eq!(parse(&message("delete", image(None))), Ok(vec![deleted]));
    }

    #[test]
    fn greetings_and_charts_are_no_events() {
        let chart = json!({
            "mediaType": "application/vnd.acr.helm.chart", "size": 25265, "digest": DIGEST,
            "repository": "repo", "tag": "wordpress-5.4.0.tgz", "name": "wordpress"
        });
        assert_eq!(parse(&message("chart_push", chart)), Ok(vec![]));
        assert_eq!(parse(br#"{"id":"1","timestamp":"x","action":"ping"}"#), Ok(vec![]));
    }

    #[test]
    fn malformed_messages_are_refused() {
        for (body, expected) in [
            (b"{}".to_vec(), "no `action`"),
            (b"7".to_vec(), "not what Azure Container Registry sends"),
            (message("explode", image(None)), "of the kind `explode` about images"),
        ] {
            assert_refused(parse(&body), expected);
        }
    }
}
