//! The agenda, driven through days in milliseconds.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::{Agenda, Cause, Due, Ending, Mark};
use crate::schedule::{Timing, Trigger};

const RULE: &str = "rule";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn noon() -> Timestamp {
    at("2026-03-02T12:00:00Z")
}

/// So many seconds after noon.
fn s(seconds: i64) -> Timestamp {
    noon() + SignedDuration::from_secs(seconds)
}

fn m(minutes: i64) -> Timestamp {
    s(60 * minutes)
}

fn every(minutes: u64) -> Timing {
    let trigger = Trigger::Every(Duration::from_secs(60 * minutes));
    Timing { trigger, run_at_start: false, jitter: Duration::ZERO }
}

fn cron(schedule: &str) -> Timing {
    cron_in(schedule, "UTC")
}

fn cron_in(schedule: &str, zone: &str) -> Timing {
    let timezone = TimeZone::get(zone).unwrap();
    let trigger = Trigger::Cron { schedule: schedule.parse().unwrap(), timezone };
    Timing { trigger, run_at_start: false, jitter: Duration::ZERO }
}

fn at_start(timing: Timing) -> Timing {
    Timing { run_at_start: true, ..timing }
}

fn with_jitter(timing: Timing, minutes: u64) -> Timing {
    Timing { jitter: Duration::from_secs(60 * minutes), ..timing }
}

fn agenda(timing: Timing, mark: Option<Mark>, now: Timestamp) -> Agenda {
    let marks = mark.map(|mark| (RULE.to_owned(), mark)).into_iter().collect();
    Agenda::new([(RULE.into(), Some(timing))], &marks, now, Box::new(|| 0.5))
}

fn done_at(handled: Timestamp) -> Option<Mark> {
    Some(Mark { handled, started: Some(handled), unfinished: false })
}

fn due(agenda: &mut Agenda, now: Timestamp) -> Option<(Timestamp, Cause)> {
    let due = agenda.due(now);
    assert!(due.len() <= 1);
    due.first().map(|due| (due.slot, due.cause))
}

fn run(agenda: &mut Agenda, from: Timestamp, to: Timestamp, ending: Ending) {
    agenda.started(RULE, from);
    agenda.finished(RULE, to, ending);
}

#[test]
fn a_rule_runs_at_the_start_or_at_its_first_slot() {
    let mut starting = agenda(at_start(every(15)), None, m(1));
    assert_eq!(due(&mut starting, m(1)), Some((m(1), Cause::Start)));
    run(&mut starting, m(1), m(2), Ending::Reached);
    assert_eq!((starting.next(RULE), starting.wake()), (Some(m(16)), Some(m(16))));

    let mut waiting = agenda(every(15), None, m(1));
    assert_eq!((due(&mut waiting, m(15)), waiting.next(RULE)), (None, Some(m(16))));
    assert_eq!(due(&mut waiting, m(16)), Some((m(16), Cause::Slot)));

    let mut waiting = agenda(cron("*/15 * * * *"), None, m(1));
    assert_eq!((due(&mut waiting, m(14)), waiting.next(RULE)), (None, Some(m(15))));
    assert_eq!(due(&mut waiting, m(15)), Some((m(15), Cause::Slot)));
    assert_eq!((due(&mut waiting, m(15)), due(&mut waiting, m(300))), (None, None));
}

#[test]
fn what_was_missed_while_down_runs_once() {
    for timing in [every(15), cron("*/15 * * * *")] {
        let mut agenda = agenda(timing, done_at(noon()), m(24 * 60 + 20));
        assert_eq!(due(&mut agenda, m(24 * 60 + 20)), Some((m(15), Cause::Missed)));
        run(&mut agenda, m(24 * 60 + 20), m(24 * 60 + 21), Ending::Reached);
        assert_eq!(due(&mut agenda, m(24 * 60 + 29)), None);
        assert_eq!(due(&mut agenda, m(24 * 60 + 30)), Some((m(24 * 60 + 30), Cause::Slot)));
    }
}

