//! How old a manifest is: the first clock that says anything decides, and what it says must be
//! possible. What a person restored is no older than its restoration.

use std::time::Duration;

use jiff::Timestamp;

use super::snapshot::{Node, Snapshot};
use crate::config::policy::ClockSource;
use crate::removal::Clock;

/// 2013-03-20, when docker was shown first, in microseconds: no image is older. Reproducible
/// builds and broken clocks write such times.
const FIRST_POSSIBLE: i64 = 1_363_737_600_000_000;

/// What the clocks say of one manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Microseconds since 1970.
    Known { at: i64, source: ClockSource },
    /// The clock says what cannot be.
    Impossible { at: i64, source: ClockSource },
    /// No clock says anything.
    Silent,
    /// A person restored it later than the clock says. Microseconds since 1970.
    Restored { at: i64 },
}

impl Reading {
    /// The reading of one manifest by these clocks.
    pub fn of(snapshot: &Snapshot, node: Node, clocks: &[ClockSource], now: Timestamp) -> Self {
        let said = |source: &ClockSource| snapshot.time(node, *source).map(|at| (at, *source));
        match clocks.iter().find_map(said) {
            None => Self::Silent,
            Some((at, source)) if at < FIRST_POSSIBLE || at > now.as_microsecond() => {
                Self::Impossible { at, source }
            }
            Some((at, source)) => Self::Known { at, source },
        }
    }

    /// Microseconds since 1970, if that can be relied on.
    pub fn known(self) -> Option<i64> {
        match self {
            Self::Known { at, .. } | Self::Restored { at } => Some(at),
            Self::Impossible { .. } | Self::Silent => None,
        }
    }

    /// The same for a manifest that was restored at that time: it is no older than that. Unknown stays
    /// unknown, because what is of unknown age is never old enough. A time after `now` counts as `now`.
    pub fn since_restored(self, restored: Option<i64>, now: Timestamp) -> Self {
        match (self, restored.map(|at| at.min(now.as_microsecond()))) {
            (Self::Known { at, .. }, Some(restored)) if restored > at => {
                Self::Restored { at: restored }
            }
            (reading, _) => reading,
        }
    }

    /// Whether the age is known, and at least `age`.
    pub fn is_older(self, age: Duration, now: Timestamp) -> bool {
        self.known().is_some_and(|at| {
            // A known time is not after now, and both are far from the ends of the range.
            let elapsed = now.as_microsecond().saturating_sub(at);
            i128::from(elapsed) >= age.as_micros().try_into().unwrap_or(i128::MAX)
        })
    }
}

impl From<Reading> for Clock {
    fn from(reading: Reading) -> Self {
        // What was made from a timestamp is one.
        let timestamp = |at| Timestamp::from_microsecond(at).ok();
        match reading {
            Reading::Known { at, source } => {
                Self { time: timestamp(at), source: Some(source.as_str().into()), impossible: None }
            }
            Reading::Impossible { at, source } => {
                Self { time: None, source: Some(source.as_str().into()), impossible: timestamp(at) }
            }
            Reading::Silent => Self { time: None, source: None, impossible: None },
            Reading::Restored { at } => {
                Self { time: timestamp(at), source: Some("restored".into()), impossible: None }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cleanup::{Abilities, Builder, Untag};
    use crate::oci::Digest;

    #[test]
    fn the_first_clock_that_says_anything_decides() {
        use ClockSource::{Created, FirstSeen, Pushed};
        let now: Timestamp = "2026-01-10T00:00:00Z".parse().unwrap();
        type Case<'a> = (&'a [(ClockSource, &'a str)], &'a [ClockSource], Option<&'a str>);
        let cases: [Case<'_>; 8] = [
            (
                &[(Pushed, "2026-01-01T00:00:00Z")],
                &[Pushed, FirstSeen],
                Some("2026-01-01T00:00:00Z"),
            ),
            (
                &[(FirstSeen, "2026-01-02T00:00:00Z")],
                &[Pushed, FirstSeen],
                Some("2026-01-02T00:00:00Z"),
            ),
            (&[(Created, "2025-01-02T00:00:00Z")], &[Pushed, FirstSeen], None),
            // What is impossible does not make another clock right.
            (
                &[(Pushed, "1970-01-01T00:00:00Z"), (FirstSeen, "2026-01-02T00:00:00Z")],
                &[Pushed, FirstSeen],
                None,
            ),
            (&[(Pushed, "2013-03-19T23:59:59Z")], &[Pushed], None),
            (&[(Pushed, "2013-03-20T00:00:00Z")], &[Pushed], Some("2013-03-20T00:00:00Z")),
            (&[(Pushed, "2026-01-10T00:00:00Z")], &[Pushed], Some("2026-01-10T00:00:00Z")),
            (&[(Pushed, "2026-01-10T00:00:01Z")], &[Pushed], None),
        ];
        for (times, clocks, expected) in cases {
            let mut builder =
                Builder::new("r", Abilities { untag: Untag::Yes, lists_untagged: true });
            let digest = Digest::of(b"x");
            for (source, time) in times {
                builder.time(&digest, *source, time.parse().unwrap());
            }
            let reading = Reading::of(&builder.finish(), Node(0), clocks, now);
            let expected = expected.map(|t| t.parse::<Timestamp>().unwrap().as_microsecond());
            assert_eq!(reading.known(), expected, "{times:?} by {clocks:?}");
        }
    }

    #[test]
    fn a_restored_manifest_is_no_older_than_its_restoration() {
        let now: Timestamp = "2026-01-10T00:00:00Z".parse().unwrap();
        let ago = |days: i64| now.as_microsecond() - days * 86_400_000_000;
        let known = |days| Reading::Known { at: ago(days), source: ClockSource::Created };
        assert_eq!(known(9).since_restored(None, now), known(9));
        assert_eq!(known(9).since_restored(Some(ago(2)), now).known(), Some(ago(2)));
        // It was pushed again after it was restored.
        assert_eq!(known(1).since_restored(Some(ago(2)), now), known(1));
        // The clock of this machine was set back.
        assert_eq!(known(9).since_restored(Some(ago(-5)), now).known(), Some(ago(0)));
        // What is of unknown age does not become old enough by being restored.
        assert_eq!(Reading::Silent.since_restored(Some(ago(2)), now), Reading::Silent);
    }

    #[test]
    fn unknown_is_never_old() {
        let now: Timestamp = "2026-01-10T00:00:00Z".parse().unwrap();
        let day = Duration::from_secs(86_400);
        let at = now.as_microsecond() - 86_400_000_000;
        assert!(Reading::Known { at, source: ClockSource::Pushed }.is_older(day, now));
        assert!(!Reading::Known { at: at + 1, source: ClockSource::Pushed }.is_older(day, now));
        assert!(!Reading::Known { at, source: ClockSource::Pushed }.is_older(Duration::MAX, now));
        assert!(
            !Reading::Impossible { at: 0, source: ClockSource::Pushed }
                .is_older(Duration::ZERO, now)
        );
        assert!(!Reading::Silent.is_older(Duration::ZERO, now));
    }
}
