//! Next times: tables for the days on which clocks change, and `croner` as the oracle.

use std::time::Duration;

use croner::parser::{CronParser, Seconds};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use proptest::prelude::*;

use super::{Schedule, Trigger};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn cron(schedule: &str, zone: &str) -> Trigger {
    let timezone = TimeZone::get(zone).unwrap();
    Trigger::Cron { schedule: schedule.parse().unwrap(), timezone }
}

/// The times from `from` until `to`, both on the zone's clocks, as these show them.
fn times(schedule: &str, zone: &str, from: &str, to: &str) -> Vec<String> {
    let trigger = cron(schedule, zone);
    let zone = TimeZone::get(zone).unwrap();
    let clock = |text: &str| {
        let time: jiff::civil::DateTime = text.parse().unwrap();
        time.to_zoned(zone.clone()).unwrap().timestamp()
    };
    let just_before = clock(from) - 1.second();
    std::iter::successors(trigger.next_after(just_before), |time| trigger.next_after(*time))
        .take_while(|time| *time <= clock(to))
        .map(|time| time.to_zoned(zone.clone()).strftime("%dT%H:%M%:z").to_string())
        .collect()
}

#[test]
fn times_in_a_gap_fire_right_after_it() {
    let spring =
        |schedule| times(schedule, "Europe/Berlin", "2026-03-28T12:00", "2026-03-30T02:00");
    assert_eq!(spring("30 1 * * *"), ["29T01:30+01:00", "30T01:30+02:00"]);
    assert_eq!(spring("0 2 * * *"), ["29T03:00+02:00", "30T02:00+02:00"]);
    assert_eq!(spring("30 2 * * *"), ["29T03:00+02:00"]);
    assert_eq!(spring("0 3 * * *"), ["29T03:00+02:00"]);
    // However many there are, and whatever is due at the end of the gap anyway: once.
    assert_eq!(spring("0,15,30 2,3 29 * *")[..2], ["29T03:00+02:00", "29T03:15+02:00"]);
    assert_eq!(spring("*/10 2 29 * *"), ["29T03:00+02:00"]);
    // An hour that is `*` has its next time soon; every second hour may not.
    assert_eq!(spring("30 * 29 * *")[..3], ["29T00:30+01:00", "29T01:30+01:00", "29T03:30+02:00"]);
    assert_eq!(spring("0 * 29 * *")[..3], ["29T00:00+01:00", "29T01:00+01:00", "29T03:00+02:00"]);
    assert_eq!(spring("0 */2 29 * *")[..3], ["29T00:00+01:00", "29T03:00+02:00", "29T04:00+02:00"]);
}

#[test]
fn repeated_times_fire_once_except_for_intervals() {
    let autumn =
        |schedule| times(schedule, "Europe/Berlin", "2026-10-24T12:00", "2026-10-26T01:59");
    assert_eq!(autumn("30 2 * * *"), ["25T02:30+02:00"]);
    assert_eq!(autumn("0 3 * * *"), ["25T03:00+01:00"]);
    assert_eq!(
        autumn("0,30 2-3 25 * *"),
        ["25T02:00+02:00", "25T02:30+02:00", "25T03:00+01:00", "25T03:30+01:00"]
    );
    assert_eq!(
        autumn("0 * 25 * *")[1..5],
        ["25T01:00+02:00", "25T02:00+02:00", "25T02:00+01:00", "25T03:00+01:00"]
    );
    assert_eq!(
        autumn("*/30 2 25 * *"),
        ["25T02:00+02:00", "25T02:30+02:00", "25T02:00+01:00", "25T02:30+01:00"]
    );
}

