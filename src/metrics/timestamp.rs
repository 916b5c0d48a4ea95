//! A timestamp that is shown once it is set.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;

/// A timestamp in milliseconds since 1970 that may not be set.
#[derive(Debug)]
pub(super) struct OptionalTimestamp(AtomicI64);

impl Default for OptionalTimestamp {
    fn default() -> Self {
        Self(AtomicI64::new(Self::UNSET))
    }
}

impl OptionalTimestamp {
    const UNSET: i64 = i64::MIN;

    pub fn set(&self, at: Option<Timestamp>) {
        self.0.store(at.map_or(Self::UNSET, Timestamp::as_millisecond), Ordering::Relaxed);
    }

    /// Seconds since 1970.
    pub fn get(&self) -> Option<f64> {
        let millis = self.0.load(Ordering::Relaxed);
        (millis != Self::UNSET).then(|| millis as f64 / 1e3)
    }
}
