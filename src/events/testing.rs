//! What the tests of the formats expect, written short.

use http::HeaderMap;
use serde_json::Value;

use super::{Action, PushEvent, Refusal};

pub const DIGEST: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

/// An event about `DIGEST`, at a time that is not known.
pub fn event(action: Action, repository: &str, tag: Option<&str>) -> PushEvent {
    PushEvent {
        repository: repository.parse().unwrap(),
        tag: tag.map(|tag| tag.parse().unwrap()),
        digest: DIGEST.parse().ok(),
        action,
        referrer: false,
        at: None,
    }
}

/// The text of a message's body.
pub fn body(json: &Value) -> Vec<u8> {
    json.to_string().into_bytes()
}

pub fn headers(headers: &[(&str, &str)]) -> HeaderMap {
    let headers = headers.iter();
    headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

/// Asserts that a message was refused, for this reason.
pub fn assert_refused(result: Result<Vec<PushEvent>, Refusal>, reason: &str) {
    let refusal = result.unwrap_err().to_string();
    assert!(refusal.contains(reason), "{reason}: {refusal}");
}

pub fn push(repository: &str, tag: &str) -> PushEvent {
    event(Action::Push, repository, Some(tag))
}