#[test]
fn unusual_time_zones() {
    // Half an hour of daylight saving.
    let howe = |schedule, from, to| times(schedule, "Australia/Lord_Howe", from, to);
    let spring = |schedule| howe(schedule, "2026-10-04T01:00", "2026-10-04T03:00");
    assert_eq!(spring("15 2 * * *"), ["04T02:30+11:00"]);
    assert_eq!(spring("*/20 2 * * *"), ["04T02:30+11:00", "04T02:40+11:00"]);
    assert_eq!(spring("0 * * * *"), ["04T01:00+10:30", "04T03:00+11:00"]);
    let autumn = |schedule| howe(schedule, "2026-04-05T01:15", "2026-04-05T02:15");
    assert_eq!(autumn("45 1 * * *"), ["05T01:45+11:00"]);
    assert_eq!(
        autumn("*/15 * * * *"),
        [
            "05T01:15+11:00",
            "05T01:30+11:00",
            "05T01:45+11:00",
            "05T01:30+10:30",
            "05T01:45+10:30",
            "05T02:00+10:30",
            "05T02:15+10:30"
        ]
    );
    // No midnight.
    let cairo = |schedule| times(schedule, "Africa/Cairo", "2026-04-23T12:00", "2026-04-25T01:00");
    assert_eq!(cairo("0 0 * * *"), ["24T01:00+03:00", "25T00:00+03:00"]);
    assert_eq!(cairo("0 */12 * * *")[1..], ["24T01:00+03:00", "24T12:00+03:00", "25T00:00+03:00"]);
    // A whole day that never was: Samoa changed sides.
    let apia = times("0 3 * * *", "Pacific/Apia", "2011-12-29T00:00", "2012-01-01T00:00");
    assert_eq!(apia, ["29T03:00-10:00", "31T00:00+14:00", "31T03:00+14:00"]);
    // The last days of a year, the rare days of a calendar.
    let rare = |schedule, after| cron(schedule, "UTC").next_after(at(after)).unwrap().to_string();
    assert_eq!(rare("59 23 31 12 *", "2026-12-31T23:59:00Z"), "2027-12-31T23:59:00Z");
    assert_eq!(rare("* * * * *", "2026-12-31T23:59:59.9Z"), "2027-01-01T00:00:00Z");
    assert_eq!(rare("0 0 29 2 *", "2024-02-29T00:00:00Z"), "2028-02-29T00:00:00Z");
    assert_eq!(rare("0 0 29 2 */7", "2032-02-29T00:00:00Z"), "2060-02-29T00:00:00Z");
    assert_eq!(cron("0 0 1 1 *", "UTC").next_after(at("2200-01-01T00:00:00Z")), None);
}

/// Years pass in milliseconds, and no day has more or less than it should.
#[test]
fn years_have_as_many_times_as_they_have_days() {
    for zone in ["UTC", "Europe/Berlin", "Australia/Lord_Howe", "Africa/Cairo", "America/Santiago"]
    {
        let zoned = |year: i16| {
            let date = jiff::civil::date(year, 1, 1);
            date.to_zoned(TimeZone::get(zone).unwrap()).unwrap().timestamp()
        };
        for schedule in ["30 0 * * *", "30 1 * * *", "30 2 * * *", "45 23 * * *"] {
            let trigger = cron(schedule, zone);
            let count = std::iter::successors(Some(zoned(2024)), |t| trigger.next_after(*t))
                .skip(1)
                .take_while(|time| *time < zoned(2028))
                .count();
            assert_eq!(count, 4 * 365 + 1, "{schedule} in {zone}");
        }
        // An interval goes on by elapsed time: every day of the year has 24 hours on average.
        let trigger = cron("*/30 * * * *", zone);
        let all: Vec<_> = std::iter::successors(trigger.next_after(zoned(2025)), |time| {
            trigger.next_after(*time)
        })
        .take_while(|time| *time < zoned(2026))
        .collect();
        assert!(
            all.windows(2)
                .all(|pair| pair[1].duration_since(pair[0]) == SignedDuration::from_mins(30)),
            "{zone}"
        );
    }
}

#[test]
fn intervals_stay_in_step() {
    let trigger = Trigger::Every(Duration::from_secs(900));
    let slot = at("2026-03-01T12:00:00Z");
    let covered = |now: &str| trigger.covered(slot, at(now));
    assert_eq!(trigger.next_after(slot), Some(at("2026-03-01T12:15:00Z")));
    assert_eq!(covered("2026-03-01T12:00:00Z"), slot);
    assert_eq!(covered("2026-03-01T12:14:59.9Z"), slot);
    assert_eq!(covered("2026-03-01T12:15:00Z"), at("2026-03-01T12:15:00Z"));
    assert_eq!(covered("2026-03-09T03:50:00Z"), at("2026-03-09T03:45:00Z"));
    // A run that was asked for before its time changes nothing.
    assert_eq!(covered("2026-03-01T11:00:00Z"), slot);
}

#[test]
fn the_end_of_time_is_the_end() {
    let trigger = Trigger::Every(Duration::MAX);
    assert_eq!(trigger.next_after(at("2026-03-01T12:00:00Z")), None);
    assert_eq!(trigger.covered(Timestamp::MIN, Timestamp::MAX), Timestamp::MIN);
}

