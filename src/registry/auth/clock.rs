//! The time, handed in from outside so that tests can hold it still.

use std::sync::Arc;
use std::time::Instant;

/// A clock that never goes backwards: `Arc::new(Instant::now)` outside tests.
pub type Clock = Arc<dyn Fn() -> Instant + Send + Sync>;

/// A clock that stands still until it is told how much later it is.
#[cfg(test)]
#[derive(Clone)]
pub struct ManualClock(Arc<parking_lot::Mutex<Instant>>);

#[cfg(test)]
impl ManualClock {
    pub fn new() -> Self {
        Self(Arc::new(parking_lot::Mutex::new(Instant::now())))
    }

    pub fn advance(&self, by: std::time::Duration) {
        *self.0.lock() += by;
    }

    pub fn clock(&self) -> Clock {
        let now = self.0.clone();
        Arc::new(move || *now.lock())
    }
}
