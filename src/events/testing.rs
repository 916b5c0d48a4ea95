//! What the tests of the formats expect, written short.

use super::{Action, PushEvent};

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

pub fn push(repository: &str, tag: &str) -> PushEvent {
    event(Action::Push, repository, Some(tag))
}
