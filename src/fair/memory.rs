//! The memory of the whole process for documents that others chose the size of: claimed before it is
//! used, waited for, never exceeded, and without deadlocks.
//!
//! Claimants are numbered as they begin. The *eldest* is the one with the lowest number that has not
//! ended. No claimant holds more than [`Bounds::each`].
//!
//! - The eldest gets whatever it claims.
//! - The others get a claim only if everything that is held, with it, stays within `total` minus
//!   `each`. A claimant that holds much leaves [`Bounds::spare`] of that to those that hold little, so
//!   that large documents do not keep small ones waiting.
//!
//! **The total is never exceeded.** All but the eldest hold at most `total - each` together: a claim of
//! one of them is granted only if that is still so, a claim of the eldest does not count among them,
//! and when another one becomes the eldest, it no longer counts. The eldest itself holds at most `each`.
//!
//! **Nobody waits for ever.** For the same reason there is always room for what the eldest claims, so
//! it never waits for memory. If it ends, the next one is the eldest; so every claimant is served at
//! last, provided that each ends once it has its memory. For that, a claimant must not wait for
//! memory while it holds something else that another claimant waits for (a lock, a permit that other
//! claimants need): it claims first, and takes the lock then.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// How a budget is divided, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// What all claimants hold together at most.
    pub total: u64,
    /// What one claimant holds at most.
    pub each: u64,
    /// What is left to claimants that hold no more than `little`.
    pub spare: u64,
    pub little: u64,
}

/// A budget. Clones are the same.
#[derive(Debug, Clone)]
pub struct MemoryBudget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    bounds: Bounds,
    state: Mutex<State>,
    /// Told whenever a claim may be granted that could not be granted before.
    freed: Notify,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// What all hold.
    used: u64,
    /// What each claimant that has not ended holds, by its number.
    held: BTreeMap<u64, u64>,
}

/// Something that claims memory bit by bit, such as the transfer of one image. It ends when all its
/// clones and claims are dropped.
#[derive(Debug, Clone)]
pub struct Claimant(Arc<Membership>);

#[derive(Debug)]
struct Membership {
    budget: Arc<Shared>,
    number: u64,
}

/// Memory that may be used until the claim is dropped.
#[derive(Debug)]
pub struct Claim {
    claimant: Claimant,
    bytes: u64,
}

/// The claimant would hold more than it may. Nobody waits for that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimsTooMuch;

impl MemoryBudget {
    pub fn new(bounds: Bounds) -> Self {
        Self(Arc::new(Shared { bounds, state: Mutex::default(), freed: Notify::new() }))
    }

    /// A new claimant, younger than all others.
    pub fn begin(&self) -> Claimant {
        let mut state = self.0.state.lock();
        let number = state.next;
        state.next += 1;
        state.held.insert(number, 0);
        Claimant(Arc::new(Membership { budget: self.0.clone(), number }))
    }

    /// What all claimants hold together, in bytes.
    pub fn used(&self) -> u64 {
        self.0.state.lock().used
    }
}

impl Claimant {
    /// Waits for so many bytes, with which the claimant holds `at_most` so many.
    pub async fn claim(&self, bytes: u64, at_most: u64) -> Result<Claim, ClaimsTooMuch> {
        let mut claim = Claim { claimant: self.clone(), bytes: 0 };
        claim.resize(bytes, at_most).await?;
        Ok(claim)
    }
}

impl Claim {
    /// Changes the claim to so many bytes: at once if they are fewer, otherwise when the rest is to be
    /// had. If the future is dropped, the claim stays as it was.
    pub async fn resize(&mut self, bytes: u64, at_most: u64) -> Result<(), ClaimsTooMuch> {
        let shared = self.claimant.0.budget.clone();
        loop {
            let mut freed = std::pin::pin!(shared.freed.notified());
            // Before looking, so that nothing that is freed after the look is missed.
            freed.as_mut().enable();
            if self.try_resize(bytes, at_most)? {
                return Ok(());
            }
            freed.await;
        }
    }

    /// The same without waiting. `false`: the rest is not to be had now, and the claim is as it was.
    pub fn try_resize(&mut self, bytes: u64, at_most: u64) -> Result<bool, ClaimsTooMuch> {
        let Membership { budget, number } = &*self.claimant.0;
        let more = bytes.saturating_sub(self.bytes);
        if more > 0 {
            let mut state = budget.state.lock();
            let holds = state.held.get(number).copied().unwrap_or_default();
            if holds.saturating_add(more) > at_most.min(budget.bounds.each) {
                return Err(ClaimsTooMuch);
            }
            if !state.may(&budget.bounds, *number, holds + more, more) {
                return Ok(false);
            }
            state.used += more;
            state.held.insert(*number, holds + more);
        } else {
            budget.give_back(*number, self.bytes - bytes);
        }
        self.bytes = bytes;
        Ok(true)
    }
}

