//! How many requests one registry accepts: configured limits, and what was learnt from its answers.
//! They outlive a reload of the configuration, because what was learnt stays true.

use parking_lot::Mutex;
use tokio::time::Instant;

use super::activity::Activity;
use super::limiter::Limiter;
use crate::repository::Cause;

/// The limits of one registry, shared by everything that talks to it.
#[derive(Debug)]
pub struct Limits {
    parallel: Option<u32>,
    per_second: Option<f64>,
    /// Requests until their answer begins.
    pub(super) requests: Limiter,
    /// Uploads, for as long as their bytes take.
    pub(super) uploads: Limiter,
    pub(super) activity: Activity,
    /// The registry asked for a pause that is longer than requests wait: its end, and the refusal.
    closed: Mutex<Option<(Instant, Cause)>>,
}

impl Limits {
    /// At most `parallel` requests at once and `per_second` requests a second; `None`: as many as
    /// the registry answers well.
    pub fn new(parallel: Option<u32>, per_second: Option<f64>) -> Self {
        Self {
            parallel,
            per_second,
            requests: Limiter::new(parallel, per_second),
            uploads: Limiter::new(parallel, None),
            activity: Activity::default(),
            closed: Mutex::default(),
        }
    }

    /// Whether these are the limits for such a configuration.
    pub fn are_for(&self, parallel: Option<u32>, per_second: Option<f64>) -> bool {
        self.parallel == parallel && self.per_second == per_second
    }

    /// Sends no request until then.
    pub(super) fn close(&self, until: Instant, cause: Cause) {
        *self.closed.lock() = Some((until, cause));
    }

    /// The refusal because of which no request is sent at the moment.
    pub fn closed(&self) -> Option<Cause> {
        let closed = self.closed.lock();
        let closed = closed.as_ref().filter(|(until, _)| Instant::now() < *until);
        closed.map(|(_, cause)| cause.clone())
    }

    /// How many requests may be under way at once.
    pub fn window(&self) -> u32 {
        self.requests.window()
    }

    /// How many requests and uploads are under way.
    pub fn in_flight(&self) -> u32 {
        self.requests.under_way() + self.uploads.under_way()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_closed_registry_opens_by_itself() {
        let limits = Limits::new(None, None);
        assert_eq!(limits.closed(), None);
        let cause = Cause::Protocol("come back in three hours".to_owned());
        limits.close(Instant::now() + Duration::from_secs(10_800), cause.clone());
        assert_eq!(limits.closed(), Some(cause.clone()));
        limits.close(Instant::now(), cause);
        assert_eq!(limits.closed(), None);
    }
}