#[test]
fn a_rule_does_not_overlap_itself() {
    let mut agenda = agenda(cron("*/15 * * * *"), done_at(noon()), m(1));
    assert_eq!(due(&mut agenda, m(15)), Some((m(15), Cause::Slot)));
    agenda.started(RULE, m(15));
    assert_eq!((agenda.next(RULE), agenda.wake()), (Some(m(30)), None));
    assert_eq!(due(&mut agenda, m(50)), None);
    agenda.finished(RULE, m(50), Ending::Reached);
    assert_eq!(due(&mut agenda, m(50)), Some((m(30), Cause::Missed)));
    run(&mut agenda, m(50), m(51), Ending::Reached);
    assert_eq!(agenda.next(RULE), Some(m(60)));
}

#[test]
fn a_run_that_was_asked_for_counts_for_slots_that_came_not_for_those_to_come() {
    let mut agenda = agenda(with_jitter(cron("0 * * * *"), 20), done_at(noon()), m(1));
    assert_eq!(agenda.next(RULE), Some(m(70)));
    agenda.started(RULE, m(59));
    agenda.finished(RULE, m(65), Ending::Reached);
    assert_eq!(agenda.next(RULE), Some(m(70)));
    run(&mut agenda, m(66), m(67), Ending::Reached);
    assert_eq!(agenda.next(RULE), Some(m(130)));
}

#[test]
fn a_rule_that_was_due_and_did_not_run_is_due_again() {
    let mut agenda = agenda(every(15), done_at(noon()), m(1));
    assert_eq!(due(&mut agenda, m(15)), Some((m(15), Cause::Slot)));
    agenda.finished(RULE, m(15), Ending::Reached);
    assert_eq!(due(&mut agenda, m(15)), Some((m(15), Cause::Slot)));
}

#[test]
fn a_run_that_was_cut_off_runs_again_in_the_next_process() {
    for ending in [None, Some(Ending::Interrupted)] {
        let mut killed = agenda(cron("0 3 * * *"), done_at(noon()), m(1));
        killed.started(RULE, m(2));
        if let Some(ending) = ending {
            killed.finished(RULE, m(3), ending);
            assert_eq!(due(&mut killed, m(3)), None);
        }
        let mut next = agenda(cron("0 3 * * *"), killed.mark(RULE), m(5));
        assert_eq!(due(&mut next, m(5)), Some((m(5), Cause::Interrupted)));
        run(&mut next, m(5), m(6), Ending::Reached);
        assert_eq!(next.next(RULE), Some(at("2026-03-03T03:00:00Z")));
        assert!(!next.mark(RULE).unwrap().unfinished);
    }
    // Without a trigger too.
    let mark = Mark { handled: noon(), started: Some(noon()), unfinished: true };
    let marks = HashMap::from([(RULE.to_owned(), mark)]);
    let mut agenda = Agenda::new([(RULE.into(), None)], &marks, m(5), Box::new(|| 0.5));
    assert_eq!(due(&mut agenda, m(5)), Some((m(5), Cause::Interrupted)));
    run(&mut agenda, m(5), m(6), Ending::Reached);
    assert_eq!((agenda.next(RULE), agenda.wake()), (None, None));
}

#[test]
fn jitter_is_drawn_once_a_slot() {
    let mut draws = [0.1, 0.9, 0.0].into_iter();
    let rules = [(Arc::from(RULE), Some(with_jitter(every(20), 10)))];
    let random = Box::new(move || draws.next().unwrap());
    let mut agenda = Agenda::new(rules, &HashMap::new(), noon(), random);
    assert_eq!((due(&mut agenda, m(20)), agenda.next(RULE)), (None, Some(m(21))));
    assert_eq!((due(&mut agenda, m(19)), agenda.next(RULE)), (None, Some(m(21))));
    assert_eq!(due(&mut agenda, m(21)), Some((m(20), Cause::Slot)));
    run(&mut agenda, m(21), m(22), Ending::Reached);
    assert_eq!((due(&mut agenda, m(48)), agenda.next(RULE)), (None, Some(m(49))));
    assert_eq!(due(&mut agenda, m(49)), Some((m(40), Cause::Slot)));
    run(&mut agenda, m(49), m(50), Ending::Reached);
    assert_eq!(agenda.next(RULE), Some(m(60)));
}

