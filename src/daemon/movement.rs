//! Which runs have stalled: nothing has moved in them for too long. Pure.
//!
//! Every wait on the network is bounded, so a stall is a registry that keeps promising, or a
//! fault of ours. Either way somebody should look.

use std::time::Duration;

use tokio::time::Instant;

/// What changes whenever something moves in a run: images settled, and bytes of those under way.
pub type Reading = (usize, u64);

/// Watches one run.
#[derive(Debug)]
pub struct Movement {
    seen: Reading,
    moved: Instant,
    /// It was said that the run has stalled.
    told: bool,
}

impl Movement {
    pub fn new(now: Instant) -> Self {
        Self { seen: (0, 0), moved: now, told: false }
    }

    /// Looks at the run. `true` once when it has stalled, and again only after it moved.
    pub fn look(&mut self, reading: Reading, now: Instant, limit: Duration) -> bool {
        if reading != self.seen {
            *self = Self { seen: reading, moved: now, told: false };
        }
        let stalled = now.saturating_duration_since(self.moved) >= limit;
        stalled && !std::mem::replace(&mut self.told, true)
    }

    /// When it will have stalled unless something moves, if that was not told yet.
    pub fn due(&self, limit: Duration) -> Option<Instant> {
        if self.told { None } else { self.moved.checked_add(limit) }
    }

    /// For how long nothing has moved, if that is longer than allowed.
    pub fn stalled(&self, now: Instant, limit: Duration) -> Option<Duration> {
        let still = now.saturating_duration_since(self.moved);
        (still >= limit).then_some(still)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_is_told_once_until_something_moves() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let limit = Duration::from_secs(60);
        let mut movement = Movement::new(begin);
        assert!(!movement.look((0, 0), at(59), limit));
        assert_eq!(movement.stalled(at(59), limit), None);
        assert_eq!(movement.due(limit), Some(at(60)));
        assert!(movement.look((0, 0), at(60), limit));
        assert!(!movement.look((0, 0), at(600), limit));
        assert_eq!(movement.due(limit), None);
        assert_eq!(movement.stalled(at(600), limit), Some(Duration::from_secs(600)));
        assert!(!movement.look((0, 1), at(601), limit));
        assert_eq!(movement.stalled(at(601), limit), None);
        assert!(movement.look((0, 1), at(661), limit));
    }
}
