//! How many requests one registry accepts: configured limits, and what was learnt from its answers.
//! They outlive a reload of the configuration, because what was learnt stays true.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::activity::Activity;
use super::limiter::Limiter;
use super::pauses::{Kind, Pause, Pauses};
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
    /// The long waits that the registry asked for.
    pauses: Mutex<Pauses>,
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
            pauses: Mutex::default(),
        }
    }

    /// Whether these are the limits for such a configuration.
    pub fn are_for(&self, parallel: Option<u32>, per_second: Option<f64>) -> bool {
        self.parallel == parallel && self.per_second == per_second
    }

    /// A request was refused with a long wait, see [`Pauses::refused`].
    pub(super) fn hold(
        &self,
        kind: Kind,
        repository: &str,
        wait: Duration,
        cause: Cause,
        is_short: bool,
    ) {
        let now = Instant::now();
        self.pauses.lock().refused(kind, repository, now, wait, cause, is_short);
    }

    /// A request that left at `sent` was answered well.
    pub(super) fn answered(&self, kind: Kind, sent: Instant) {
        self.pauses.lock().good(kind, sent);
    }

    /// Why such a request may not leave now.
    pub(super) fn held(&self, kind: Kind, repository: &str) -> Option<Pause> {
        self.pauses.lock().held(kind, repository, Instant::now()).cloned()
    }

    /// The refusal because of which no repository is asked at the moment, at least in some way.
    pub fn closed(&self) -> Option<Cause> {
        self.pauses.lock().all_held(Instant::now()).map(|pause| pause.cause.clone())
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
