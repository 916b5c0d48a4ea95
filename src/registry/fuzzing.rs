//! For fuzzing: everything that is read in an answer's headers and words, apart from the challenges
//! and links, which have targets of their own.

use std::time::{Duration, SystemTime};

use http::header::{CONTENT_RANGE, RANGE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue};

use super::chunks::stored_bytes;
use super::limits::Limits;
use super::pauses::Kind;
use super::remote::content_range;
use super::vendor;
use crate::http::RetryPolicy;
use crate::http::retry::{Failure, retry_after};
use crate::repository::{Cause, ErrorKind};

/// The names under which the headers are read.
const NAMES: [&str; 3] = ["x-retry-after", "ratelimit-limit", "ratelimit-remaining"];

/// Reads these bytes wherever a stranger can put them, and does with the numbers what would be done.
pub fn read_answer(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(bytes) {
        for name in [RETRY_AFTER, CONTENT_RANGE, RANGE] {
            headers.insert(name, value.clone());
        }
        NAMES.iter().for_each(|name| _ = headers.insert(*name, value.clone()));
    }
    let now = SystemTime::now();
    let limits = Limits::new(None, None);
    let Ok(host) = "registry.example".parse() else { return };
    // Of an unknown product: then the words of all are looked for.
    let dialect = vendor::of(&host, None).dialect();
    let _ = dialect.quota(&headers);
    let waits = [retry_after(&headers, now), dialect.wait(&headers, &text, now)];
    for wait in waits.into_iter().flatten() {
        limits.requests.pause(wait);
        let (status, message) = ("429 Too Many Requests".to_owned(), text.to_string());
        let cause = Cause::Refused { kind: ErrorKind::Throttled, status, message };
        limits.hold(Kind::Read, "app", wait, cause, false);
        let failure = Failure::Status(http::StatusCode::TOO_MANY_REQUESTS, Some(wait));
        let decided = RetryPolicy::default().decide(1, failure, 1.0);
        assert!(decided.is_none_or(|wait| wait < Duration::from_secs(1000)));
    }
    let _ = (content_range(&text), stored_bytes(&text));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SEEDS: &[&str] = &[
        "120",
        "0.5",
        "18446744073709551615",
        "1e400",
        "-1",
        "Wed, 21 Oct 2099 07:28:00 GMT",
        "2099-10-21T07:28:00Z",
        "100;w=21600",
        "bytes 7-99/100",
        "0-9223372036854775807",
        "Quota exceeded, retry in 18446744073709551615 seconds",
    ];

    proptest! {
        #[test]
        fn no_number_is_too_large(
            seed in proptest::sample::select(SEEDS),
            at in any::<proptest::sample::Index>(),
            cut in 0usize..3,
            put in proptest::collection::vec(any::<u8>(), 0..4),
        ) {
            let mut bytes = seed.as_bytes().to_vec();
            read_answer(&bytes);
            let at = at.index(bytes.len() + 1);
            let end = (at + cut).min(bytes.len());
            bytes.splice(at..end, put);
            read_answer(&bytes);
        }
    }
}