impl State {
    /// Whether a claimant may hold `holds` bytes by now, `more` than before.
    fn may(&self, bounds: &Bounds, number: u64, holds: u64, more: u64) -> bool {
        if self.held.first_key_value().is_some_and(|(eldest, _)| *eldest == number) {
            return true;
        }
        let spare = if holds > bounds.little { bounds.spare } else { 0 };
        self.used.saturating_add(more).saturating_add(bounds.each + spare) <= bounds.total
    }
}

impl Shared {
    fn give_back(&self, number: u64, bytes: u64) {
        if bytes == 0 {
            return;
        }
        {
            let mut state = self.state.lock();
            state.used -= bytes;
            if let Some(held) = state.held.get_mut(&number) {
                *held -= bytes;
            }
        }
        self.freed.notify_waiters();
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let Membership { budget, number } = &*self.claimant.0;
        budget.give_back(*number, self.bytes);
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        // Its claims are gone, because each holds the membership.
        self.budget.state.lock().held.remove(&self.number);
        // Another one may be the eldest by now.
        self.budget.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::future::join_all;
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds = Bounds { total: 100, each: 30, spare: 10, little: 5 };

    /// Whether a claim is granted at once.
    fn get(claimant: &Claimant, bytes: u64) -> Option<Claim> {
        let mut claim = Claim { claimant: claimant.clone(), bytes: 0 };
        claim.try_resize(bytes, BOUNDS.each).unwrap().then_some(claim)
    }

    #[test]
    fn the_eldest_is_always_served_and_others_leave_room_for_it() {
        let budget = MemoryBudget::new(BOUNDS);
        let [eldest, second, third, fourth] = [(); 4].map(|()| budget.begin());
        let [of_second, of_third] = [get(&second, 30), get(&third, 30)].map(Option::unwrap);
        assert!(get(&fourth, 6).is_none(), "it would leave too little to small claimants");
        let little = get(&fourth, 5).unwrap();
        assert!(get(&fourth, 1).is_none(), "it would not be a small one any more");
        let all = get(&eldest, 30).unwrap();
        assert_eq!(budget.used(), 95);
        assert_eq!(get(&eldest, 0).unwrap().try_resize(1, BOUNDS.each), Err(ClaimsTooMuch));
        drop((all, eldest, little));
        assert!(get(&fourth, 6).is_none(), "the second is the eldest, but holds memory");
        drop((of_second, second));
        assert!(get(&fourth, 6).is_some());
        drop((of_third, third, fourth));
        assert_eq!((budget.used(), budget.0.state.lock().held.len()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_that_is_given_up_takes_nothing() {
        let budget = MemoryBudget::new(BOUNDS);
        let [_eldest, second, third] = [(); 3].map(|()| budget.begin());
        let held = [get(&second, 30), get(&third, 30)];
        let mut claim = get(&third, 0).unwrap();
        let fourth = budget.begin();
        let waits = tokio::time::timeout(Duration::from_secs(1), fourth.claim(20, BOUNDS.each));
        assert!(waits.await.is_err());
        assert_eq!(claim.resize(31, BOUNDS.each).await, Err(ClaimsTooMuch));
        assert_eq!(budget.used(), 60);
        drop(held);
        claim.resize(30, BOUNDS.each).await.unwrap();
        claim.resize(3, BOUNDS.each).await.unwrap();
        assert_eq!(budget.used(), 3);
    }

    proptest! {
        /// However many claimants hold on to what they have while they wait for more, several claims at
        /// once, all of them end, and the total is never exceeded.
        #[test]
        fn all_claimants_end_within_the_total(
            claimants in proptest::collection::vec(
                proptest::collection::vec((1_u64..=12, 0_u64..=12, 0_u64..4), 1..8),
                1..30,
            ),
        ) {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let runtime = builder.enable_time().start_paused(true).build().unwrap();
            let budget = MemoryBudget::new(BOUNDS);
            let within = || assert!(budget.used() <= BOUNDS.total, "{}", budget.used());
            let work = claimants.into_iter().map(async |claims| {
                let claimant = budget.begin();
                let claims = claims.into_iter().map(async |(first, then, pause)| {
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                    let mut claim = claimant.claim(first, BOUNDS.each).await.ok()?;
                    within();
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                    claim.resize(then, BOUNDS.each).await.ok()?;
                    within();
                    Some(claim)
                });
                let held = join_all(claims).await;
                tokio::time::sleep(Duration::from_millis(1)).await;
                drop(held);
            });
            let all = async {
                tokio::time::timeout(Duration::from_secs(3600), join_all(work)).await
            };
            prop_assert!(runtime.block_on(all).is_ok(), "some wait for ever");
            prop_assert_eq!(budget.used(), 0);
        }
    }
}
