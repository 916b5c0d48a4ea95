//! A moment that is shown once it has come.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;

/// A moment that may not have come yet, in milliseconds since 1970.
#[derive(Debug)]
pub(super) struct Moment(AtomicI64);

impl Moment {
    const NEVER: i64 = i64::MIN;

    pub fn new() -> Self {
        Self(AtomicI64::new(Self::NEVER))
    }

    pub fn set(&self, at: Option<Timestamp>) {
        self.0.store(at.map_or(Self::NEVER, Timestamp::as_millisecond), Ordering::Relaxed);
    }

    /// Seconds since 1970.
    pub fn get(&self) -> Option<f64> {
        let millis = self.0.load(Ordering::Relaxed);
        (millis != Self::NEVER).then(|| millis as f64 / 1e3)
    }
}
