//! One registry: its requests, limits and tokens.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use prometheus::{HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::answers::Answers;
use super::families::Families;

/// Seconds until the headers of an answer: from a registry next door to one that is overloaded.
const LATENCY: [f64; 8] = [0.005, 0.02, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// Why there was no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoAnswer {
    /// Nothing came in time.
    TimedOut,
    /// There was no connection, or it broke.
    Broken,
}

/// The outcome of a request for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenOutcome {
    Granted,
    /// The token server said no.
    Refused,
    /// It could not be asked, or its answer made no sense.
    Failed,
}

/// The two windows of a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowKind {
    /// Requests until their answer begins.
    Requests,
    /// Uploads, for as long as their bytes take.
    Uploads,
}

/// The families of all registries.
pub(super) struct RegistryFamilies {
    requests: IntCounterVec,
    latency: HistogramVec,
    failures: IntCounterVec,
    retries: IntCounterVec,
    received: IntCounterVec,
    sent: IntCounterVec,
    window: IntGaugeVec,
    in_flight: IntGaugeVec,
    quota: IntGaugeVec,
    quota_remaining: IntGaugeVec,
    tokens: IntCounterVec,
}

impl RegistryFamilies {
    pub fn new(families: &Families<'_>) -> Self {
        Self {
            requests: families.counters(
                "tranship_registry_requests_total",
                "Requests that the registry answered, by method and status.",
                &["registry", "method", "status"],
            ),
            latency: families.histograms(
                "tranship_registry_request_duration_seconds",
                "Time until the response headers arrived, without blob uploads.",
                &LATENCY,
                &["registry", "method"],
            ),
            failures: families.counters(
                "tranship_registry_connection_failures_total",
                "Requests without a complete answer, by kind.",
                &["registry", "kind"],
            ),
            retries: families.counters(
                "tranship_registry_retries_total",
                "Requests that were sent again after a failed attempt.",
                &["registry"],
            ),
            received: families.counters(
                "tranship_registry_received_bytes_total",
                "Bytes of response bodies from the registry.",
                &["registry"],
            ),
            sent: families.counters(
                "tranship_registry_sent_bytes_total",
                "Bytes of request bodies to the registry.",
                &["registry"],
            ),
            window: families.gauges(
                "tranship_registry_window",
                "Current limit of concurrent requests or uploads.",
                &["registry", "kind"],
            ),
            in_flight: families.gauges(
                "tranship_registry_in_flight",
                "Requests or uploads in progress.",
                &["registry", "kind"],
            ),
            quota: families.gauges(
                "tranship_registry_pull_quota",
                "Pulls that the registry allows in its quota period.",
                &["registry"],
            ),
            quota_remaining: families.gauges(
                "tranship_registry_pull_quota_remaining",
                "Remaining pulls in the quota period.",
                &["registry"],
            ),
            tokens: families.counters(
                "tranship_registry_token_requests_total",
                "Requests to the token server of the registry, by outcome.",
                &["registry", "outcome"],
            ),
        }
    }

    /// The metrics of the registry at this host.
    pub fn of(&self, host: &str) -> RegistryMetrics {
        let of_kind = |family: &IntCounterVec, kind: &str| family.with_label_values(&[host, kind]);
        let window = |kind: &str| Window {
            size: self.window.with_label_values(&[host, kind]),
            in_flight: self.in_flight.with_label_values(&[host, kind]),
        };
        RegistryMetrics {
            answers: Answers::new(host, self.requests.clone(), self.latency.clone()),
            timed_out: of_kind(&self.failures, "timed_out"),
            broken: of_kind(&self.failures, "broken"),
            retries: self.retries.with_label_values(&[host]),
            received: self.received.with_label_values(&[host]),
            sent: self.sent.with_label_values(&[host]),
            requests: window("requests"),
            uploads: window("uploads"),
            quota: self.quota.clone(),
            quota_remaining: self.quota_remaining.clone(),
            granted: of_kind(&self.tokens, "granted"),
            refused: of_kind(&self.tokens, "refused"),
            failed: of_kind(&self.tokens, "failed"),
            host: host.to_owned(),
        }
    }
}

/// The metrics of one registry.
pub struct RegistryMetrics {
    host: String,
    answers: Answers,
    timed_out: IntCounter,
    broken: IntCounter,
    retries: IntCounter,
    received: IntCounter,
    sent: IntCounter,
    requests: Window,
    uploads: Window,
    /// Whole families: a registry without a quota has no series there.
    quota: IntGaugeVec,
    quota_remaining: IntGaugeVec,
    granted: IntCounter,
    refused: IntCounter,
    failed: IntCounter,
}

struct Window {
    size: IntGauge,
    in_flight: IntGauge,
}

impl RegistryMetrics {
    /// An answer began to arrive.
    pub fn answered(&self, method: &Method, status: StatusCode) {
        self.answers.count(method, status);
    }

    /// How long the headers of an answer took.
    pub fn waited(&self, method: &Method, time: Duration) {
        self.answers.time(method, time.as_secs_f64());
    }

    /// There was no answer, or it ended early.
    pub fn unanswered(&self, why: NoAnswer) {
        match why {
            NoAnswer::TimedOut => self.timed_out.inc(),
            NoAnswer::Broken => self.broken.inc(),
        }
    }

    /// A request is about to be sent once more.
    pub fn retried(&self) {
        self.retries.inc();
    }

    /// Bytes of a body were received.
    pub fn received(&self, bytes: usize) {
        self.received.inc_by(bytes as u64);
    }

    /// Bytes of a body were sent.
    pub fn sent(&self, bytes: usize) {
        self.sent.inc_by(bytes as u64);
    }

    /// So many may be under way at once.
    pub fn window(&self, kind: WindowKind, size: u32) {
        self.of(kind).size.set(size.into());
    }

    /// One more is under way until the guard is dropped.
    pub fn begin(self: &Arc<Self>, kind: WindowKind) -> InFlight {
        self.of(kind).in_flight.inc();
        InFlight { registry: self.clone(), kind }
    }

    /// The pull quota as the registry's last answer had it.
    pub fn quota(&self, limit: u64, remaining: u64) {
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.quota.with_label_values(&[&self.host]).set(whole(limit));
        self.quota_remaining.with_label_values(&[&self.host]).set(whole(remaining));
    }

    /// A token was asked for.
    pub fn token(&self, outcome: TokenOutcome) {
        match outcome {
            TokenOutcome::Granted => self.granted.inc(),
            TokenOutcome::Refused => self.refused.inc(),
            TokenOutcome::Failed => self.failed.inc(),
        }
    }

    fn of(&self, kind: WindowKind) -> &Window {
        match kind {
            WindowKind::Requests => &self.requests,
            WindowKind::Uploads => &self.uploads,
        }
    }
}

/// A request or upload is under way for as long as this lives.
#[must_use]
pub struct InFlight {
    registry: Arc<RegistryMetrics>,
    kind: WindowKind,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.registry.of(self.kind).in_flight.dec();
    }
}
