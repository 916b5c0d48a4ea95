//! Cron schedules on a calendar without time zones: the standard five fields, made fit for the
//! `cron` crate.
//!
//! That crate wants seconds in front, counts Sunday as 1, and fires only when both day fields
//! agree. Here weekdays are 0–7 (0 and 7 are Sunday) or names, and when day of month and weekday
//! are both restricted, either is enough, as in every crontab since Vixie's.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use cron::TimeUnitSpec;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

use crate::oci::shown_as_text;

/// A schedule that fires sooner or later.
#[derive(Clone, PartialEq, Eq)]
pub struct Schedule {
    text: String,
    /// It fires when any of these does: one by the day of month, one by the weekday, or one alone.
    alternatives: Vec<cron::Schedule>,
    /// Whether minute or hour begins with `*`, which is Vixie's mark of a schedule that means an
    /// interval rather than a time of day.
    interval: bool,
    /// Whether the hour is `*`: what one hour lacks, the next one has.
    hourly: bool,
}

/// Why a text is not a schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    #[error(
        "`{text}` has {count} of the 5 fields of a schedule: minute, hour, day of month, month, weekday"
    )]
    Fields { text: String, count: usize },
    #[error(
        "`{text}` cannot be the {field} of a schedule: expected {allowed}, `*`, `a-b`, `a,b` or `*/n`"
    )]
    Field { field: &'static str, text: String, allowed: &'static str },
    #[error("`{0}` never fires: no such month has such a day")]
    Never(String),
}

const FIELDS: [(&str, &str); 5] = [
    ("minute", "0 to 59"),
    ("hour", "0 to 23"),
    ("day of month", "1 to 31"),
    ("month", "1 to 12 or JAN to DEC"),
    ("weekday", "0 to 7 or SUN to SAT"),
];

const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let &[minute, hour, day, month, weekday] = fields.as_slice() else {
            return Err(ScheduleError::Fields { text: text.to_owned(), count: fields.len() });
        };
        let error = |n: usize| {
            let (field, allowed) = FIELDS[n];
            ScheduleError::Field { field, text: fields[n].to_owned(), allowed }
        };
        if let Some(n) = fields.iter().position(|field| !is_plausible(field)) {
            return Err(error(n));
        }
        let weekdays = weekday_names(weekday).ok_or_else(|| error(4))?;
        // One by one, to tell which field is wrong: the crate's own message does not.
        for (n, field) in [minute, hour, day, month].iter().enumerate() {
            let mut alone = ["*"; 4];
            alone[n] = field;
            parse(&alone, "*").ok_or_else(|| error(n))?;
        }
        let restricted = |field: &str| !field.starts_with('*');
        let wanted = if restricted(day) && restricted(weekday) {
            vec![(day, "*"), ("*", weekdays.as_str())]
        } else {
            vec![(day, weekdays.as_str())]
        };
        let alternatives: Vec<_> = wanted
            .into_iter()
            .filter_map(|(day, weekdays)| parse(&[minute, hour, day, month], weekdays))
            .filter(fires)
            .collect();
        if alternatives.is_empty() {
            return Err(ScheduleError::Never(text.to_owned()));
        }
        Ok(Self {
            text: fields.join(" "),
            alternatives,
            interval: minute.starts_with('*') || hour.starts_with('*'),
            hourly: hour == "*",
        })
    }
}

impl Schedule {
    /// The first time after `time` on the calendar. `None` where calendars end, which is in 2100
    /// for the `cron` crate.
    pub(super) fn first_after(&self, time: DateTime) -> Option<DateTime> {
        // The crate wants a time zone; UTC is the one without surprises.
        let second = Offset::UTC.to_timestamp(time).ok()?.as_millisecond().div_euclid(1000);
        let time = chrono::DateTime::from_timestamp(second, 0)?;
        let next = self.alternatives.iter().filter_map(|one| one.after(&time).next()).min()?;
        let next = Timestamp::from_second(next.timestamp()).ok()?;
        Some(Offset::UTC.to_datetime(next))
    }

    /// Whether a time that the clock shows twice counts twice.
    pub(super) fn repeats(&self) -> bool {
        self.interval
    }

    /// Whether a time that the clock leaves out is made up for.
    pub(super) fn catches_up(&self) -> bool {
        !self.hourly
    }
}

/// Keeps out what the crate reads but cron does not know (`?`), and what makes it work for long.
fn is_plausible(field: &str) -> bool {
    field.bytes().all(|b| b.is_ascii_alphanumeric() || b"*,-/".contains(&b))
        && field.split(|c: char| !c.is_ascii_digit()).all(|number| number.len() <= 2)
}

fn parse(fields: &[&str; 4], weekdays: &str) -> Option<cron::Schedule> {
    format!("0 {} {weekdays}", fields.join(" ")).parse().ok()
}

