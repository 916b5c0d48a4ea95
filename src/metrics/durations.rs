//! A histogram of durations that is small enough to have several for each of many rules.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus::proto::{Bucket, Histogram};

/// Counts durations by bounds.
#[derive(Debug)]
pub(super) struct Durations {
    /// Seconds, rising.
    bounds: &'static [f64],
    /// One count for each bound: of durations above the bound before it. The last is of durations
    /// above all bounds.
    counts: Box<[AtomicU64]>,
    microseconds: AtomicU64,
}

impl Durations {
    pub fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, microseconds: AtomicU64::new(0) }
    }

    pub fn observe(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let at = self.bounds.partition_point(|bound| *bound < seconds);
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.microseconds.fetch_add(micros, Ordering::Relaxed);
        self.counts[at].fetch_add(1, Ordering::Relaxed);
    }

    pub fn is_empty(&self) -> bool {
        self.counts.iter().all(|count| count.load(Ordering::Relaxed) == 0)
    }

    /// The histogram for Prometheus, in which each bucket counts all durations up to its bound.
    pub fn show(&self) -> Histogram {
        let mut total = 0;
        let mut buckets = Vec::with_capacity(self.bounds.len());
        let mut counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        for (bound, count) in self.bounds.iter().zip(&mut counts) {
            total += count;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(total);
            buckets.push(bucket);
        }
        let mut shown = Histogram::default();
        shown.set_bucket(buckets);
        shown.set_sample_count(total + counts.sum::<u64>());
        shown.set_sample_sum(self.microseconds.load(Ordering::Relaxed) as f64 / 1e6);
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOUNDS: [f64; 3] = [0.1, 1.0, 60.0];

    fn shown(millis: &[u64]) -> (Vec<u64>, u64, f64) {
        let durations = Durations::new(&BOUNDS);
        for millis in millis {
            durations.observe(Duration::from_millis(*millis));
        }
        let shown = durations.show();
        let buckets = shown.get_bucket().iter().map(Bucket::cumulative_count).collect();
        (buckets, shown.get_sample_count(), shown.get_sample_sum())
    }

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        assert_eq!(shown(&[]), (vec![0, 0, 0], 0, 0.0));
        assert_eq!(shown(&[100, 101, 60_000, 60_001]), (vec![1, 2, 3], 4, 120.202));
    }

    proptest! {
        #[test]
        fn every_bucket_counts_what_is_at_most_its_bound(
            millis in proptest::collection::vec(0u64..200_000, 0..40),
        ) {
            let (buckets, count, sum) = shown(&millis);
            for (bound, bucket) in BOUNDS.iter().zip(buckets) {
                let below = millis.iter().filter(|ms| **ms as f64 / 1e3 <= *bound).count();
                prop_assert_eq!(bucket, below as u64);
            }
            prop_assert_eq!(count, millis.len() as u64);
            prop_assert!((sum - millis.iter().sum::<u64>() as f64 / 1e3).abs() < 1e-6);
        }
    }
}
