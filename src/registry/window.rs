//! How many requests may be under way at one registry: a pure controller, fed with outcomes.
//!
//! The window grows while answers are good and the window is what holds requests back. It doubles
//! each round trip at first and grows by one a round trip later; it halves when the registry asks
//! for less (429, 503). It also stops growing where more requests only wait longer for their
//! answers: on a fast network to a busy server that is the sign that the server is the limit.

use std::time::Duration;

/// Where every window starts: enough for a small mirror, harmless to a small server.
const START: f64 = 8.0;
/// As many as common registries and proxies take from one client without complaint.
pub const DEFAULT_MAX: u32 = 64;
/// An answer that takes this many times the best one says that requests queue at the server.
const QUEUEING: f64 = 3.0;
/// Latency noise below this says nothing.
const NOISE: Duration = Duration::from_millis(4);
/// Weight of a new sample in the running mean of the latency ratio.
const SMOOTHING: f64 = 0.1;
/// The best latency is forgotten this fast, so that a network that became slower is learnt.
const FORGETTING: f64 = 1.0005;

/// What kind of answer was waited for: their latencies differ and are not compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// HEAD requests.
    Probe,
    /// GET until the headers arrive.
    Read,
    /// POST of an upload or a mount, DELETE.
    Start,
    /// Requests with a body: their time says nothing of the server's load.
    Write,
}

#[derive(Debug)]
pub struct Window {
    limit: f64,
    max: f64,
    doubling: bool,
    /// Best latency in seconds, by `Kind`.
    best: [Option<f64>; 3],
    /// Running mean of latency over best latency.
    ratio: f64,
    /// Requests that were under way when the window was last halved; their failures are old news.
    stale: u32,
}

impl Window {
    /// A window of at most `max` requests, at least one.
    pub fn new(max: u32) -> Self {
        let max = f64::from(max.max(1));
        Self { limit: START.min(max), max, doubling: true, best: [None; 3], ratio: 1.0, stale: 0 }
    }

    /// How many requests may be under way now.
    pub fn limit(&self) -> u32 {
        // Between 1 and `max`, so the cast neither wraps nor loses more than a fraction.
        self.limit as u32
    }

    /// A good answer came after `latency`. `full`: the window was used up when it was asked for.
    pub fn good(&mut self, kind: Kind, latency: Duration, full: bool) {
        self.stale = self.stale.saturating_sub(1);
        self.learn(kind, latency);
        if !full {
            return;
        }
        if self.ratio > QUEUEING {
            self.doubling = false;
            return;
        }
        self.limit += if self.doubling { 1.0 } else { 1.0 / self.limit };
        self.limit = self.limit.min(self.max);
    }

    fn learn(&mut self, kind: Kind, latency: Duration) {
        if kind == Kind::Write {
            return;
        }
        let sample = latency.as_secs_f64().max(1e-6);
        let best = &mut self.best[kind as usize];
        let known = best.map_or(sample, |best| (best * FORGETTING).min(sample));
        *best = Some(known);
        let ratio =
            if latency < NOISE { 1.0 } else { sample / known.max(NOISE.as_secs_f64() / QUEUEING) };
        self.ratio += (ratio - self.ratio) * SMOOTHING;
    }

    /// The registry asked for less while `in_flight` requests were under way.
    pub fn overload(&mut self, in_flight: u32) {
        self.doubling = false;
        if self.stale > 0 {
            self.stale -= 1;
            return;
        }
        self.stale = in_flight.saturating_sub(1);
        self.limit = (self.limit / 2.0).max(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FAST: Duration = Duration::from_millis(50);

    fn grown(requests: u32) -> Window {
        let mut window = Window::new(DEFAULT_MAX);
        for _ in 0..requests {
            window.good(Kind::Probe, FAST, true);
        }
        window
    }

    #[test]
    fn it_grows_quickly_to_the_maximum_over_a_long_network() {
        assert_eq!(grown(0).limit(), 8);
        assert_eq!(grown(8).limit(), 16);
        assert_eq!(grown(1000).limit(), DEFAULT_MAX);
    }

    #[test]
    fn it_stays_where_more_requests_only_wait_longer() {
        let mut window = Window::new(DEFAULT_MAX);
        window.good(Kind::Probe, Duration::from_millis(2), true);
        for _ in 0..1000 {
            window.good(Kind::Probe, Duration::from_millis(40), true);
        }
        assert!(window.limit() < 24, "{}", window.limit());
    }

    #[test]
    fn unused_room_is_no_reason_to_grow() {
        let mut window = Window::new(DEFAULT_MAX);
        for _ in 0..1000 {
            window.good(Kind::Probe, FAST, false);
        }
        assert_eq!(window.limit(), 8);
    }

    #[test]
    fn one_burst_of_refusals_halves_once() {
        let mut window = grown(1000);
        for _ in 0..64 {
            window.overload(64);
        }
        assert_eq!(window.limit(), 32);
        window.overload(32);
        assert_eq!(window.limit(), 16);
    }

    proptest! {
        #[test]
        fn the_limit_stays_in_its_bounds(
            max in 1u32..200,
            events in proptest::collection::vec((any::<bool>(), 0u64..10_000, any::<bool>()), 0..500),
        ) {
            let mut window = Window::new(max);
            for (good, micros, full) in events {
                if good {
                    window.good(Kind::Read, Duration::from_micros(micros), full);
                } else {
                    window.overload(window.limit());
                }
                prop_assert!((1..=max).contains(&window.limit()));
            }
        }
    }
}
