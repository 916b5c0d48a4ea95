//! How much the API takes: requests a second, and bytes of a body.

use std::num::NonZeroU32;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use governor::clock::DefaultClock;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use http::StatusCode;
use tokio::sync::Semaphore;

use super::problem::Problem;

/// Requests a second, and at once after a pause. People and dashboards need a few.
const REQUESTS: (u32, u32) = (100, 300);
/// Probes and scrapes; they are cheap, and a watcher must not be kept out by the rest.
const PROBES: (u32, u32) = (50, 200);
/// Requests without the right token.
const REFUSALS: (u32, u32) = (50, 200);
/// Push events may come in bursts: a registry tells of every tag of a release on its own.
const EVENTS: (u32, u32) = (2_000, 20_000);
/// Bytes of a notification; those of real registries have a few kilobytes.
const MAX_BODY: usize = 4 << 20;
/// How long a body may take in all.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);
/// Bodies that are received at once. A body mostly comes with its head, so that this many are
/// enough for thousands a second; and senders that dawdle can neither take up all connections nor
/// much memory.
const BODIES: usize = 64;

/// The rates of one server, over all its clients.
pub(super) struct Limits {
    pub requests: Rate,
    /// Of requests by somebody unknown, which are refused anyway.
    pub refusals: Rate,
    pub probes: Rate,
    /// Of notifications, which their senders send again.
    pub events: Rate,
    /// Bodies that are being received.
    bodies: Semaphore,
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
            bodies: Semaphore::new(BODIES),
        }
    }

    /// The whole body, if there is room for it, and it is not too large and comes in time.
    pub async fn body(&self, body: Body) -> Result<Bytes, Problem> {
        let Ok(_place) = self.bodies.try_acquire() else {
            let detail = "too many messages are being received: try again shortly";
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail));
        };
        tokio::time::timeout(BODY_TIMEOUT, read(body)).await.unwrap_or_else(|_| {
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time"))
        })
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

/// Reads all of a body.
async fn read(body: Body) -> Result<Bytes, Problem> {
    let mut stream = body.into_data_stream();
    let mut bytes = BytesMut::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| Problem::bad_request("the body broke off"))?;
        if bytes.len() + chunk.len() > MAX_BODY {
            return Err(Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the body is larger than {MAX_BODY} bytes"),
            ));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}
