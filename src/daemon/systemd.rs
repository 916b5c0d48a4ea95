//! What systemd is told (sd_notify(3)): ready, reloading, stopping, and that all is well.
//!
//! Without `NOTIFY_SOCKET` in the environment nothing is sent. Best effort throughout: a supervisor
//! that cannot be told draws its own conclusions.

use std::time::Duration;

use crate::text::counted;
use sd_notify::NotifyState;

/// How often systemd wants to hear that all is well, if it does.
pub(super) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// The daemon does its work from now on.
pub(super) fn ready(rules: usize) {
    tell(&[NotifyState::Ready, NotifyState::Status(&counted(rules, "rule", "rules"))]);
}

/// The configuration is being loaded anew; [`ready`] follows.
pub(super) fn reloading() {
    let mut states = vec![NotifyState::Reloading];
    states.extend(NotifyState::monotonic_usec_now().ok());
    tell(&states);
}

/// Runs under way end, none begins.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("runs under way end")]);
}

/// The scheduler is alive, if systemd wants to hear that.
pub(super) fn alive(watchdog: Option<Duration>) {
    if watchdog.is_none() {
        return;
    }
    tell(&[NotifyState::Watchdog]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd could not be told");
    }
}
