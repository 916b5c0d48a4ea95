//! How many requests a second a registry takes: a pure controller, fed with outcomes.
//!
//! Unknown until the first 429. Then the pace is set a little below what the registry has taken
//! in the second before, and creeps up again until the next 429. A pace that is configured is
//! kept from the start and never exceeded.
//!
//! A single 429 may mean anything: a limit by the hour, a proxy in a bad mood. So one refusal never
//! lowers the pace by much, and a pace that is never refused is soon forgotten.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// What the registry took is measured over this time.
const MEASURED: Duration = Duration::from_secs(1);
/// The part of it that is asked for after a refusal.
const CAUTION: f64 = 0.94;
/// The pace grows by this part of itself in a second without refusals.
const GROWTH: f64 = 0.005;
/// Without refusals for so many seconds, it has doubled, and grows ever faster.
const DOUBLED: f64 = 60.0;
/// The lowest pace that a first refusal is taken for: few requests were under way then, or many
/// were, but not for a second yet.
const PLAUSIBLE: f64 = 20.0;
/// One refusal more leaves at least this part of a known pace.
const KEPT: f64 = 0.8;
/// Below this a mirror would never finish; the registry's Retry-After still holds.
const SLOWEST: f64 = 0.5;
/// Good answers are counted in this many parts of `MEASURED`, to bound memory.
const PARTS: u32 = 20;

#[derive(Debug)]
pub struct Pace {
    /// Requests a second that the user allows.
    ceiling: Option<f64>,
    /// Requests a second that the registry is believed to take.
    learnt: Option<f64>,
    /// When the next request may leave.
    next: Option<Instant>,
    /// Good answers of the last `MEASURED`: when a part began, and how many it counts.
    taken: VecDeque<(Instant, u32)>,
    changed: Option<Instant>,
}

impl Pace {
    pub fn new(ceiling: Option<f64>) -> Self {
        Self { ceiling, learnt: None, next: None, taken: VecDeque::new(), changed: None }
    }

    /// Requests a second at `now`; `None`: not limited.
    pub fn rate(&self, now: Instant) -> Option<f64> {
        let grown = self.learnt.map(|rate| {
            let quiet =
                self.changed.map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64());
            rate * (1.0 + GROWTH * quiet + (quiet / DOUBLED).powi(3))
        });
        match (grown, self.ceiling) {
            (Some(learnt), Some(ceiling)) => Some(learnt.min(ceiling)),
            (learnt, ceiling) => learnt.or(ceiling),
        }
    }

    /// Takes the next place in the row: when this request may leave.
    pub fn slot(&mut self, now: Instant) -> Instant {
        let Some(rate) = self.rate(now) else { return now };
        let slot = self.next.map_or(now, |next| next.max(now));
        self.next = Some(slot + Duration::from_secs_f64(1.0 / rate.max(SLOWEST)));
        slot
    }

    /// A good answer came.
    pub fn good(&mut self, now: Instant) {
        self.forget(now);
        match self.taken.back_mut() {
            Some((since, count)) if now.saturating_duration_since(*since) < MEASURED / PARTS => {
                *count += 1;
            }
            _ => self.taken.push_back((now, 1)),
        }
    }

    fn forget(&mut self, now: Instant) {
        while self
            .taken
            .front()
            .is_some_and(|(since, _)| now.saturating_duration_since(*since) > MEASURED)
        {
            self.taken.pop_front();
        }
    }

    /// The registry refused a request that left at `sent` because there were too many.
    pub fn refused(&mut self, sent: Instant, now: Instant) {
        // Requests that left before the pace was lowered say nothing about the new pace.
        if self.changed.is_some_and(|changed| sent < changed) {
            return;
        }
        self.forget(now);
        let taken: u32 = self.taken.iter().map(|(_, count)| count).sum();
        let measured = f64::from(taken) / MEASURED.as_secs_f64();
        let rate = match self.rate(now) {
            Some(rate) => measured.clamp(rate * KEPT, rate),
            None => measured.max(PLAUSIBLE),
        };
        self.learnt = Some((rate * CAUTION).max(SLOWEST));
        self.changed = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A registry that takes `limit` requests in each second and refuses the rest; a client that
    /// asks as fast as it may. Returns requests taken and refused in `seconds`.
    fn play(limit: u32, seconds: u64, ceiling: Option<f64>, latency: Duration) -> (u32, u32) {
        let start = Instant::now();
        let (mut pace, mut now) = (Pace::new(ceiling), start);
        let (mut taken, mut refused, mut second, mut count) = (0, 0, 0, 0);
        while now - start < Duration::from_secs(seconds) {
            let sent = pace.slot(now);
            now = sent + latency;
            let this = (sent - start).as_secs();
            if this != second {
                (second, count) = (this, 0);
            }
            if count < limit {
                count += 1;
                taken += 1;
                pace.good(now);
            } else {
                refused += 1;
                pace.refused(sent, now);
                now += Duration::from_secs(1); // Retry-After
            }
        }
        (taken, refused)
    }

    #[test]
    fn a_hidden_limit_is_found_and_nearly_used_up() {
        let (taken, refused) = play(100, 60, None, Duration::from_millis(2));
        assert!(taken >= 85 * 60, "{taken}");
        assert!(refused * 100 < taken, "{refused} of {taken}");
    }

    #[test]
    fn a_single_refusal_slows_little_and_is_forgotten() {
        let start = Instant::now();
        let mut pace = Pace::new(None);
        pace.good(start);
        pace.refused(start, start);
        let rate = |seconds| pace.rate(start + Duration::from_secs(seconds)).unwrap();
        assert!(rate(0) > 15.0, "{}", rate(0));
        assert!(rate(180) > 500.0, "{}", rate(180));
    }

    #[test]
    fn a_slow_registry_is_found_too() {
        let (taken, refused) = play(3, 120, None, Duration::from_millis(2));
        assert!(taken >= 240, "{taken}");
        assert!(refused * 8 < taken, "{refused} of {taken}");
    }

    #[test]
    fn without_refusals_there_is_no_limit() {
        let (taken, refused) = play(u32::MAX, 5, None, Duration::from_millis(1));
        assert_eq!((taken, refused), (5000, 0));
    }

    #[test]
    fn a_configured_pace_is_never_exceeded() {
        let (taken, refused) = play(1000, 10, Some(50.0), Duration::from_millis(1));
        assert!((495..=501).contains(&taken), "{taken}");
        assert_eq!(refused, 0);
    }
}
