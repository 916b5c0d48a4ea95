//! How much one registry takes, as configured and as found out. It outlives a change of
//! credentials: what was found out stays true.

use super::limiter::Limiter;

/// The limits of one registry, shared by everything that talks to it.
#[derive(Debug)]
pub struct Limits {
    parallel: Option<u32>,
    per_second: Option<f64>,
    /// Requests until their answer begins.
    pub(super) requests: Limiter,
    /// Uploads, for as long as their bytes take.
    pub(super) uploads: Limiter,
}

/// The limits at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitsReading {
    /// Requests that may be under way at once.
    pub window: u32,
    /// Requests and uploads that are.
    pub in_flight: u32,
}

impl Limits {
    /// At most `parallel` requests at once and `per_second` requests a second; without these, as
    /// many as the registry takes well.
    pub fn new(parallel: Option<u32>, per_second: Option<f64>) -> Self {
        Self {
            parallel,
            per_second,
            requests: Limiter::new(parallel, per_second),
            uploads: Limiter::new(parallel, None),
        }
    }

    /// Whether these are the limits for such a configuration.
    pub fn are_for(&self, parallel: Option<u32>, per_second: Option<f64>) -> bool {
        self.parallel == parallel && self.per_second == per_second
    }

    pub fn read(&self) -> LimitsReading {
        LimitsReading {
            window: self.requests.window(),
            in_flight: self.requests.under_way() + self.uploads.under_way(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::new(None, None)
    }
}
