//! A schedule's times on the clocks of a place, which go back and forth.
//!
//! Where clocks are put forward, the times that they leave out are made up for once, right after
//! the gap; but a schedule whose hour is `*` has its next time soon, and makes up for nothing.
//! Where they are put back, the times that they show twice count the first time only; but a
//! schedule whose minute or hour begins with `*` is an interval and counts both, as with Vixie's
//! cron: `*/5 * * * *` runs every five minutes of that hour and of its repetition.

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use super::cron::Schedule;

/// The first time of `schedule` after `after`. `None`: never again.
pub(super) fn next_after(
    schedule: &Schedule,
    timezone: &TimeZone,
    after: Timestamp,
) -> Option<Timestamp> {
    let mut offset = timezone.to_offset(after);
    let mut next = schedule.first_after(offset.to_datetime(after))?;
    let mut changes = timezone.following(after);
    // From one change of the clocks to the next; in between they just go on.
    loop {
        let change = changes.next();
        let end = change.as_ref().map(|change| change.timestamp());
        loop {
            let time = offset.to_timestamp(next).ok()?;
            if end.is_some_and(|end| time >= end) {
                break;
            }
            if schedule.repeats() || is_first(timezone, next, offset) {
                return Some(time);
            }
            next = schedule.first_after(next)?;
        }
        let change = change?;
        let old = offset.to_datetime(change.timestamp());
        offset = change.offset();
        let new = offset.to_datetime(change.timestamp());
        if next < new && schedule.catches_up() {
            return Some(change.timestamp());
        }
        // What is left out by a gap is passed over here, what is repeated comes again.
        if next < new || new < old {
            next = schedule.first_after(new.checked_sub(SignedDuration::from_secs(1)).ok()?)?;
        }
    }
}

/// Whether `time` at `offset` is the first time that the clocks show it.
fn is_first(timezone: &TimeZone, time: DateTime, offset: Offset) -> bool {
    match timezone.to_ambiguous_timestamp(time).offset() {
        AmbiguousOffset::Fold { before, .. } => before == offset,
        AmbiguousOffset::Gap { .. } | AmbiguousOffset::Unambiguous { .. } => true,
    }
}
