//! How many requests a second the API takes.

use std::num::NonZeroU32;

use governor::clock::DefaultClock;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use http::StatusCode;

use super::problem::Problem;

/// Requests a second, and at once after a pause. People and dashboards need a few.
const REQUESTS: (u32, u32) = (100, 300);
/// Scrapes; they are cheap, and a watcher must not be kept out by the rest.
const PROBES: (u32, u32) = (50, 200);
/// Requests without the right token.
const REFUSALS: (u32, u32) = (50, 200);
/// Push events may come in bursts: a registry tells of every tag of a release on its own.
const EVENTS: (u32, u32) = (2_000, 20_000);
/// The rates of one server, over all its clients.
pub(super) struct Limits {
    pub requests: Rate,
    /// Of requests by somebody unknown, which are refused anyway.
    pub refusals: Rate,
    pub probes: Rate,
    /// Of notifications, which their senders send again.
    pub events: Rate,
}

/// A limited number of requests a second.
pub(super) struct Rate(RateLimiter<NotKeyed, InMemoryState, DefaultClock>);

impl Limits {
    pub fn new() -> Self {
        Self {
            requests: Rate::new(REQUESTS),
            refusals: Rate::new(REFUSALS),
            probes: Rate::new(PROBES),
            events: Rate::new(EVENTS),
        }
    }
}

impl Rate {
    fn new((a_second, at_once): (u32, u32)) -> Self {
        let at_least_one = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(at_least_one(a_second)).allow_burst(at_least_one(at_once));
        Self(RateLimiter::direct(quota))
    }

    /// Counts a request, or refuses it.
    pub fn admit(&self) -> Result<(), Problem> {
        let detail = "too many requests at once: try again shortly";
        self.0.check().map_err(|_| Problem::new(StatusCode::TOO_MANY_REQUESTS, detail))
    }
}
