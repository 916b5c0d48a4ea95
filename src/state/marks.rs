//! Where each rule stands: the last slot of its schedule, its last runs, and what people were told
//! of it.

use jiff::Timestamp;

use super::State;
use super::codec::{Reader, Writer};

/// Keys of marks start with this byte. Programs that do not know it leave them alone.
const KIND: u8 = b'm';

/// What is known of a rule. Times are kept in whole seconds; what lies before 1970 is not kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mark {
    /// The newest slot of the schedule that was handled, by a run or by being passed over.
    pub last_slot: Option<Timestamp>,
    /// When a run of any cause was last started.
    pub last_start: Option<Timestamp>,
    /// When a run last ended well.
    pub last_success: Option<Timestamp>,
    /// Runs that failed since then.
    pub consecutive_failures: u32,
    /// The last run of the whole rule has not come to its end.
    pub unfinished: bool,
    /// Events told of changes that no run has looked at with success yet.
    pub events_pending: bool,
    /// What people were last told of the rule.
    pub told: Told,
}

/// What people know of a rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Told {
    /// That it works, or nothing: as long as it works, there is nothing to be told.
    #[default]
    Works,
    Fails,
    /// That a safety limit holds it back.
    HeldBack,
}

impl State {
    /// What is known of a rule.
    pub fn mark(&self, rule: &str) -> Option<Mark> {
        Mark::decode(&self.store().get(&encode_key(rule))?)
    }

    /// Changes what is known of a rule, with nobody else's change in between.
    pub fn update_mark(&self, rule: &str, change: impl FnOnce(&mut Mark)) {
        let _alone = self.updating();
        let mut mark = self.mark(rule).unwrap_or_default();
        change(&mut mark);
        self.apply(vec![(encode_key(rule), Some(mark.encode()))]);
    }

    /// Forgets all rules but these: the configuration does not have the others any more.
    pub fn forget_marks_except(&self, rules: &[&str]) {
        let _alone = self.updating();
        let known = self.store().last_with_prefix(&[KIND], usize::MAX);
        let kept: std::collections::HashSet<_> =
            rules.iter().map(|rule| encode_key(rule)).collect();
        let gone = known.into_iter().filter(|(key, _)| !kept.contains(key));
        self.apply(gone.map(|(key, _)| (key, None)).collect());
    }
}

fn encode_key(rule: &str) -> Vec<u8> {
    Writer::key(KIND).text(rule).finish()
}

/// People were told that the rule fails.
const ALERTED: u8 = 1;
/// The flag of the first of the times; the others follow.
const FIRST_TIME: u8 = 2;
const UNFINISHED: u8 = 16;
const EVENTS_PENDING: u8 = 32;
/// People were told that a safety limit holds the rule back. Programs that do not know this flag
/// take the mark for none, and begin a new one.
const HELD_BACK: u8 = 64;
const TIMES: u8 = FIRST_TIME | FIRST_TIME << 1 | FIRST_TIME << 2;
const ALL: u8 = ALERTED | TIMES | UNFINISHED | EVENTS_PENDING | HELD_BACK;

impl Mark {
    fn encode(&self) -> Vec<u8> {
        let seconds = |time: Option<Timestamp>| u64::try_from(time?.as_second()).ok();
        let times = [self.last_slot, self.last_start, self.last_success].map(seconds);
        let mut flags = match self.told {
            Told::Works => 0,
            Told::Fails => ALERTED,
            Told::HeldBack => HELD_BACK,
        };
        flags |= if self.unfinished { UNFINISHED } else { 0 };
        flags |= if self.events_pending { EVENTS_PENDING } else { 0 };
        for (at, time) in times.iter().enumerate() {
            flags |= if time.is_some() { FIRST_TIME << at } else { 0 };
        }
        let writer = Writer::default().byte(flags).number(self.consecutive_failures.into());
        times.into_iter().flatten().fold(writer, Writer::number).finish()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let flags = reader.byte().filter(|flags| flags & !ALL == 0)?;
        let consecutive_failures = u32::try_from(reader.number()?).ok()?;
        let mut times = [None; 3];
        for (at, time) in times.iter_mut().enumerate() {
            if flags & FIRST_TIME << at != 0 {
                let seconds = i64::try_from(reader.number()?).ok()?;
                *time = Some(Timestamp::from_second(seconds).ok()?);
            }
        }
        let [last_slot, last_start, last_success] = times;
        let told = match flags & (ALERTED | HELD_BACK) {
            0 => Told::Works,
            ALERTED => Told::Fails,
            HELD_BACK => Told::HeldBack,
            _ => return None,
        };
        reader.at_end().then_some(Self {
            last_slot,
            last_start,
            last_success,
            consecutive_failures,
            unfinished: flags & UNFINISHED != 0,
            events_pending: flags & EVENTS_PENDING != 0,
            told,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn time() -> impl Strategy<Value = Option<Timestamp>> {
        prop::option::of((0..=253_402_207_200_i64).prop_map(|s| Timestamp::from_second(s).unwrap()))
    }

    fn mark() -> impl Strategy<Value = Mark> {
        let times = (time(), time(), time());
        let told = prop::sample::select(vec![Told::Works, Told::Fails, Told::HeldBack]);
        let all = (times, any::<u32>(), any::<[bool; 2]>(), told);
        all.prop_map(|(times, failures, flags, told)| Mark {
            last_slot: times.0,
            last_start: times.1,
            last_success: times.2,
            consecutive_failures: failures,
            unfinished: flags[0],
            events_pending: flags[1],
            told,
        })
    }

    proptest! {
        #[test]
        fn marks_round_trip(mark in mark()) {
            prop_assert_eq!(Mark::decode(&mark.encode()), Some(mark));
        }

        #[test]
        fn any_bytes_are_a_mark_or_nothing(bytes: Vec<u8>) {
            let _ = Mark::decode(&bytes);
        }

        #[test]
        fn cut_or_longer_bytes_are_nothing(mark in mark(), cut in any::<prop::sample::Index>()) {
            let mut bytes = mark.encode();
            prop_assert_eq!(Mark::decode(&bytes[..cut.index(bytes.len())]), None);
            bytes.push(0);
            prop_assert_eq!(Mark::decode(&bytes), None);
        }
    }

    #[test]
    fn a_time_before_1970_is_not_kept() {
        let early = Timestamp::from_second(-1).ok();
        let mark = Mark { last_slot: early, consecutive_failures: 3, ..Mark::default() };
        let kept = Mark { last_slot: None, ..mark.clone() };
        assert_eq!(Mark::decode(&mark.encode()), Some(kept));
    }

    #[test]
    fn marks_of_rules_that_are_gone_are_forgotten() {
        let dir = tempfile::TempDir::new().unwrap();
        for state in [State::in_memory(), State::open(dir.path()).unwrap()] {
            for rule in ["a", "b", "ab"] {
                state.update_mark(rule, |mark| mark.consecutive_failures += 1);
                state.update_mark(rule, |mark| mark.consecutive_failures += 1);
            }
            state.update_mark("b", |mark| mark.told = Told::Fails);
            state.forget_marks_except(&["a", "b", "never"]);
            assert_eq!(state.mark("a").unwrap().consecutive_failures, 2);
            assert_eq!(state.mark("b").unwrap().told, Told::Fails);
            assert_eq!(state.mark("ab"), None);
            assert_eq!(state.mark("never"), None);
        }
    }
}