/// The weekday field as a list of names, or `*`.
fn weekday_names(field: &str) -> Option<String> {
    if field == "*" {
        return Some("*".to_owned());
    }
    let mut wanted = BTreeSet::new();
    for part in field.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step.parse().ok().filter(|&step| step > 0)?)),
            None => (part, None),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (0, 6),
            Some((first, last)) => (weekday(first)?, weekday(last)?),
            None if step.is_some() => (weekday(range)?, 6),
            None => (weekday(range)?, weekday(range)?),
        };
        // A range that ends on Sunday, like FRI-SUN, means the Sunday at its end.
        let last = if last == 0 && first > 0 { 7 } else { last };
        if last < first {
            return None;
        }
        wanted.extend((first..=last).step_by(step.unwrap_or(1)).map(|day| day % 7));
    }
    let names: Vec<_> = wanted.into_iter().map(|day| WEEKDAYS[day]).collect();
    Some(names.join(","))
}

fn weekday(text: &str) -> Option<usize> {
    match text.parse() {
        Ok(number) => (number <= 7).then_some(number),
        Err(_) => WEEKDAYS.iter().position(|name| name.eq_ignore_ascii_case(text)),
    }
}

/// Whether one of the months has one of the days. Any 29 February falls on any weekday at last.
fn fires(schedule: &cron::Schedule) -> bool {
    let first_day = schedule.days_of_month().iter().next();
    schedule.months().iter().any(|month| {
        let days = match month {
            2 => 29,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        first_day.is_some_and(|day| day <= days)
    })
}

shown_as_text!(Schedule.text);

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schedule({:?})", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::assert_refused;
    use proptest::prelude::*;

    fn schedule(text: &str) -> Schedule {
        text.parse().unwrap()
    }

    /// The days of week of the crate, 1 for Sunday.
    fn weekdays(text: &str) -> Vec<u32> {
        let schedule = schedule(text);
        schedule.alternatives.last().unwrap().days_of_week().iter().collect()
    }

    #[test]
    fn weekdays_are_counted_as_in_cron() {
        assert_eq!(weekdays("0 0 * * 0"), [1]);
        assert_eq!(weekdays("0 0 * * 7"), [1]);
        assert_eq!(weekdays("0 0 * * 1-5"), [2, 3, 4, 5, 6]);
        assert_eq!(weekdays("0 0 * * mon-FRI"), [2, 3, 4, 5, 6]);
        assert_eq!(weekdays("0 0 * * 5-7"), [1, 6, 7]);
        assert_eq!(weekdays("0 0 * * Fri-Sun"), [1, 6, 7]);
        assert_eq!(weekdays("0 0 * * */2"), [1, 3, 5, 7]);
        assert_eq!(weekdays("0 0 * * 1,3-4"), [2, 4, 5]);
        assert_eq!(weekdays("0 0 * * *"), [1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn two_restricted_day_fields_are_alternatives() {
        assert_eq!(schedule("0 0 13 * 5").alternatives.len(), 2);
        assert_eq!(schedule("0 0 13 * *").alternatives.len(), 1);
        assert_eq!(schedule("0 0 */2 * 5").alternatives.len(), 1);
        // 30 February never comes, but Fridays do.
        assert_eq!(schedule("0 0 30 2 5").alternatives.len(), 1);
    }

    #[test]
    fn fields_keep_their_meaning() {
        let schedule = schedule("*/15  0-5,22 1 JAN,7 *");
        let cron = &schedule.alternatives[0];
        assert_eq!(cron.seconds().iter().collect::<Vec<_>>(), [0]);
        assert_eq!(cron.minutes().iter().collect::<Vec<_>>(), [0, 15, 30, 45]);
        assert_eq!(cron.hours().iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 22]);
        assert_eq!(cron.months().iter().collect::<Vec<_>>(), [1, 7]);
        assert_eq!(schedule.to_string(), "*/15 0-5,22 1 JAN,7 *");
    }

    #[test]
    fn malformed_schedules_say_what_is_wrong() {
        assert_refused::<Schedule>(&[
            ("", "has 0 of the 5"),
            ("@daily", "has 1 of the 5"),
            ("0 0 * * * *", "has 6 of the 5"),
            ("60 * * * *", "`60` cannot be the minute of"),
            ("* 24 * * *", "`24` cannot be the hour of"),
            ("* * 0 * *", "`0` cannot be the day of month of"),
            ("* * L * *", "`L` cannot be the day of month of"),
            ("* * ? * *", "`?` cannot be the day of month of"),
            ("* * * 13 *", "`13` cannot be the month of"),
            ("* * * * 8", "`8` cannot be the weekday of"),
            ("* * * * 5-2", "`5-2` cannot be the weekday of"),
            ("* * * * MO", "`MO` cannot be the weekday of"),
            ("* * * * */0", "cannot be the weekday of"),
            ("*/0 * * * *", "`*/0` cannot be the minute of"),
            ("9-5 * * * *", "`9-5` cannot be the minute of"),
            ("0-999999999 * * * *", "cannot be the minute of"),
            ("0 0 30 2 *", "never fires"),
            ("0 0 31 4,6,9,11 *", "never fires"),
        ]);
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_round_trips(text in "\\PC{0,20}|([0-9*/,a-z-]{1,5} ){4}[0-9*/,-]{1,5}|(([0-9]|\\*|[1-3]-5|\\*/[0-9]) ){4}[0-7]") {
            if let Ok(schedule) = text.parse::<Schedule>() {
                prop_assert_eq!(schedule.to_string().parse(), Ok(schedule));
            }
        }
    }
}