/// What the oracle says.
fn oracle(schedule: &str, zone: &TimeZone, after: Timestamp) -> Timestamp {
    let parser = CronParser::builder().seconds(Seconds::Disallowed).build();
    let cron = parser.parse(schedule).unwrap();
    cron.find_next_occurrence(&after.to_zoned(zone.clone()), false).unwrap().timestamp()
}

fn field(values: std::ops::RangeInclusive<u8>) -> impl Strategy<Value = String> {
    let value = values.clone();
    prop_oneof![
        Just("*".to_owned()),
        value.clone().prop_map(|n| n.to_string()),
        (value.clone(), value.clone()).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        proptest::collection::btree_set(value, 1..4).prop_map(|set| set
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(",")),
        (1..=*values.end()).prop_map(|n| format!("*/{n}")),
    ]
}

/// Day fields: as `field`, but for `*/n`, which croner does not take for "every day" beside a
/// restricted weekday.
fn day(values: std::ops::RangeInclusive<u8>) -> impl Strategy<Value = String> {
    field(values).prop_map(|text| if text.starts_with("*/") { "*".to_owned() } else { text })
}

prop_compose! {
    fn schedules()(
        minute in field(0..=59),
        hour in field(0..=23),
        day in day(1..=31),
        month in field(1..=12),
        weekday in day(0..=6),
    ) -> String {
        format!("{minute} {hour} {day} {month} {weekday}")
    }
}

/// Schedules that croner and we take alike for a time of day, or for an interval.
fn clear_schedules() -> impl Strategy<Value = String> {
    let time = (0..60_u8, 0..24_u8).prop_map(|(minute, hour)| format!("{minute} {hour} * * *"));
    let early = (0..60_u8, 0..4_u8).prop_map(|(minute, hour)| format!("{minute} {hour} * * *"));
    let interval = field(0..=59).prop_map(|minute| format!("{minute} * * * *"));
    prop_oneof![time, early, interval]
}

/// From the year 2000 to 2060.
fn moments() -> impl Strategy<Value = Timestamp> {
    (946_684_800_i64..2_840_140_800, 0..1000_i64).prop_map(|(second, milli)| {
        Timestamp::from_millisecond(second * 1000 + milli * milli % 1000).unwrap()
    })
}

proptest! {
    #[test]
    fn in_utc_all_schedules_are_as_the_oracle_says(schedule in schedules(), after in moments()) {
        prop_assume!(schedule.parse::<Schedule>().is_ok());
        let trigger = cron(&schedule, "UTC");
        let mut time = after;
        for _ in 0..5 {
            let next = trigger.next_after(time).unwrap();
            prop_assert_eq!(next, oracle(&schedule, &TimeZone::UTC, time), "{} after {}", schedule, time);
            time = next;
        }
    }

    #[test]
    fn around_changes_of_the_clock_too(
        schedule in clear_schedules(),
        zone in proptest::sample::select(vec![
            "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "Asia/Beirut",
        ]),
        moment in moments(),
        hours in 0..30_i64,
    ) {
        let trigger = cron(&schedule, zone);
        let zone = TimeZone::get(zone).unwrap();
        let change = zone.following(moment).next().map_or(moment, |change| change.timestamp());
        let mut time = change - SignedDuration::from_hours(hours);
        for _ in 0..40 {
            let next = trigger.next_after(time).unwrap();
            prop_assert_eq!(next, oracle(&schedule, &zone, time), "{} after {}", schedule, time);
            time = next;
        }
    }

    /// From anywhere, the next time is the same until it has come.
    #[test]
    fn times_do_not_depend_on_when_one_asks(
        schedule in schedules(),
        moment in moments(),
        zone in proptest::sample::select(vec!["Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia"]),
        part in 0.0..1.0_f64,
    ) {
        prop_assume!(schedule.parse::<Schedule>().is_ok());
        let trigger = cron(&schedule, zone);
        let zone = TimeZone::get(zone).unwrap();
        let change = zone.following(moment).next();
        let moment = change.map_or(moment, |change| change.timestamp() - SignedDuration::from_hours(3));
        if let Some(next) = trigger.next_after(moment) {
            prop_assert!(next > moment);
            let between = moment + SignedDuration::from_secs_f64(next.duration_since(moment).as_secs_f64() * part * 0.999);
            prop_assert_eq!(trigger.next_after(between), Some(next), "{} at {}", schedule, between);
        }
    }
}
