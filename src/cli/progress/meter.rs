//! How fast it goes now, and how long it will take: from what was seen in the last seconds. Pure: the
//! time is passed in.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::seen::Seen;

/// The rate that is shown is that of so long.
const NOW: Duration = Duration::from_secs(5);
/// The time left is told from the rate of a longer while, so that it does not jump.
const WHILE: Duration = Duration::from_secs(20);
/// Items are finished in bursts.
const LONG_WHILE: Duration = Duration::from_secs(60);
/// Nothing is told from less than this.
const LEAST: Duration = Duration::from_secs(1);
/// The time left is told from no less than this …
const LEAST_FOR_TIME: Duration = Duration::from_secs(3);
/// … and no fewer items than this, in so long.
const LEAST_ITEMS: u64 = 10;
const LEAST_FOR_ITEMS: Duration = Duration::from_secs(10);
/// A longer time is no information.
const MOST: Duration = Duration::from_secs(30 * 86_400);

/// Watches numbers grow.
#[derive(Debug)]
pub struct Meter {
    bytes: Window,
    bytes_for_time: Window,
    items: Window,
    blobs: HashMap<u64, Window>,
}

/// What can be told at one moment.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Pace {
    pub bytes_per_second: Option<f64>,
    /// Until everything is done.
    pub left: Option<Duration>,
    /// Of each blob.
    pub blobs: Vec<BlobPace>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub struct BlobPace {
    pub bytes_per_second: Option<f64>,
    pub left: Option<Duration>,
}

/// A number as it was in the last seconds.
#[derive(Debug)]
struct Window {
    span: Duration,
    seen: VecDeque<(Instant, u64)>,
}

impl Meter {
    pub fn new() -> Self {
        Self {
            bytes: Window::of(NOW),
            bytes_for_time: Window::of(WHILE),
            items: Window::of(LONG_WHILE),
            blobs: HashMap::new(),
        }
    }

    /// Takes what is seen now, and tells what can be told.
    pub fn look(&mut self, now: Instant, seen: &Seen) -> Pace {
        self.bytes.add(now, seen.bytes);
        self.bytes_for_time.add(now, seen.bytes);
        self.items.add(now, seen.items.done as u64);
        self.blobs.retain(|number, _| seen.blobs.iter().any(|blob| blob.number == *number));
        let blobs = seen.blobs.iter().map(|blob| {
            let window = self.blobs.entry(blob.number).or_insert_with(|| Window::of(NOW));
            window.add(now, blob.done);
            let bytes_per_second = window.rate(LEAST);
            let left = time_for(blob.size - blob.done.min(blob.size), window.rate(LEAST_FOR_TIME));
            BlobPace { bytes_per_second, left }
        });
        let blobs = blobs.collect();
        Pace { bytes_per_second: self.bytes.rate(LEAST), left: self.left(seen), blobs }
    }

    fn left(&self, seen: &Seen) -> Option<Duration> {
        if let Some(bytes) = seen.bytes_left {
            return time_for(bytes, self.bytes_for_time.rate(LEAST_FOR_TIME));
        }
        let items = &seen.items;
        if !items.is_all || self.items.grown() < LEAST_ITEMS {
            return None;
        }
        let left = items.total.saturating_sub(items.done) as u64;
        time_for(left, self.items.rate(LEAST_FOR_ITEMS))
    }
}

fn time_for(amount: u64, per_second: Option<f64>) -> Option<Duration> {
    let seconds = amount as f64 / per_second.filter(|rate| *rate > 0.0)?;
    let left = Duration::try_from_secs_f64(seconds).ok()?;
    (amount > 0 && left <= MOST).then_some(left)
}

impl Window {
    fn of(span: Duration) -> Self {
        Self { span, seen: VecDeque::new() }
    }

