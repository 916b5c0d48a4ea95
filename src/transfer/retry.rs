//! Whether and when a stream that broke is continued: decisions on numbers, apart from streaming.

use crate::http::Backoff;
use crate::repository::{Error, ErrorKind};

/// How often a stream may break without progress. After that it is not the network.
pub const MAX_FRUITLESS: u32 = 4;
/// A break after so many new bytes counts as progress: a long blob over a bad line may break
/// often and still arrive.
pub const PROGRESS: u64 = 1 << 20;

/// Counts the breaks of one stream.
#[derive(Debug, Default, Clone, Copy)]
pub struct Breaks {
    fruitless: u32,
    /// The highest byte that was reached.
    highest: u64,
    total: u32,
}

impl Breaks {
    /// Notes that the stream broke at byte `at`. `true` if it is to be continued.
    pub fn go_on(&mut self, at: u64) -> bool {
        self.total += 1;
        if at >= self.highest + PROGRESS {
            self.fruitless = 0;
        }
        self.highest = self.highest.max(at);
        self.fruitless += 1;
        self.fruitless <= MAX_FRUITLESS
    }

    /// Breaks since the last progress: the wait before the next attempt grows with them.
    pub fn fruitless(&self) -> u32 {
        self.fruitless
    }

    /// All breaks, which is the number of failed attempts.
    pub fn count(&self) -> u32 {
        self.total
    }
}

/// The pauses between attempts.
#[derive(Debug, Clone, Copy)]
pub struct Pauses {
    pub backoff: Backoff,
    /// Random numbers from 0 to 1 that spread retries.
    pub jitter: fn() -> f64,
}

impl Pauses {
    /// Waits after this many failures in a row.
    pub async fn after(&self, failures: u32) {
        tokio::time::sleep(self.backoff.jittered(failures, (self.jitter)())).await;
    }
}

/// Whether wrong bytes arrived.
pub fn is_corrupt(error: &Error) -> bool {
    error.kind() == ErrorKind::Corrupt
}

/// Whether the same bytes may arrive at the next attempt.
pub fn may_heal(error: &Error) -> bool {
    use ErrorKind::*;
    match error.kind() {
        Connection | Closed | Unreachable | Proxy | TimedOut | Unavailable | InternalError
        | Throttled | Corrupt => true,
        // The upload is lost, or stands elsewhere.
        Missing => true,
        // The next try takes another form of upload.
        Invalid | Unsupported | TooLarge => true,
        // The next try has a new token.
        Unauthenticated | WrongCredentials => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_gives_up_only_without_progress() {
        let mut breaks = Breaks::default();
        assert!((1..=100).all(|n| breaks.go_on(n * PROGRESS)));
        let mut breaks = Breaks::default();
        let again: Vec<bool> = (0..6).map(|_| breaks.go_on(10)).collect();
        assert_eq!(again, [true, true, true, true, false, false]);
        // Getting back to where it was is no progress.
        let mut breaks = Breaks::default();
        breaks.go_on(5 * PROGRESS);
        let again: Vec<bool> = (0..5).map(|_| breaks.go_on(4 * PROGRESS)).collect();
        assert_eq!(again, [true, true, true, false, false]);
    }
}
