//! How long to wait after repeated failures: exponential growth up to a limit. Pure.

use std::time::Duration;

/// Waits that double with each failure in a row, from `first` up to `longest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    pub first: Duration,
    pub longest: Duration,
}

impl Backoff {
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest }
    }

    /// The wait after this many failures in a row, counted from 1. Nothing failed: no wait.
    pub fn after(&self, failures: u32) -> Duration {
        match failures.checked_sub(1) {
            None => Duration::ZERO,
            Some(doublings) => self.first.saturating_mul(1 << doublings.min(31)).min(self.longest),
        }
    }

    /// A random part of that wait ("full jitter"), so that clients that failed together do not
    /// come back together. `random` is between 0 and 1.
    pub fn jittered(&self, failures: u32, random: f64) -> Duration {
        self.after(failures).mul_f64(random.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let backoff = Backoff::new(Duration::from_secs(5), Duration::from_secs(900));
        let waits = [0, 1, 2, 3, 8, 9, u32::MAX].map(|failures| backoff.after(failures).as_secs());
        assert_eq!(waits, [0, 5, 10, 20, 640, 900, 900]);
        let halves = [0, 1, 2].map(|failures| backoff.jittered(failures, 0.5).as_secs_f64());
        assert_eq!(halves, [0.0, 2.5, 5.0]);
        assert_eq!(backoff.jittered(9, 7.0), backoff.longest);
        assert_eq!(backoff.jittered(9, -1.0), Duration::ZERO);
        let longest = Backoff::new(Duration::MAX, Duration::MAX);
        assert_eq!(longest.after(40), Duration::MAX);
    }
}