#[test]
fn a_rule_that_reaches_nothing_slows_down_and_recovers_at_once() {
    let trigger = Trigger::Every(Duration::from_secs(10));
    let mut agenda = agenda(Timing { trigger, ..every(1) }, done_at(noon()), noon());
    let mut now = s(10);
    let mut pauses = Vec::new();
    for _ in 0..8 {
        assert!(due(&mut agenda, now).is_some_and(|(_, cause)| cause == Cause::Slot));
        run(&mut agenda, now, now, Ending::Unreachable);
        let next = agenda.next(RULE).unwrap();
        pauses.push(next.duration_since(now).as_secs());
        now = next;
    }
    assert_eq!(pauses, [30, 60, 120, 240, 480, 900, 900, 900]);
    assert!(due(&mut agenda, now).is_some());
    run(&mut agenda, now, now, Ending::Interrupted);
    assert_eq!(agenda.next(RULE), Some(now + SignedDuration::from_secs(900)));
    run(&mut agenda, now, now, Ending::Reached);
    assert_eq!(agenda.next(RULE), Some(now + SignedDuration::from_secs(10)));

    // What runs seldom anyway stays as it is.
    let mut daily = super::tests::agenda(cron("0 13 * * *"), done_at(noon()), noon());
    run(&mut daily, m(60), m(61), Ending::Unreachable);
    assert_eq!(daily.next(RULE), Some(m(25 * 60)));
}

#[test]
fn a_clock_put_back_repeats_nothing_and_keeps_nobody_waiting() {
    const DAY: i64 = 24 * 60;
    // A little: the hour that comes again is not run again.
    let mut hourly = agenda(cron("0 * * * *"), done_at(noon()), m(1));
    assert_eq!(due(&mut hourly, m(60)), Some((m(60), Cause::Slot)));
    run(&mut hourly, m(60), m(61), Ending::Reached);
    assert_eq!((due(&mut hourly, m(55)), due(&mut hourly, m(60))), (None, None));
    assert_eq!(hourly.next(RULE), Some(m(120)));
    // Nor after a start in that hour.
    let mut again = agenda(at_start(cron("0 * * * *")), hourly.mark(RULE), m(55));
    assert_eq!(due(&mut again, m(55)), Some((m(55), Cause::Start)));
    run(&mut again, m(55), m(56), Ending::Reached);
    assert_eq!(again.next(RULE), Some(m(120)));
    // By a day: the new time counts.
    assert_eq!((due(&mut hourly, m(61 - DAY)), hourly.wake()), (None, Some(m(120 - DAY))));
    assert!(due(&mut hourly, m(120 - DAY)).is_some());

    let mut interval = agenda(every(15), done_at(noon()), m(14));
    assert_eq!(due(&mut interval, m(14 - DAY)), None);
    assert_eq!(interval.wake(), Some(m(29 - DAY)));
    // Seen at the start of a process only.
    let interval = agenda(every(15), done_at(noon()), m(-DAY));
    assert_eq!(interval.wake(), Some(m(15 - DAY)));
    // While it runs, while it backs off, before its first run.
    let mut running = agenda(every(15), done_at(noon()), m(1));
    running.started(RULE, m(15));
    assert_eq!(due(&mut running, m(-DAY)), None);
    running.finished(RULE, m(1 - DAY), Ending::Unreachable);
    assert_eq!(running.next(RULE), Some(m(15 - DAY)));
    assert_eq!(due(&mut running, m(-2 * DAY)), None);
    assert_eq!(running.next(RULE), Some(m(15 - 2 * DAY)));
    let mut starting = agenda(at_start(with_jitter(every(15), 2)), None, noon());
    assert_eq!(due(&mut starting, m(-DAY)), None);
    assert_eq!(due(&mut starting, m(1 - DAY)), Some((m(-DAY), Cause::Start)));
}

