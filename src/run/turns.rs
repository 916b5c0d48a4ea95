//! Whose turn it is to write to a target repository: one rule's at a time, but all of its runs'.
//!
//! Two rules that write to one repository would overwrite each other's tags in any order. Runs of
//! one rule share its turn: a run for one tag that has moved does not wait for the rule's own full
//! pass. Who takes several turns takes them in one order, so nobody waits in a circle.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;

/// Turns, by target repository. Nothing is kept of those that nobody has.
#[derive(Debug, Clone, Default)]
pub struct Turns {
    taken: Arc<Mutex<HashMap<String, Turn<oneshot::Sender<Held>>>>>,
}

/// The right to write to a repository, until dropped.
#[derive(Debug)]
pub struct Held {
    turns: Turns,
    key: String,
    number: u64,
}

/// Somebody in the row, who may give up.
struct Waiting<'a> {
    turns: &'a Turns,
    key: &'a str,
    number: u64,
}

impl Turns {
    /// Waits until the repository is this rule's.
    pub async fn take(&self, key: &str, rule: &str) -> Held {
        // Who gives up leaves the row before it drops what it may have been given: numbers begin
        // anew when a turn is over.
        let (mut given, waiting) = {
            let mut taken = self.taken();
            let turn = taken.entry(key.to_owned()).or_insert_with(|| Turn::of(rule));
            let (sender, given) = oneshot::channel();
            let number = match turn.arrive(rule, sender) {
                Arrival::Joined(number) => {
                    return Held { turns: self.clone(), key: key.to_owned(), number };
                }
                Arrival::Waits(number) => number,
            };
            (given, Waiting { turns: self, key, number })
        };
        let held = (&mut given).await;
        drop(waiting);
        match held {
            Ok(held) => held,
            // Senders leave the row to give a turn, or because this future was dropped.
            Err(_) => unreachable!("a turn was withdrawn from who still waits for it"),
        }
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<String, Turn<oneshot::Sender<Held>>>> {
        self.taken.lock()
    }

    /// Somebody is done, or waits no more: who may begin now?
    fn leave(&self, key: &str, number: u64) {
        let begun = {
            let mut taken = self.taken();
            let Some(turn) = taken.get_mut(key) else { return };
            let begun = turn.leave(number);
            if turn.is_over() {
                taken.remove(key);
            }
            begun
        };
        // Without the lock: who has given up meanwhile drops what it gets, which comes back here.
        for (number, sender) in begun {
            drop(sender.send(Held { turns: self.clone(), key: key.to_owned(), number }));
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.turns.leave(&self.key, self.number);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // Who has got its turn is not in the row any more, and holds it by `Held` alone.
        let is_waiting =
            self.turns.taken().get(self.key).is_some_and(|turn| turn.is_waiting(self.number));
        if is_waiting {
            self.turns.leave(self.key, self.number);
        }
    }
}

/// The turn at one repository: a pure decision on who may write. `T`: how who waits is told.
#[derive(Debug)]
struct Turn<T> {
    rule: String,
    /// The runs whose turn it is, by number.
    holders: BTreeSet<u64>,
    row: VecDeque<(u64, String, T)>,
    /// The newest run that had the turn when another rule came to wait. More runs of the rule
    /// may join as long as any of those is there, and not for ever.
    guests_until: u64,
    next: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Arrival {
    Joined(u64),
    Waits(u64),
}

impl<T> Turn<T> {
    /// A turn of this rule, without any run yet.
    fn of(rule: &str) -> Self {
        Self {
            rule: rule.to_owned(),
            holders: BTreeSet::new(),
            row: VecDeque::new(),
            guests_until: 0,
            next: 0,
        }
    }

    fn is_over(&self) -> bool {
        self.holders.is_empty() && self.row.is_empty()
    }

    fn is_waiting(&self, number: u64) -> bool {
        self.row.iter().any(|(waiting, ..)| *waiting == number)
    }

    fn arrive(&mut self, rule: &str, who: T) -> Arrival {
        let number = self.next;
        self.next += 1;
        let may_join = self.row.is_empty()
            || self.holders.first().is_some_and(|oldest| *oldest <= self.guests_until);
        if self.rule == rule && may_join {
            self.holders.insert(number);
            return Arrival::Joined(number);
        }
        if self.row.is_empty() {
            self.guests_until = self.newest();
        }
        self.row.push_back((number, rule.to_owned(), who));
        Arrival::Waits(number)
    }

    fn newest(&self) -> u64 {
        self.holders.last().copied().unwrap_or_default()
    }

    /// This one is done or gives up. Gives those that begin now.
    fn leave(&mut self, number: u64) -> Vec<(u64, T)> {
        self.holders.remove(&number);
        self.row.retain(|(waiting, ..)| *waiting != number);
        if self.holders.is_empty() {
            let Some((_, rule, _)) = self.row.front() else { return Vec::new() };
            // All runs of that rule: they would join it if they came now.
            self.rule = rule.clone();
            return self.admit(|_| true);
        }
        // They only waited for somebody who has given up.
        let behind_others = self.row.iter().position(|(_, rule, _)| *rule != self.rule);
        let limit = behind_others.unwrap_or(self.row.len());
        self.admit(|at| at < limit)
    }

    /// Lets in those of the rule whose turn it is, where their place in the row allows it.
    fn admit(&mut self, place: impl Fn(usize) -> bool) -> Vec<(u64, T)> {
        let mut begun = Vec::new();
        for (at, (number, rule, who)) in std::mem::take(&mut self.row).into_iter().enumerate() {
            if rule == self.rule && place(at) {
                self.holders.insert(number);
                begun.push((number, who));
            } else {
                self.row.push_back((number, rule, who));
            }
        }
        if !begun.is_empty() {
            self.guests_until = self.newest();
        }
        begun
    }
}

#[cfg(test)]
mod tests;
