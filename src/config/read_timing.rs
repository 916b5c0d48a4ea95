//! When a rule runs, from `schedule`, `timezone`, `every`, `run_at_start` and `jitter`.

use std::time::Duration;

use jiff::tz::TimeZone;
use serde_spanned::Spanned;

use super::raw::RawSync;
use super::raw_cleanup::RawCleanup;
use super::reader::Reader;
use crate::schedule::{Schedule, Timing, Trigger};

/// The keys of a rule of either kind that say when it runs.
pub struct RawTiming<'a> {
    schedule: &'a Option<Spanned<String>>,
    timezone: &'a Option<Spanned<String>>,
    every: &'a Option<Spanned<String>>,
    run_at_start: &'a Option<Spanned<bool>>,
    jitter: &'a Option<Spanned<String>>,
}

impl<'a> From<&'a RawSync> for RawTiming<'a> {
    fn from(raw: &'a RawSync) -> Self {
        let RawSync { schedule, timezone, every, run_at_start, jitter, .. } = raw;
        Self { schedule, timezone, every, run_at_start, jitter }
    }
}

impl<'a> From<&'a RawCleanup> for RawTiming<'a> {
    fn from(raw: &'a RawCleanup) -> Self {
        let RawCleanup { schedule, timezone, every, run_at_start, jitter, .. } = raw;
        Self { schedule, timezone, every, run_at_start, jitter }
    }
}

/// `None` with a problem reported, `Some(None)` when nothing says when.
pub fn timing(raw: &RawTiming<'_>, reader: &mut Reader<'_>) -> Option<Option<Timing>> {
    let trigger = trigger(raw, reader);
    let jitter = raw.jitter.as_ref().map_or(Some(Duration::ZERO), |text| reader.duration(text));
    if raw.schedule.is_none() && raw.every.is_none() {
        let run_at_start = raw.run_at_start.as_ref().map(|key| ("run_at_start", key.span()));
        let jitter = raw.jitter.as_ref().map(|key| ("jitter", key.span()));
        for (key, span) in [run_at_start, jitter].into_iter().flatten() {
            let message =
                format!("`{key}` belongs to a `schedule` or `every`, and there is neither");
            reader.report(span, message);
        }
    }
    let (trigger, jitter) = (trigger?, jitter?);
    if let (Some(Trigger::Every(interval)), Some(text)) = (&trigger, raw.jitter)
        && jitter >= *interval
    {
        reader.report(text.span(), "`jitter` must be shorter than `every`");
    }
    let default = matches!(trigger, Some(Trigger::Every(_)));
    let run_at_start = raw.run_at_start.as_ref().map_or(default, |value| *value.get_ref());
    Some(trigger.map(|trigger| Timing { trigger, run_at_start, jitter }))
}

fn trigger(raw: &RawTiming<'_>, reader: &mut Reader<'_>) -> Option<Option<Trigger>> {
    let timezone = reader.optional(raw.timezone.as_ref(), timezone);
    match (raw.schedule, raw.every) {
        (Some(_), Some(every)) => {
            reader.report(every.span(), "a rule has either `schedule` or `every`, not both");
            None
        }
        (Some(schedule), None) => {
            let schedule: Option<Schedule> = reader.parse(schedule);
            let timezone = timezone?.unwrap_or(TimeZone::UTC);
            Some(Some(Trigger::Cron { schedule: schedule?, timezone }))
        }
        (None, every) => {
            if let Some(zone) = raw.timezone {
                reader.report(zone.span(), "`timezone` belongs to a `schedule`, and there is none");
            }
            let Some(text) = every else { return Some(None) };
            let interval = reader.duration(text)?;
            if interval < Duration::from_secs(1) {
                reader.report(text.span(), "`every` must be a second or more");
            }
            Some(Some(Trigger::Every(interval)))
        }
    }
}

fn timezone(name: &Spanned<String>, reader: &mut Reader<'_>) -> Option<TimeZone> {
    let zone = TimeZone::get(name.get_ref());
    if zone.is_err() {
        let message = format!("`{}` is not a time zone of this machine's database", name.get_ref());
        reader.report_with_hint(name.span(), message, "name a city, like Europe/Berlin, or UTC");
    }
    zone.ok()
}
