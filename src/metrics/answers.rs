//! Requests by method and status. A registry may answer with any number: statuses that mean
//! something for registries have a label of their own, the others the label of their class.

use std::sync::OnceLock;

use http::{Method, StatusCode};
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec};

const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
const STATUSES: [&str; 24] = [
    "200", "201", "202", "204", "206", "307", "400", "401", "403", "404", "405", "413", "416",
    "429", "500", "502", "503", "504", "2xx", "3xx", "4xx", "5xx", "1xx", "other",
];

/// The label of a status.
fn label(status: StatusCode) -> usize {
    let at = |label: &str| STATUSES.iter().position(|known| *known == label);
    let class = || at(&format!("{}xx", status.as_u16() / 100));
    at(status.as_str()).or_else(class).unwrap_or(STATUSES.len() - 1)
}

/// The counters of one registry, each made when first needed.
pub(super) struct Answers {
    registry: String,
    requests: IntCounterVec,
    latency: HistogramVec,
    counters: Box<[OnceLock<IntCounter>]>,
    latencies: [OnceLock<Histogram>; METHODS.len()],
}

impl Answers {
    /// `requests` has the labels registry, method and status, `latency` registry and method.
    pub fn new(registry: &str, requests: IntCounterVec, latency: HistogramVec) -> Self {
        Self {
            registry: registry.to_owned(),
            requests,
            latency,
            counters: (0..METHODS.len() * STATUSES.len()).map(|_| OnceLock::new()).collect(),
            latencies: Default::default(),
        }
    }

    /// Counts one answer. No requests are made with other methods than those of the specification.
    pub fn count(&self, method: &Method, status: StatusCode) {
        let Some(method) = METHODS.iter().position(|known| *known == method) else { return };
        let status = label(status);
        let counter = self.counters[method * STATUSES.len() + status].get_or_init(|| {
            self.requests.with_label_values(&[&self.registry, METHODS[method], STATUSES[status]])
        });
        counter.inc();
    }

    /// Notes the seconds until an answer began.
    pub fn time(&self, method: &Method, seconds: f64) {
        let Some(method) = METHODS.iter().position(|known| *known == method) else { return };
        let histogram = self.latencies[method]
            .get_or_init(|| self.latency.with_label_values(&[&self.registry, METHODS[method]]));
        histogram.observe(seconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_a_label() {
        let cases = [
            (200, "200"),
            (429, "429"),
            (418, "4xx"),
            (226, "2xx"),
            (308, "3xx"),
            (101, "1xx"),
            (507, "5xx"),
            (999, "other"),
        ];
        for (status, expected) in cases {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(STATUSES[label(status)], expected);
        }
    }
}