#[test]
fn a_clock_put_forward_runs_what_it_jumped_over_once() {
    for timing in [every(60), cron("0 * * * *")] {
        let mut agenda = agenda(timing, done_at(noon()), m(1));
        let later = m(365 * 24 * 60 + 5);
        assert_eq!(due(&mut agenda, later), Some((m(60), Cause::Missed)));
        run(&mut agenda, later, later, Ending::Reached);
        assert_eq!(agenda.next(RULE), Some(m(365 * 24 * 60 + 60)));
    }
}

#[test]
fn a_reload_keeps_what_it_can() {
    let rules = |list: &[(&str, Timing)]| -> Vec<(Arc<str>, Option<Timing>)> {
        list.iter().map(|(name, timing)| (Arc::from(*name), Some(timing.clone()))).collect()
    };
    let before = rules(&[("same", every(15)), ("other", every(15)), ("gone", every(15))]);
    let mut agenda = Agenda::new(before, &HashMap::new(), noon(), Box::new(|| 0.5));
    agenda.started("gone", m(1));
    let jittered = with_jitter(every(15), 4);
    let after =
        rules(&[("same", jittered), ("other", cron("5 * * * *")), ("new", at_start(every(9)))]);
    agenda.replace(after, m(10));
    assert_eq!(agenda.next("same"), Some(m(17)));
    assert_eq!(agenda.next("other"), Some(m(65)));
    assert_eq!(agenda.due(m(10)), [Due { rule: "new".into(), slot: m(10), cause: Cause::Start }]);
    // Gone, but still running: if it comes back, it does not run beside itself.
    assert_eq!(agenda.next("gone"), None);
    agenda.replace(rules(&[("gone", every(1))]), m(11));
    assert_eq!((agenda.due(m(15)), agenda.next("same")), (vec![], None));
    agenda.finished("gone", m(15), Ending::Reached);
    assert_eq!(agenda.due(m(15)).len(), 1);
    agenda.replace([], m(16));
    let known = |agenda: &Agenda| {
        let known = |rule: &&str| agenda.mark(rule).is_some();
        ["same", "other", "gone", "new"].into_iter().filter(known).collect::<Vec<_>>()
    };
    assert_eq!(known(&agenda), ["gone", "new"], "due or running");
    agenda.finished("gone", m(17), Ending::Reached);
    agenda.finished("new", m(17), Ending::Reached);
    assert_eq!((known(&agenda), agenda.wake()), (vec![], None));
}

#[test]
fn a_thousand_rules_of_one_slot_are_due_together_in_fair_order() {
    let names: Vec<Arc<str>> = (0..1000).map(|n| format!("r{n:03}").into()).collect();
    let rules = names.iter().map(|name| (name.clone(), Some(cron("0 * * * *"))));
    let mut agenda = Agenda::new(rules, &HashMap::new(), noon(), Box::new(|| 0.5));
    let order = |due: &[Due]| due.iter().map(|due| due.rule.clone()).collect::<Vec<_>>();
    let due = agenda.due(m(60));
    assert_eq!(order(&due), names);
    assert_eq!(agenda.wake(), None);
    // The last ones begin first, and one not at all.
    for (n, name) in (0..).zip(names.iter().rev()).filter(|(n, _)| *n != 500) {
        agenda.started(name, m(60) + SignedDuration::from_secs(n));
    }
    for name in &names {
        agenda.finished(name, m(100), Ending::Reached);
    }
    let mut expected: Vec<_> = names.iter().rev().cloned().collect();
    let never_ran = expected.remove(500);
    expected.insert(0, never_ran.clone());
    assert_eq!(order(&agenda.due(m(100))), [never_ran]);
    agenda.finished(&expected[0], m(100), Ending::Reached);
    assert_eq!(order(&agenda.due(m(120))), expected);
}

