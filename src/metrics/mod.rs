//! Metrics for Prometheus: typed handles, so that no other layer knows the names of metrics.
//!
//! - `rules`: what the rules did; they come and go with the configuration. `cleanups`: the numbers
//!   that only cleanup rules have. `rule_family`, `durations`, `timestamp`: how the numbers of rules
//!   are kept and written.
//! - `registry`: requests, limits and tokens of one registry; `answers`: requests by method and
//!   status, with a bounded number of labels.
//! - `transfers`: images and blobs under way. `daemon`: events, notifications, reloads, state.
//! - `families`: creates and registers all families but those of rules.
//!
//! Labels are bounded: by the configuration (rules, registries, sources of events), or by closed
//! sets of words that stand here, in docs/metrics.md and in the modules that pass them. Tags, digests
//! and repositories never become labels.

mod answers;
mod cleanups;
mod daemon;
mod durations;
mod families;
mod registry;
mod rule_family;
mod rules;
mod timestamp;
mod transfers;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::{Registry, TextEncoder};

use crate::oci::RegistryHost;
use families::Families;
use registry::RegistryFamilies;
use rules::Rules;

pub use cleanups::LastPlan;
pub use daemon::{DaemonMetrics, EventOutcome};
pub use registry::{InFlight, NoAnswer, RegistryMetrics, TokenOutcome, WindowKind};
pub use rules::{RuleMetrics, Running};
pub use transfers::TransferMetrics;

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
    /// Everything is at zero, and nothing is shared with other `Metrics` of the process.
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

    /// The metrics of one registry. Callers keep them.
    pub fn registry(&self, host: &RegistryHost) -> Arc<RegistryMetrics> {
        let mut registries = self.0.registries.lock();
        let of_host = registries.entry(host.clone());
        of_host.or_insert_with(|| Arc::new(self.0.registry.of(host.as_str()))).clone()
    }

    /// The metrics of one rule, which are shown from now on.
    pub fn rule(&self, name: &str, is_cleanup: bool) -> RuleMetrics {
        self.0.rules.get(name, is_cleanup)
    }

    /// Forgets all rules but those that `is_kept` wants. A run of a forgotten rule that is still
    /// under way goes on counting, unseen.
    pub fn retain_rules(&self, is_kept: impl Fn(&str) -> bool) {
        self.0.rules.retain(is_kept);
    }

    /// Images and blobs under way.
    pub fn transfers(&self) -> &TransferMetrics {
        &self.0.transfers
    }

    /// Metrics of the daemon: events, notifications, reloads, state, queue.
    pub fn daemon(&self) -> &DaemonMetrics {
        &self.0.daemon
    }

    /// All metrics in Prometheus' text format, see [`CONTENT_TYPE`].
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
