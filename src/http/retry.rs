//! Whether and when a failed request is tried again: pure decisions, apart from the sending.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header};

use super::backoff::Backoff;

/// How often a request is tried, and how long to wait in between.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// The number of tries, the first one included.
    pub attempts: u32,
    /// The wait between two tries: a random part of it.
    pub backoff: Backoff,
    /// A `Retry-After` longer than this is not waited for.
    pub patience: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 5,
            backoff: Backoff::new(Duration::from_millis(250), Duration::from_secs(15)),
            patience: Duration::from_secs(300),
        }
    }
}

/// A deletion is not repeated later than this: what was checked before it may have changed.
const DELETION_LIMIT: Duration = Duration::from_secs(5);

/// How one try failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// There was no connection, so the server has not seen the request.
    Unsent,
    /// The connection broke before a whole answer was read.
    Connection,
    /// An answer with this status, and the wait that it asks for.
    Status(StatusCode, Option<Duration>),
}

/// Whether the same request may get another answer than this one if it is repeated.
pub fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

impl RetryPolicy {
    /// How long to wait before the next try, after try number `attempt` (from 1) failed. `None`:
    /// give up. `random` is between 0 and 1.
    pub fn decide(&self, attempt: u32, failure: Failure, random: f64) -> Option<Duration> {
        if attempt >= self.attempts {
            return None;
        }
        let backoff = self.backoff.jittered(attempt, random);
        match failure {
            Failure::Unsent | Failure::Connection => Some(backoff),
            Failure::Status(status, _) if !is_transient(status) => None,
            Failure::Status(_, Some(asked)) if asked > self.patience => None,
            // A little more than was asked for, because clocks differ.
            Failure::Status(_, Some(asked)) => Some(asked + backoff / 4),
            Failure::Status(..) => Some(backoff),
        }
    }

    /// The same for a deletion that began `elapsed` ago. It is repeated only if the first one was
    /// certainly not carried out, and only soon: a late repetition could delete what was pushed in
    /// between.
    pub fn decide_deletion(
        &self,
        attempt: u32,
        failure: Failure,
        elapsed: Duration,
        random: f64,
    ) -> Option<Duration> {
        let was_not_done = match failure {
            Failure::Unsent => true,
            Failure::Connection => false,
            Failure::Status(status, _) => {
                matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
            }
        };
        let wait = self.decide(attempt, failure, random)?;
        (was_not_done && elapsed + wait <= DELETION_LIMIT).then_some(wait)
    }
}

/// How long the server asks to wait: `Retry-After` in seconds or as an HTTP date (RFC 9110
/// §10.2.3).
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = SystemTime::from(jiff::fmt::rfc2822::parse(value).ok()?.timestamp());
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn status(code: u16, asked: Option<Duration>) -> Failure {
        Failure::Status(StatusCode::from_u16(code).unwrap(), asked)
    }

    #[test]
    fn decisions() {
        let policy = RetryPolicy::default();
        let second = Duration::from_secs(1);
        let cases = [
            (1, Failure::Connection, Some(Duration::from_millis(250))),
            (3, Failure::Connection, Some(second)),
            (5, Failure::Connection, None),
            (1, status(404, None), None),
            (1, status(401, Some(second)), None),
            (1, status(503, None), Some(Duration::from_millis(250))),
            (4, status(429, Some(second * 10)), Some(second * 10 + second / 2)),
            (1, status(429, Some(second * 3600)), None),
        ];
        for (attempt, failure, expected) in cases {
            assert_eq!(policy.decide(attempt, failure, 1.0), expected, "{attempt} {failure:?}");
        }
        assert_eq!(policy.decide(1, Failure::Connection, 0.0), Some(Duration::ZERO));
    }

    #[test]
    fn deletions_are_repeated_only_soon_and_if_they_were_not_done() {
        let policy = RetryPolicy::default();
        let (second, quarter) = (Duration::from_secs(1), Duration::from_millis(250));
        let cases = [
            (1, Failure::Unsent, 0, Some(quarter)),
            (5, Failure::Unsent, 0, None),
            (1, Failure::Unsent, 5, None),
            (1, Failure::Connection, 0, None),
            (1, status(429, None), 0, Some(quarter)),
            (1, status(503, Some(second * 2)), 2, Some(second * 2 + quarter / 4)),
            (1, status(503, Some(second * 2)), 3, None),
            (1, status(429, Some(second * 30)), 0, None),
            (1, status(500, None), 0, None),
            (1, status(502, None), 0, None),
            (1, status(504, None), 0, None),
            (1, status(408, None), 0, None),
            (1, status(404, None), 0, None),
        ];
        for (attempt, failure, elapsed, expected) in cases {
            let decision = policy.decide_deletion(attempt, failure, second * elapsed, 1.0);
            assert_eq!(decision, expected, "{attempt} {failure:?} {elapsed}");
        }
    }

    #[test]
    fn waits_are_read_in_all_their_forms() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let wait = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, value.parse().unwrap());
            retry_after(&headers, now)
        };
        let seconds = |n| Some(Duration::from_secs(n));
        assert_eq!(wait("30"), seconds(30));
        assert_eq!(wait("Tue, 14 Nov 2023 22:14:20 GMT"), seconds(60));
        assert_eq!(wait("Tue, 14 Nov 2000 22:14:20 GMT"), seconds(0));
        assert_eq!(wait("soon"), None);
        assert_eq!([wait("1e300"), wait("-1"), wait("NaN"), wait("inf")], [None; 4]);
        let policy = RetryPolicy::default();
        let endless = Failure::Status(StatusCode::TOO_MANY_REQUESTS, wait("9999999999999"));
        assert_eq!(policy.decide(1, endless, 1.0), None);
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    proptest! {
        #[test]
        fn reading_a_wait_never_panics(value in "\\PC{0,30}") {
            let mut headers = HeaderMap::new();
            if let Ok(value) = value.parse() {
                headers.insert(header::RETRY_AFTER, value);
            }
            let _ = retry_after(&headers, SystemTime::now());
        }
    }
}