fn timings() -> impl Strategy<Value = Timing> {
    let trigger = prop_oneof![
        (1_u64..100).prop_map(every),
        proptest::sample::select(vec![
            cron("*/5 * * * *"),
            cron("7 * * * *"),
            cron("0 3,15 * * *"),
            cron_in("30 2 * * *", "Europe/Berlin"),
            cron_in("*/20 1-3 * * *", "Australia/Lord_Howe"),
        ]),
    ];
    (trigger, 0.0..0.99_f64).prop_map(|(timing, part)| {
        let jitter = match timing.trigger {
            Trigger::Every(interval) => interval.mul_f64(part),
            Trigger::Cron { .. } => Duration::from_secs(240).mul_f64(part),
        };
        Timing { jitter, ..timing }
    })
}

#[derive(Debug, Clone)]
enum Step {
    /// Ask what is due after so many seconds, and let what is begin.
    Wait(i64),
    /// Until the agenda wants to be asked.
    Wake,
    Finish,
    Restart,
    /// The clock is set, by seconds.
    Clock(i64),
}

fn steps(clock: impl Strategy<Value = Step> + 'static) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..4000_i64).prop_map(Step::Wait),
        6 => Just(Step::Wake),
        6 => Just(Step::Finish),
        2 => Just(Step::Restart),
        1 => clock,
    ];
    proptest::collection::vec(step, 1..80)
}

/// A daemon with one rule, and what it did.
struct World {
    timing: Timing,
    agenda: Agenda,
    seed: u64,
    now: Timestamp,
    running: bool,
    /// When runs began, and for which slot.
    runs: Vec<(Timestamp, Timestamp, Cause)>,
}

impl World {
    fn new(timing: Timing, start: Timestamp, seed: u64) -> Self {
        let agenda = Self::agenda(&timing, None, start, seed);
        Self { timing, agenda, seed, now: start, running: false, runs: Vec::new() }
    }

    fn agenda(timing: &Timing, mark: Option<Mark>, now: Timestamp, seed: u64) -> Agenda {
        let marks = mark.map(|mark| (RULE.to_owned(), mark)).into_iter().collect();
        let mut random = fastrand::Rng::with_seed(seed);
        let random = Box::new(move || random.f64());
        Agenda::new([(RULE.into(), Some(timing.clone()))], &marks, now, random)
    }

    fn finish(&mut self) {
        if std::mem::take(&mut self.running) {
            self.agenda.finished(RULE, self.now, Ending::Reached);
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Wait(seconds) => self.now += SignedDuration::from_secs(*seconds),
            Step::Wake => self.now = self.agenda.wake().map_or(self.now, |at| at.max(self.now)),
            Step::Clock(seconds) => self.now += SignedDuration::from_secs(*seconds),
            Step::Finish => self.finish(),
            Step::Restart => {
                // A run that was under way came to its end with the process.
                self.finish();
                self.seed += 1;
                let mark = self.agenda.mark(RULE);
                self.agenda = Self::agenda(&self.timing, mark, self.now, self.seed);
            }
        }
        for due in self.agenda.due(self.now) {
            assert!(!self.running, "due while running");
            self.running = true;
            self.agenda.started(RULE, self.now);
            self.runs.push((self.now, due.slot, due.cause));
        }
    }
}

fn starts() -> impl Strategy<Value = Timestamp> {
    // Also shortly before clocks change in Berlin and on Lord Howe.
    let days = [
        "2026-03-28T20:00:00Z",
        "2026-10-24T20:00:00Z",
        "2026-04-04T10:00:00Z",
        "2026-12-31T20:00:00Z",
    ];
    proptest::sample::select(days.map(at).to_vec())
}

