//! Which runs have stalled: nothing has moved in them for too long. Pure.
//!
//! Every wait on the network is bounded, so a stall is a registry that keeps promising, or a
//! fault of ours. Either way somebody should look.

use std::time::Duration;

use tokio::time::Instant;

/// What changes whenever something moves in a run: images settled, bytes of those under way, and
/// signs of life.
pub type Reading = (usize, u64, u64);

/// A change that is reported once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// Nothing has moved for too long.
    Stalled,
    /// Something does again.
    Moves,
}

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
        Self { seen: (0, 0, 0), moved: now, told: false }
    }

    /// Looks at the run: it is told once that it has stalled, and once that it moves again.
    pub fn look(&mut self, reading: Reading, now: Instant, limit: Duration) -> Option<News> {
        if reading != self.seen {
            (self.seen, self.moved) = (reading, now);
            return self.end();
        }
        let stalled = now.saturating_duration_since(self.moved) >= limit;
        (stalled && !std::mem::replace(&mut self.told, true)).then_some(News::Stalled)
    }

    /// The run has ended, or moves.
    pub fn end(&mut self) -> Option<News> {
        std::mem::take(&mut self.told).then_some(News::Moves)
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
    fn a_stall_and_its_end_are_told_once() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let limit = Duration::from_secs(60);
        let mut movement = Movement::new(begin);
        assert_eq!(movement.look((0, 0, 0), at(59), limit), None);
        assert_eq!(movement.stalled(at(59), limit), None);
        assert_eq!(movement.due(limit), Some(at(60)));
        assert_eq!(movement.look((0, 0, 0), at(60), limit), Some(News::Stalled));
        assert_eq!(movement.look((0, 0, 0), at(600), limit), None);
        assert_eq!(movement.due(limit), None);
        assert_eq!(movement.stalled(at(600), limit), Some(Duration::from_secs(600)));
        assert_eq!(movement.look((0, 1, 0), at(601), limit), Some(News::Moves));
        assert_eq!(movement.stalled(at(601), limit), None);
        // A sign of life is enough.
        assert_eq!(movement.look((0, 1, 1), at(660), limit), None);
        assert_eq!(movement.look((0, 1, 1), at(719), limit), None);
        assert_eq!(movement.end(), None);
        assert_eq!(movement.look((0, 1, 1), at(720), limit), Some(News::Stalled));
        assert_eq!(movement.end(), Some(News::Moves));
    }
}
