//! When a rule runs: `schedule`, `timezone`, `every`, `run_at_start` and `jitter` together.

use std::time::Duration;

use jiff::tz::TimeZone;

use super::checker::Checker;
use super::document::Node;
use super::show::{Writer, quoted, shown_duration};
use super::text::Period;
use crate::schedule::{Schedule, Timing, Trigger};

/// The keys of a rule that say when it runs.
pub struct TimingKeys {
    pub schedule: Option<Schedule>,
    pub timezone: Option<TimeZone>,
    pub every: Option<Period>,
    pub run_at_start: Option<bool>,
    pub jitter: Option<Period>,
}

impl TimingKeys {
    /// `node` is the rule. `None`: the rule has neither `schedule` nor `every`.
    pub fn check(self, node: Node<'_>, checker: &mut Checker<'_>) -> Option<Timing> {
        let has_trigger = node.has("schedule") || node.has("every");
        for key in ["run_at_start", "jitter"] {
            if node.has(key) && !has_trigger {
                let message =
                    format!("`{key}` belongs to a `schedule` or `every`, and there is neither");
                checker.report(node.span_of(key), message);
            }
        }
        if node.has("schedule") && node.has("every") {
            let message = "a rule has either `schedule` or `every`, not both";
            checker.report(node.span_of("every"), message);
        } else if node.has("timezone") && !node.has("schedule") {
            let message = "`timezone` belongs to a `schedule`, and there is none";
            checker.report(node.span_of("timezone"), message);
        }
        let (every, jitter) = (self.every.map(Duration::from), self.jitter.map(Duration::from));
        let jitter = jitter.unwrap_or_default();
        if let Some(interval) = every {
            if interval < Duration::from_secs(1) {
                checker.report(node.span_of("every"), "`every` must be a second or more");
            }
            if node.has("jitter") && jitter >= interval {
                checker.report(node.span_of("jitter"), "`jitter` must be shorter than `every`");
            }
        }
        let trigger = match (self.schedule, every) {
            (Some(schedule), _) => {
                Trigger::Cron { schedule, timezone: self.timezone.unwrap_or(TimeZone::UTC) }
            }
            (None, Some(interval)) => Trigger::Every(interval),
            (None, None) => return None,
        };
        let run_at_start = self.run_at_start.unwrap_or(matches!(trigger, Trigger::Every(_)));
        Some(Timing { trigger, run_at_start, jitter })
    }
}

pub fn show(timing: Option<&Timing>, out: &mut Writer) {
    let Some(timing) = timing else { return };
    match &timing.trigger {
        Trigger::Every(interval) => out.key("every", shown_duration(*interval)),
        Trigger::Cron { schedule, timezone } => {
            out.key("schedule", quoted(schedule));
            out.optional("timezone", timezone.iana_name().map(quoted));
        }
    }
    out.key("run_at_start", timing.run_at_start);
    out.key("jitter", shown_duration(timing.jitter));
}