proptest! {
    /// Whenever processes end and begin, every slot leads to one run at or after it, and no run
    /// is without a slot of its own.
    #[test]
    fn no_slot_is_lost_or_doubled(
        timing in timings(),
        start in starts(),
        seed: u64,
        steps in steps(Just(Step::Restart)),
    ) {
        let mut world = World::new(timing.clone(), start, seed >> 1);
        for step in &steps {
            world.step(step);
        }
        world.finish();
        let mut slots = std::iter::successors(timing.trigger.next_after(start), |slot| {
            timing.trigger.next_after(*slot)
        }).peekable();
        for (began, slot, _) in &world.runs {
            prop_assert_eq!(slots.peek(), Some(slot), "a run takes care of the first open slot");
            prop_assert!(slot <= began);
            while slots.next_if(|slot| slot <= began).is_some() {}
        }
        // What is open still is waited for, no longer than jitter says.
        let open = *slots.peek().unwrap();
        let next = world.agenda.next(RULE).unwrap();
        prop_assert!(next >= open && next <= open + timing.jitter, "{next} for {open}");
    }

    /// A daemon that is asked in time runs every slot, within jitter.
    #[test]
    fn runs_begin_within_jitter(timing in timings(), start in starts(), seed: u64) {
        let mut world = World::new(timing.clone(), start, seed >> 1);
        for _ in 0..50 {
            world.step(&Step::Wake);
            world.step(&Step::Finish);
        }
        prop_assert_eq!(world.runs.len(), 50);
        for (began, slot, cause) in world.runs {
            let late = began.duration_since(slot);
            prop_assert!(!late.is_negative() && late.unsigned_abs() <= timing.jitter);
            prop_assert_eq!(cause, Cause::Slot);
        }
    }

    /// However a clock is set, nobody waits for long, and no slot runs twice unless the clock was
    /// put back by more than an hour.
    #[test]
    fn clocks_may_be_set(
        timing in timings(),
        start in starts(),
        seed: u64,
        steps in steps(prop_oneof![
            (-200_000..200_000_i64).prop_map(Step::Clock),
            (-1000..1000_i64).prop_map(Step::Clock),
        ]),
    ) {
        let hour = SignedDuration::from_hours(1);
        let mut world = World::new(timing.clone(), start, seed >> 1);
        let mut latest = start;
        let mut handled = None;
        for step in &steps {
            let before = world.runs.len();
            world.step(step);
            world.finish();
            latest = latest.max(world.now);
            if latest.duration_since(world.now) > hour {
                (latest, handled) = (world.now, None);
            }
            if let (Trigger::Cron { .. }, Some((began, slot, _))) = (&timing.trigger, world.runs.get(before)) {
                prop_assert!(handled.is_none_or(|handled| *slot > handled), "{slot} ran before");
                handled = Some(*began);
            }
            let longest = match timing.trigger {
                Trigger::Every(interval) => world.now + interval,
                Trigger::Cron { .. } => timing.trigger.next_after(world.now + hour).unwrap(),
            };
            prop_assert!(world.agenda.wake().unwrap() <= longest + timing.jitter);
        }
    }
}

/// A year in Berlin, with both of its changes of the clock.
#[test]
fn a_year_has_its_runs() {
    let start = at("2025-12-31T23:00:00Z");
    let count = |timing: Timing| {
        let mut world = World::new(timing, start - SignedDuration::from_secs(1), 1);
        while world.agenda.wake().unwrap() < start + SignedDuration::from_hours(365 * 24) {
            world.step(&Step::Wake);
            world.step(&Step::Finish);
        }
        world.runs.len()
    };
    assert_eq!(count(with_jitter(cron_in("30 2 * * *", "Europe/Berlin"), 30)), 365);
    assert_eq!(count(cron_in("0 * * * *", "Europe/Berlin")), 365 * 24);
    assert_eq!(count(every(60)), 365 * 24);
}
