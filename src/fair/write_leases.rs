//! Exclusive leases to write to a target repository: one rule at a time, shared by its runs.
//!
//! Two rules that write to one repository would overwrite each other's tags in any order. Runs of
//! one rule share its lease: a run for one tag that has moved does not wait for the rule's own full
//! pass. A run that takes several leases takes them in one order, so no two runs deadlock.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;

/// The leases, by target repository. Nothing is kept for a repository that nobody writes to.
#[derive(Debug, Clone, Default)]
pub struct WriteLeases {
    leases: Arc<Mutex<HashMap<String, Lease<oneshot::Sender<WriteLease>>>>>,
}

/// The right to write to a repository, until dropped.
#[derive(Debug)]
pub struct WriteLease {
    leases: WriteLeases,
    repository: String,
    number: u64,
}

/// A run in the queue, which leaves it when dropped.
struct Waiting<'a> {
    leases: &'a WriteLeases,
    repository: &'a str,
    number: u64,
}

impl WriteLeases {
    /// Waits until this rule may write to the repository.
    pub async fn take(&self, repository: &str, rule: &str) -> WriteLease {
        // A run that gives up leaves the queue before it drops the lease that it may have been
        // given: numbers begin anew when the last run has left.
        let (mut granted, waiting) = {
            let mut leases = self.lock();
            let lease = leases.entry(repository.to_owned()).or_insert_with(|| Lease::of(rule));
            let (sender, granted) = oneshot::channel();
            let number = match lease.arrive(rule, sender) {
                Arrival::Joined(number) => {
                    let repository = repository.to_owned();
                    return WriteLease { leases: self.clone(), repository, number };
                }
                Arrival::Waits(number) => number,
            };
            (granted, Waiting { leases: self, repository, number })
        };
        let lease = (&mut granted).await;
        drop(waiting);
        match lease {
            Ok(lease) => lease,
            // Senders leave the queue to grant a lease, or because this future was dropped.
            Err(_) => unreachable!("a waiting run was taken out of the queue"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Lease<oneshot::Sender<WriteLease>>>> {
        self.leases.lock()
    }

    /// A run is done, or waits no longer: the next ones begin.
    fn leave(&self, repository: &str, number: u64) {
        let begun = {
            let mut leases = self.lock();
            let Some(lease) = leases.get_mut(repository) else { return };
            let begun = lease.leave(number);
            if lease.is_over() {
                leases.remove(repository);
            }
            begun
        };
        // Not under the lock: a run that has given up meanwhile drops its lease, which locks again.
        for (number, sender) in begun {
            let repository = repository.to_owned();
            drop(sender.send(WriteLease { leases: self.clone(), repository, number }));
        }
    }
}

impl Drop for WriteLease {
    fn drop(&mut self) {
        self.leases.leave(&self.repository, self.number);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // A run that was granted its lease has left the queue, and holds a `WriteLease` instead.
        let is_waiting = self
            .leases
            .lock()
            .get(self.repository)
            .is_some_and(|lease| lease.is_waiting(self.number));
        if is_waiting {
            self.leases.leave(self.repository, self.number);
        }
    }
}

/// The lease of one repository: a pure decision on which runs may write. `T` tells a waiting run
/// that it may begin.
#[derive(Debug)]
struct Lease<T> {
    /// The rule that holds it.
    rule: String,
    /// The runs that hold it, by number.
    holders: BTreeSet<u64>,
    queue: VecDeque<(u64, String, T)>,
    /// The newest holder when another rule began to wait. More runs of this rule may join as long
    /// as a holder up to this one is left: not for ever.
    joinable_until: u64,
    next: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Arrival {
    Joined(u64),
    Waits(u64),
}

impl<T> Lease<T> {
    /// A lease of this rule, without any run yet.
    fn of(rule: &str) -> Self {
        Self {
            rule: rule.to_owned(),
            holders: BTreeSet::new(),
            queue: VecDeque::new(),
            joinable_until: 0,
            next: 0,
        }
    }

    fn is_over(&self) -> bool {
        self.holders.is_empty() && self.queue.is_empty()
    }

    fn is_waiting(&self, number: u64) -> bool {
        self.queue.iter().any(|(waiting, ..)| *waiting == number)
    }

    fn arrive(&mut self, rule: &str, sender: T) -> Arrival {
        let number = self.next;
        self.next += 1;
        let may_join = self.queue.is_empty()
            || self.holders.first().is_some_and(|oldest| *oldest <= self.joinable_until);
        if self.rule == rule && may_join {
            self.holders.insert(number);
            return Arrival::Joined(number);
        }
        if self.queue.is_empty() {
            self.joinable_until = self.newest();
        }
        self.queue.push_back((number, rule.to_owned(), sender));
        Arrival::Waits(number)
    }

    fn newest(&self) -> u64 {
        self.holders.last().copied().unwrap_or_default()
    }

    /// Removes a run that is done or gives up. Returns the runs that begin now.
    fn leave(&mut self, number: u64) -> Vec<(u64, T)> {
        self.holders.remove(&number);
        self.queue.retain(|(waiting, ..)| *waiting != number);
        if self.holders.is_empty() {
            let Some((_, rule, _)) = self.queue.front() else { return Vec::new() };
            // All runs of that rule: they would join it if they came now.
            self.rule = rule.clone();
            return self.admit(|_| true);
        }
        // These only waited behind a run that has given up.
        let behind_others = self.queue.iter().position(|(_, rule, _)| *rule != self.rule);
        let limit = behind_others.unwrap_or(self.queue.len());
        self.admit(|index| index < limit)
    }

    /// Lets in the runs of the holding rule whose index in the queue passes.
    fn admit(&mut self, passes: impl Fn(usize) -> bool) -> Vec<(u64, T)> {
        let mut begun = Vec::new();
        for (at, (number, rule, sender)) in std::mem::take(&mut self.queue).into_iter().enumerate()
        {
            if rule == self.rule && passes(at) {
                self.holders.insert(number);
                begun.push((number, sender));
            } else {
                self.queue.push_back((number, rule, sender));
            }
        }
        if !begun.is_empty() {
            self.joinable_until = self.newest();
        }
        begun
    }
}

#[cfg(test)]
mod tests;
