//! When something is to happen, as pure data: cron schedules and intervals, and the next time of
//! each. No clock is read here.

mod cron;
#[cfg(test)]
mod tests;
mod zone;

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

pub use cron::{Schedule, ScheduleError};

/// When a rule runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    pub trigger: Trigger,
    /// Also once when the daemon starts, or when the rule is new to it.
    pub run_at_start: bool,
    /// Each run begins later by a random time up to this; shorter than an interval.
    pub jitter: Duration,
}

/// The slots of a rule: the times at which it is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trigger {
    /// The times on the clocks of a place. `zone` says what the changes of these clocks mean.
    Cron { schedule: Schedule, timezone: TimeZone },
    /// From slot to slot; at least a second.
    Every(Duration),
}

/// As people read it: `every 15m`, `0 3 * * * (Europe/Berlin)`.
impl fmt::Display for Timing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.trigger {
            Trigger::Every(interval) => {
                write!(f, "every {}", humantime::format_duration(*interval))
            }
            Trigger::Cron { schedule, timezone } => match timezone.iana_name() {
                Some("UTC") | None => write!(f, "{schedule}"),
                Some(zone) => write!(f, "{schedule} ({zone})"),
            },
        }
    }
}

impl Trigger {
    /// The first slot after `after`, which for an interval is a slot itself. `None`: never again,
    /// because the calendar ends.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Cron { schedule, timezone } => zone::next_after(schedule, timezone, after),
            Self::Every(interval) => after.checked_add(*interval).ok(),
        }
    }

    /// From where to look for the slot after a run at `now` that takes care of `slot` and of all
    /// slots since: those that passed unnoticed do not need runs of their own.
    ///
    /// Intervals stay in step with `slot`, however late the run is.
    pub fn covered(&self, slot: Timestamp, now: Timestamp) -> Timestamp {
        match self {
            Self::Cron { .. } => now.max(slot),
            Self::Every(interval) => {
                let late = now.duration_since(slot).max(jiff::SignedDuration::ZERO);
                let past = late.as_nanos().rem_euclid(interval.as_nanos().max(1).cast_signed());
                // What is past the last slot is no longer than `late`, and fits as that did.
                let past = jiff::SignedDuration::from_nanos_i128(past);
                now.max(slot).checked_sub(past).unwrap_or(now)
            }
        }
    }
}
