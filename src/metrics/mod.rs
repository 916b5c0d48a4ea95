//! What is counted and measured, for Prometheus: typed handles, so that no other layer knows names.
//!
//! - `rules`: what the rules did; they come and go with the configuration. `cleanups`: what those
//!   have besides that delete. `family`, `durations` and `moment`: how their numbers are kept and
//!   written.
//! - `registry`: requests, limits and tokens of one registry; `answers`: requests by method and
//!   status, within bounds.
//! - `transfers`: images and blobs on their way. `daemon`: events, notifications, reloads, state.
//! - `families`: how all of these are made.
//!
//! Labels are bounded by the configuration: rules, registries, sources of events. Tags, digests
//! and repositories never become labels. docs/metrics.md lists every metric.

mod answers;
mod cleanups;
mod daemon;
mod durations;
mod families;
mod family;
mod moment;
mod registry;
mod rules;
mod transfers;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::{Registry, TextEncoder};

use crate::config::RuleKind;
use crate::oci::RegistryHost;
use families::Families;
use registry::RegistryFamilies;
use rules::Rules;

pub use cleanups::{LastPlan, StepOutcome};
pub use daemon::{DaemonMetrics, EventOutcome, NotificationOutcome};
pub use registry::{InFlight, NoAnswer, RegistryMetrics, TokenOutcome, WindowKind};
pub use rules::{LagBasis, RuleMetrics, RunOutcome, RunScope, Running, TagOutcome};
pub use transfers::{BlobFate, TransferMetrics};

/// The media type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics of a process. Clones are the same metrics.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    all: Registry,
    rules: Rules,
    registry: RegistryFamilies,
    registries: Mutex<HashMap<RegistryHost, Arc<RegistryMetrics>>>,
    transfers: TransferMetrics,
    daemon: DaemonMetrics,
}

impl Metrics {
    /// Everything at zero; nothing is shared with other `Metrics` of the process.
    pub fn new() -> Self {
        let all = Registry::new();
        let families = Families::new(&all);
        families.process();
        Self(Arc::new(Inner {
            rules: Rules::default(),
            registry: RegistryFamilies::new(&families),
            registries: Mutex::default(),
            transfers: TransferMetrics::new(&families),
            daemon: DaemonMetrics::new(&families),
            all,
        }))
    }

    /// The metrics of one registry: to be got once and kept.
    pub fn registry(&self, host: &RegistryHost) -> Arc<RegistryMetrics> {
        let mut registries = self.0.registries.lock();
        let of_host = registries.entry(host.clone());
        of_host.or_insert_with(|| Arc::new(self.0.registry.of(host.as_str()))).clone()
    }

    /// The metrics of one rule, which are shown from now on.
    pub fn rule(&self, name: &str, kind: RuleKind) -> RuleMetrics {
        self.0.rules.get(name, kind)
    }

    /// Forgets the rules that `is_kept` does not want. A run of theirs that is still under way
    /// may count on, unseen.
    pub fn retain_rules(&self, is_kept: impl Fn(&str) -> bool) {
        self.0.rules.retain(is_kept);
    }

    /// Images and blobs on their way.
    pub fn transfers(&self) -> &TransferMetrics {
        &self.0.transfers
    }

    /// What only the daemon has: events, notifications, reloads, state, queue.
    pub fn daemon(&self) -> &DaemonMetrics {
        &self.0.daemon
    }

    /// All metrics in Prometheus' text format, which is [`CONTENT_TYPE`].
    pub fn render(&self) -> prometheus::Result<String> {
        let mut text = TextEncoder::new().encode_to_string(&self.0.all.gather())?;
        self.0.rules.write(&mut text)?;
        Ok(text)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

#[cfg(test)]
mod tests;