    fn add(&mut self, now: Instant, value: u64) {
        // Something begins anew: what was before says nothing.
        if self.seen.back().is_some_and(|(_, last)| *last > value) {
            self.seen.clear();
        }
        self.seen.push_back((now, value));
        // The last one that is too old is where the window begins.
        while self.seen.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= self.span) {
            self.seen.pop_front();
        }
    }

    /// What one second brings; `None`: nothing was watched for so long.
    fn rate(&self, least: Duration) -> Option<f64> {
        let ((first, _), (last, _)) = (self.seen.front()?, self.seen.back()?);
        let watched = last.duration_since(*first);
        (watched >= least).then(|| self.grown() as f64 / watched.as_secs_f64())
    }

    fn grown(&self) -> u64 {
        let (Some((_, first)), Some((_, last))) = (self.seen.front(), self.seen.back()) else {
            return 0;
        };
        last - first
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::seen::Items;
    use super::*;
    use crate::transfer::BlobStatus;

    /// Looks every fifth of a second, and gives what can be told at the end.
    fn watched(seconds: f64, seen: impl Fn(f64) -> Seen) -> Pace {
        let (begin, mut meter, mut pace) = (Instant::now(), Meter::new(), Pace::default());
        for tick in 0..=(seconds * 5.0) as u64 {
            let at = Duration::from_millis(200 * tick);
            pace = meter.look(begin + at, &seen(at.as_secs_f64()));
        }
        pace
    }

    fn sent(bytes: f64) -> Seen {
        Seen { bytes: bytes as u64, ..Seen::sample() }
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        assert_eq!(watched(0.6, |at| sent(at * 1e6)).bytes_per_second, None);
        let pace = watched(60.0, |at| sent(if at < 50.0 { at * 1e6 } else { 50e6 }));
        assert_eq!(pace.bytes_per_second, Some(0.0));
        let pace = watched(60.0, |at| sent(if at < 50.0 { 0.0 } else { (at - 50.0) * 3e6 }));
        let rate = pace.bytes_per_second.unwrap();
        assert!((rate - 3e6).abs() < 1.0, "{rate}");
    }

    #[test]
    fn time_left_is_told_from_bytes_once_nothing_else_is_to_come() {
        let pace = watched(30.0, |at| Seen { bytes_left: Some(90), ..sent(at * 2.0) });
        assert_eq!(pace.left.unwrap().as_secs(), 45);
        assert_eq!(watched(2.0, |at| Seen { bytes_left: Some(90), ..sent(at * 2.0) }).left, None);
        // Nothing moves: nobody can tell.
        assert_eq!(watched(30.0, |_| Seen { bytes_left: Some(90), ..sent(7.0) }).left, None);
        // Without the bytes, and a total that may grow, nothing can be told.
        assert_eq!(watched(30.0, sent).left, None);
    }

    #[test]
    fn time_left_is_told_from_items_if_there_are_enough_of_them() {
        let items = |done: f64, is_all| Seen {
            items: Items { done: done as usize, total: 1_000, is_all, ..Items::default() },
            ..Seen::sample()
        };
        assert_eq!(watched(50.0, |at| items(at * 10.0, true)).left.unwrap().as_secs(), 50);
        assert_eq!(watched(50.0, |at| items(at * 10.0, false)).left, None);
        assert_eq!(watched(50.0, |at| items(at / 10.0, true)).left, None);
        assert_eq!(watched(5.0, |at| items(at * 10.0, true)).left, None);
        // All are done.
        assert_eq!(watched(100.0, |at| items(at * 10.0, true)).left, None);
    }

    #[test]
    fn a_blob_that_begins_anew_is_watched_anew() {
        let blob = |done: f64| {
            let done = done as u64;
            let started = Instant::now();
            let blob = BlobStatus { number: 1, image: "a".to_owned(), done, size: 1_000, started };
            Seen { blobs: vec![blob], ..Seen::sample() }
        };
        let pace = watched(10.0, |at| blob(at * 50.0));
        assert_eq!(pace.blobs[0].bytes_per_second.unwrap().round(), 50.0);
        assert_eq!(pace.blobs[0].left.unwrap().as_secs(), 10);
        let pace = watched(10.0, |at| blob(if at < 9.5 { at * 50.0 } else { 0.0 }));
        assert_eq!(pace.blobs[0], BlobPace::default());
    }

    proptest! {
        /// Whatever is seen: rates are numbers, and no window keeps more than its time.
        #[test]
        fn rates_are_never_negative_and_windows_do_not_grow(
            steps in prop::collection::vec((0_u64..2_000, 0_u64..1 << 60), 1..200),
        ) {
            let (mut now, mut window) = (Instant::now(), Window::of(NOW));
            for (milliseconds, value) in steps {
                now += Duration::from_millis(milliseconds);
                window.add(now, value);
                if let Some(rate) = window.rate(LEAST) {
                    prop_assert!(rate >= 0.0 && rate.is_finite());
                }
                let too_old = window.seen.iter().filter(|(at, _)| now.duration_since(*at) > NOW);
                prop_assert!(too_old.count() <= 1);
            }
        }
    }
}
