//! The daemon: events, notifications, reloads, state, queue.

use std::time::Duration;

use jiff::Timestamp;
use prometheus::{Gauge, GaugeVec, IntCounter, IntCounterVec, IntGauge};
use serde::Serialize;

use super::families::Families;
use crate::text::display_as_serialized;

/// What became of a push event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EventOutcome {
    /// A rule wants what was pushed.
    Accepted,
    /// It is genuine, and no rule wants it.
    Ignored,
    /// Its signature or token is missing or wrong.
    Forged,
    /// It is genuine and cannot be understood.
    Malformed,
}

impl EventOutcome {
    const ALL: [Self; 4] = [Self::Accepted, Self::Ignored, Self::Forged, Self::Malformed];
}

// The label.
display_as_serialized!(EventOutcome);

/// The metrics of the daemon itself.
pub struct DaemonMetrics {
    events: IntCounterVec,
    unknown_source: IntCounter,
    notifications_delivered: IntCounter,
    notifications_failed: IntCounter,
    reloads_succeeded: IntCounter,
    reloads_failed: IntCounter,
    reload_is_good: IntGauge,
    reloaded: GaugeVec,
    state_bytes: IntGauge,
    state_unsaved: Gauge,
    state_lost: IntCounter,
    state_set_aside: IntCounter,
    history_lost: IntCounter,
    queue: IntGauge,
}

impl DaemonMetrics {
    pub(super) fn new(families: &Families<'_>) -> Self {
        let info = families.gauges(
            "tranship_build_info",
            "Always 1; the label has the version.",
            &["version"],
        );
        info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let notifications = families.counters(
            "tranship_notifications_total",
            "Notifications to webhooks, by outcome after all attempts.",
            &["outcome"],
        );
        let reloads = families.counters(
            "tranship_config_reloads_total",
            "Reloads of the configuration, by outcome.",
            &["outcome"],
        );
        let reload_is_good = families.gauge(
            "tranship_config_last_reload_successful",
            "Whether the current configuration file is in use (1) or was refused (0).",
        );
        reload_is_good.set(1);
        let events = families.counters(
            "tranship_events_total",
            "Push events, by source and outcome.",
            &["source", "outcome"],
        );
        Self {
            unknown_source: events.with_label_values(&["", "unknown_source"]),
            events,
            notifications_delivered: notifications.with_label_values(&["delivered"]),
            notifications_failed: notifications.with_label_values(&["failed"]),
            reloads_succeeded: reloads.with_label_values(&["succeeded"]),
            reloads_failed: reloads.with_label_values(&["failed"]),
            reload_is_good,
            reloaded: families.unset_seconds(
                "tranship_config_last_reload_success_timestamp_seconds",
                "When the configuration in use was loaded.",
            ),
            state_bytes: families.gauge("tranship_state_size_bytes", "Size of the state on disk."),
            state_unsaved: families.seconds(
                "tranship_state_unsaved_seconds",
                "How long the oldest change of the state that is not on disk yet has waited.",
            ),
            state_lost: families.counter(
                "tranship_state_lost_changes_total",
                "Changes of the state that were forgotten because too many waited for the disk.",
            ),
            state_set_aside: families.counter(
                "tranship_state_set_aside_total",
                "How often a damaged state was set aside and replaced by an empty one.",
            ),
            history_lost: families.counter(
                "tranship_history_lost_lines_total",
                "Entries of the run history that could not be written.",
            ),
            queue: families.gauge("tranship_run_queue_length", "Runs that are due and wait."),
        }
    }

    /// Shows the counters of a source of events that the configuration has, at 0.
    pub fn event_source(&self, source: &str) {
        for outcome in EventOutcome::ALL {
            self.events.with_label_values(&[source, &outcome.to_string()]);
        }
    }

    /// An event for a source that the configuration has.
    pub fn event(&self, source: &str, outcome: EventOutcome) {
        self.events.with_label_values(&[source, &outcome.to_string()]).inc();
    }

    /// An event for a source that does not exist. Its name is not shown, because anybody can make
    /// one up.
    pub fn event_of_unknown_source(&self) {
        self.unknown_source.inc();
    }

    /// A notification was delivered, or given up after all tries.
    pub fn notification(&self, is_delivered: bool) {
        if is_delivered {
            self.notifications_delivered.inc();
        } else {
            self.notifications_failed.inc();
        }
    }

    /// The configuration with which the daemon started.
    pub fn configured(&self, at: Timestamp) {
        self.reload_is_good.set(1);
        self.reloaded.with_label_values::<&str>(&[]).set(at.as_millisecond() as f64 / 1e3);
    }

    /// A changed configuration is in use from now on.
    pub fn reloaded(&self, at: Timestamp) {
        self.reloads_succeeded.inc();
        self.configured(at);
    }

    /// A changed configuration was refused: the old one stays in use.
    pub fn reload_failed(&self) {
        self.reloads_failed.inc();
        self.reload_is_good.set(0);
    }

    /// The state's size on the disk, in bytes. To be set before metrics are rendered.
    pub fn state_size(&self, bytes: u64) {
        self.state_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// How long the oldest change that is not on disk has waited, and how many changes were
    /// forgotten since the start. To be set before metrics are rendered.
    pub fn state_unsaved(&self, time: Duration, lost: u64) {
        self.state_unsaved.set(time.as_secs_f64());
        self.state_lost.inc_by(lost.saturating_sub(self.state_lost.get()));
    }

    /// The state was damaged and set aside.
    pub fn state_set_aside(&self) {
        self.state_set_aside.inc();
    }

    /// So many lines of the history were lost since the start. To be set before metrics are
    /// rendered.
    pub fn history_lost(&self, lines: u64) {
        self.history_lost.inc_by(lines.saturating_sub(self.history_lost.get()));
    }

    /// So many runs wait for their turn.
    pub fn queue_length(&self, runs: usize) {
        self.queue.set(i64::try_from(runs).unwrap_or(i64::MAX));
    }
}
