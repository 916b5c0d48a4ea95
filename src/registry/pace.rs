//! How many requests a second a registry takes: a pure controller, fed with outcomes.
//!
//! Unknown until the first 429. Then the pace is set a little below what the registry has taken
//! in the second before, and creeps up again until the next 429. A pace that is configured is
//! kept from the start and never exceeded.
//!
//! A single 429 may mean anything: a limit by the hour, a proxy in a bad mood. So one refusal never
//! lowers the pace by much, and a pace that is never refused is soon forgotten.
//!
//! After a 429 nothing leaves for a moment, even if the registry does not ask for that: a window
//! of time that is used up refuses everything until it ends, at whatever pace.

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
/// How long nothing leaves after a refusal. Doubled while pauses end in the next refusal.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
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
    /// When the last refusal was heeded.
    changed: Option<Instant>,
    paused_until: Option<Instant>,
    next_pause: Duration,
}

impl Pace {
    pub fn new(ceiling: Option<f64>) -> Self {
        Self {
            ceiling,
            learnt: None,
            next: None,
            taken: VecDeque::new(),
            changed: None,
            paused_until: None,
            next_pause: FIRST_PAUSE,
        }
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

    /// Reserves the next time slot: when this request may leave. The slot is void if a pause has
    /// begun by then.
    pub fn slot(&mut self, now: Instant) -> Instant {
        let from = self.paused_until.map_or(now, |until| until.max(now));
        let Some(rate) = self.rate(now) else { return from };
        let slot = self.next.map_or(from, |next| next.max(from));
        self.next = Some(slot + Duration::from_secs_f64(1.0 / rate.max(SLOWEST)));
        slot
    }

    /// No request leaves before that time.
    pub fn pause(&mut self, until: Instant) {
        self.paused_until = Some(self.paused_until.map_or(until, |known| known.max(until)));
    }

    /// Whether a request that was to leave at `slot` has to wait on.
    pub fn is_paused(&self, slot: Instant) -> bool {
        self.paused_until.is_some_and(|until| slot < until)
    }

    /// A good answer came to a request that left at `sent`.
    pub fn good(&mut self, sent: Instant, now: Instant) {
        if self.changed.is_none_or(|changed| sent >= changed) {
            self.next_pause = FIRST_PAUSE;
        }
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
        let pause_was_too_short = self.next_pause > FIRST_PAUSE;
        self.pause(now + self.next_pause);
        self.next_pause = (self.next_pause * 2).min(LONGEST_PAUSE);
        if pause_was_too_short {
            // The growth goes on from where it was: nothing was learnt of the pace.
            self.learnt = self.rate(now);
            self.changed = Some(now);
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

    /// A registry that takes `limit` requests in each second and refuses the rest, perhaps asking
    /// for a pause of a second; a client that asks as fast as it may. Returns requests taken and
    /// refused in `seconds`.
    fn play(
        limit: u32,
        seconds: u64,
        ceiling: Option<f64>,
        latency: Duration,
        retry_after: bool,
    ) -> (u32, u32) {
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
                pace.good(sent, now);
            } else {
                refused += 1;
                pace.refused(sent, now);
                if retry_after {
                    pace.pause(now + Duration::from_secs(1));
                }
            }
        }
        (taken, refused)
    }

    #[test]
    fn a_hidden_limit_is_found_and_nearly_used_up() {
        for retry_after in [true, false] {
            let (taken, refused) = play(100, 60, None, Duration::from_millis(2), retry_after);
            assert!(taken >= 85 * 60, "{taken} {retry_after}");
            assert!(refused * 200 < taken, "{refused} of {taken} {retry_after}");
        }
    }

    #[test]
    fn a_window_that_is_used_up_is_waited_out_without_lowering_the_pace() {
        let (start, ms) = (Instant::now(), Duration::from_millis);
        let mut pace = Pace::new(None);
        for n in 0..100 {
            pace.good(start, start + ms(n));
        }
        pace.refused(start, start + ms(100));
        assert_eq!(pace.rate(start + ms(100)), Some(94.0));
        assert_eq!(pace.slot(start + ms(100)), start + ms(350));
        // What left before says nothing new.
        pace.refused(start + ms(99), start + ms(120));
        assert!(!pace.is_paused(start + ms(350)));
        pace.refused(start + ms(350), start + ms(350));
        assert!(pace.rate(start + ms(350)) >= Some(94.0));
        assert!(pace.is_paused(start + ms(849)) && !pace.is_paused(start + ms(850)));
        // The next one is good: the pause was long enough, and the next begins small again.
        pace.good(start + ms(850), start + ms(851));
        pace.refused(start + ms(860), start + ms(860));
        assert!(!pace.is_paused(start + ms(1110)));
    }

    #[test]
    fn a_single_refusal_slows_little_and_is_forgotten() {
        let start = Instant::now();
        let mut pace = Pace::new(None);
        pace.good(start, start);
        pace.refused(start, start);
        let rate = |seconds| pace.rate(start + Duration::from_secs(seconds)).unwrap();
        assert!(rate(0) > 15.0, "{}", rate(0));
        assert!(rate(180) > 500.0, "{}", rate(180));
    }

    #[test]
    fn a_slow_registry_is_found_too() {
        let (taken, refused) = play(3, 120, None, Duration::from_millis(2), true);
        assert!(taken >= 240, "{taken}");
        assert!(refused * 8 < taken, "{refused} of {taken}");
    }

    #[test]
    fn without_refusals_there_is_no_limit() {
        let (taken, refused) = play(u32::MAX, 5, None, Duration::from_millis(1), true);
        assert_eq!((taken, refused), (5000, 0));
    }

    #[test]
    fn a_configured_pace_is_never_exceeded() {
        let (taken, refused) = play(1000, 10, Some(50.0), Duration::from_millis(1), true);
        assert!((495..=501).contains(&taken), "{taken}");
        assert_eq!(refused, 0);
    }
}
