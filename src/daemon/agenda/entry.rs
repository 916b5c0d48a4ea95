//! One rule's place in the agenda.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{Cause, Ending, Mark, Random};
use crate::http::Backoff;
use crate::schedule::{Timing, Trigger};

/// A rule that begins later than this was missed.
const LATE: SignedDuration = SignedDuration::from_mins(1);

/// What a clock may be put back by before times that ran already run again. A daily run is not
/// repeated after a correction of some minutes; nobody waits for a clock that was days ahead.
const PUT_BACK: SignedDuration = SignedDuration::from_hours(1);

/// The pause after runs that reached nothing.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(30), Duration::from_secs(15 * 60));

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Waiting,
    /// Handed out, not yet begun.
    Due,
    Running,
}

pub struct Entry {
    timing: Option<Timing>,
    pub mark: Mark,
    pub phase: Phase,
    /// A cause that is there besides the trigger.
    owed: Option<Cause>,
    /// The first slot that is not taken care of, or since when a run is owed.
    slot: Option<Timestamp>,
    /// The jitter of this slot.
    delay: Duration,
    /// Runs on end that reached nothing.
    unreachable: u32,
    /// Earlier than this it does not run, whatever the slot.
    not_before: Timestamp,
    /// The rule is gone from the configuration.
    retired: bool,
}

impl Entry {
    pub fn new(
        timing: Option<Timing>,
        mark: Option<Mark>,
        now: Timestamp,
        random: &mut Random,
    ) -> Self {
        let fresh = Mark { handled: now, started: None, unfinished: false };
        let mark = mark.unwrap_or(fresh);
        let run_at_start = timing.as_ref().is_some_and(|timing| timing.run_at_start);
        let owed = if mark.unfinished {
            Some(Cause::Interrupted)
        } else {
            run_at_start.then_some(Cause::Start)
        };
        let mut entry = Self {
            timing,
            mark,
            phase: Phase::Waiting,
            owed,
            slot: owed.map(|_| now),
            delay: Duration::ZERO,
            unreachable: 0,
            not_before: Timestamp::MIN,
            retired: false,
        };
        entry.trust_mark_up_to(now);
        if owed.is_some() {
            entry.delay = entry.draw(random);
        } else {
            entry.find_slot(random);
        }
        entry
    }

    /// When it is due, unless it is under way: then, when at the earliest it will be due again.
    pub fn due_at(&self) -> Option<Timestamp> {
        let slot = self.slot?;
        // Later than the end of time is never.
        let due_at = slot.checked_add(self.delay).ok()?;
        Some(due_at.max(self.not_before))
    }

    pub fn waits_for(&self) -> Option<Timestamp> {
        if self.phase == Phase::Waiting { self.due_at() } else { None }
    }

    pub fn hand_out(&mut self, now: Timestamp) -> Option<(Timestamp, Cause)> {
        let late = now.duration_since(self.waits_for()?) > LATE;
        self.phase = Phase::Due;
        let by_slot = if late { Cause::Missed } else { Cause::Slot };
        Some((self.slot?, self.owed.unwrap_or(by_slot)))
    }

    pub fn start(&mut self, now: Timestamp, random: &mut Random) {
        self.phase = Phase::Running;
        self.mark.started = Some(now);
        self.mark.unfinished = true;
        self.take_care(now, random);
    }

    pub fn skip(&mut self, now: Timestamp, random: &mut Random) {
        if self.phase == Phase::Due {
            self.phase = Phase::Waiting;
            self.mark.unfinished = false;
            self.take_care(now, random);
        }
    }

    /// Every slot until now is dealt with.
    fn take_care(&mut self, now: Timestamp, random: &mut Random) {
        let slot = self.slot.filter(|&slot| slot <= now || self.owed.is_some());
        self.owed = None;
        if let Some(slot) = slot {
            let covered =
                self.timing.as_ref().map_or(now, |timing| timing.trigger.covered(slot, now));
            self.mark.handled = self.mark.handled.max(covered);
            self.find_slot(random);
        }
    }

    pub fn finish(&mut self, now: Timestamp, ending: Ending) {
        if self.phase == Phase::Running {
            self.mark.unfinished = ending == Ending::Interrupted;
            match ending {
                Ending::Reached => self.unreachable = 0,
                Ending::Unreachable => self.unreachable = self.unreachable.saturating_add(1),
                Ending::Interrupted => {}
            }
            self.not_before = self.pause_from(now);
        }
        self.phase = Phase::Waiting;
    }

    pub fn change_timing(&mut self, timing: Option<Timing>, now: Timestamp, random: &mut Random) {
        let old = std::mem::replace(&mut self.timing, timing);
        let trigger = |timing: &Option<Timing>| timing.as_ref().map(|t| t.trigger.clone());
        let jitter = |timing: &Option<Timing>| timing.as_ref().map(|t| t.jitter);
        if std::mem::take(&mut self.retired) || trigger(&old) != trigger(&self.timing) {
            self.mark.handled = now;
            self.owed = None;
            self.unreachable = 0;
            self.not_before = Timestamp::MIN;
            self.slot = None;
            self.find_slot(random);
        } else if jitter(&old) != jitter(&self.timing) {
            self.delay = self.draw(random);
        }
    }

    /// It will not be due any more.
    pub fn retire(&mut self) {
        self.retired = true;
        self.owed = None;
        self.slot = None;
    }

    /// Nothing is left to wait for.
    pub fn is_over(&self) -> bool {
        self.retired && self.phase == Phase::Waiting
    }

    /// The clock shows a time that it showed before.
    pub fn clock_put_back(&mut self, now: Timestamp, random: &mut Random) {
        if self.retired {
            return;
        }
        self.trust_mark_up_to(now);
        self.not_before = self.not_before.min(self.pause_from(now));
        if self.owed.is_some() {
            self.slot = self.slot.map(|slot| slot.min(now));
        }
        self.find_slot(random);
    }

    /// Times taken care of that are still to come show that the clock was put back.
    fn trust_mark_up_to(&mut self, now: Timestamp) {
        let ahead = self.mark.handled.duration_since(now);
        let allowed = match self.timing.as_ref().map(|timing| &timing.trigger) {
            Some(Trigger::Cron { .. }) => PUT_BACK,
            // No more than one interval from now.
            Some(Trigger::Every(_)) | None => SignedDuration::ZERO,
        };
        if ahead > allowed {
            self.mark.handled = now;
        }
    }

    /// The slot after what is taken care of, unless a run is owed; its jitter is drawn once.
    fn find_slot(&mut self, random: &mut Random) {
        if self.owed.is_some() {
            return;
        }
        let next = |timing: &Timing| timing.trigger.next_after(self.mark.handled);
        let slot = self.timing.as_ref().and_then(next);
        if slot != self.slot {
            self.slot = slot;
            self.delay = self.draw(random);
        }
    }

    fn draw(&self, random: &mut Random) -> Duration {
        let jitter = self.timing.as_ref().map_or(Duration::ZERO, |timing| timing.jitter);
        if jitter.is_zero() {
            return jitter;
        }
        let seconds = jitter.as_secs_f64() * random();
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO).min(jitter)
    }

    /// When a rule that reached nothing may try again.
    fn pause_from(&self, now: Timestamp) -> Timestamp {
        if self.unreachable == 0 {
            return Timestamp::MIN;
        }
        // The end of time is late enough.
        now.checked_add(BACKOFF.after(self.unreachable)).unwrap_or(Timestamp::MAX)
    }
}
