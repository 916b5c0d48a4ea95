//! Permits for what the whole process shares. What a stalled flow holds is not counted while others
//! wait: a registry that asks for a pause, or that does not answer, keeps nobody else from working.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::queue::{FairQueue, Ticket};
use super::{Flow, Pulses};

/// How often those who wait look whether a flow has stalled.
const LOOK: Duration = Duration::from_millis(100);

/// A number of permits, shared by several flows. Clones share the same permits.
///
/// A flow that stalls keeps its permits, and as many more are given to others. So more than the
/// number may be held, while some of them are held by flows in which nothing moves. A stalled flow
/// that has a permit gets no further one.
#[derive(Debug, Clone)]
pub struct LendingPermits {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    permits: usize,
    pulses: Pulses,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How many permits each flow holds. No entry is zero.
    held: HashMap<Flow, usize>,
    queue: FairQueue<(Flow, oneshot::Sender<Lent>)>,
    /// When one of those who wait last looked whether a flow has stalled.
    looked: Option<Instant>,
}

/// The right to do one thing. Dropping it passes it on to the next in the queue.
#[derive(Debug)]
pub struct Lent {
    shared: Arc<Shared>,
    flow: Flow,
}

/// Removes the entry from the queue when the waiting future ends or is dropped.
struct Waiting<'a> {
    shared: &'a Shared,
    ticket: Ticket,
}

impl LendingPermits {
    /// `pulses` tell which flows have stalled.
    pub fn new(permits: usize, pulses: Pulses) -> Self {
        Self { shared: Arc::new(Shared { permits, pulses, state: Mutex::default() }) }
    }

    /// Waits for a permit. If the future is dropped, it leaves the queue, and a permit that it
    /// was handed meanwhile goes to the next.
    pub async fn acquire(&self, flow: Flow) -> Lent {
        let (sender, mut handed) = oneshot::channel();
        let ticket = self.shared.state.lock().queue.push(flow, (flow, sender));
        let _waiting = Waiting { shared: &self.shared, ticket };
        Shared::serve(&self.shared);
        loop {
            tokio::select! {
                biased;
                lent = &mut handed => match lent {
                    Ok(lent) => return lent,
                    // Its sender leaves the queue only to hand over a permit.
                    Err(_) => return Shared::grant(&self.shared, flow),
                },
                () = tokio::time::sleep(LOOK) => Shared::look(&self.shared),
            }
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        {
            let mut state = self.shared.state.lock();
            if let Some(held) = state.held.get_mut(&self.flow) {
                *held -= 1;
                if *held == 0 {
                    state.held.remove(&self.flow);
                }
            }
        }
        Shared::serve(&self.shared);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let removed = self.shared.state.lock().queue.remove(self.ticket);
        // Dropped after the lock is released.
        drop(removed);
    }
}

impl Shared {
    fn grant(shared: &Arc<Self>, flow: Flow) -> Lent {
        *shared.state.lock().held.entry(flow).or_default() += 1;
        Lent { shared: shared.clone(), flow }
    }

    /// Hands out what stalled flows do not keep any more; once in a while, however many wait.
    fn look(shared: &Arc<Self>) {
        {
            let mut state = shared.state.lock();
            if state.looked.is_some_and(|looked| looked.elapsed() < LOOK / 2) {
                return;
            }
            state.looked = Some(Instant::now());
        }
        Self::serve(shared);
    }

    /// Hands out what can be handed out now.
    fn serve(shared: &Arc<Self>) {
        while let Some((flow, sender)) = shared.next() {
            let lent = Lent { shared: shared.clone(), flow };
            // Sent without the lock: a receiver that was dropped meanwhile drops the permit, which
            // serves the next one.
            drop(sender.send(lent));
        }
    }

    /// The next one to be served, whose permit is counted by now.
    fn next(&self) -> Option<(Flow, oneshot::Sender<Lent>)> {
        let mut state = self.state.lock();
        let State { held, queue, .. } = &mut *state;
        let counted: usize = held
            .iter()
            .filter(|(flow, _)| !self.pulses.has_stalled(**flow))
            .map(|(_, permits)| permits)
            .sum();
        if counted >= self.permits {
            return None;
        }
        let may = |flow| !held.contains_key(&flow) || !self.pulses.has_stalled(flow);
        let (flow, sender) = queue.pop_of(may)?;
        *held.entry(flow).or_default() += 1;
        Some((flow, sender))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fair::Pulse;

    const BIG: Flow = Flow::new(1);
    const SMALL: Flow = Flow::new(2);

    /// Lets all tasks run until they wait: with paused time the clock moves only then.
    async fn settle() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    async fn is_served(permits: &LendingPermits, flow: Flow, within: Duration) -> Option<Lent> {
        tokio::time::timeout(within, permits.acquire(flow)).await.ok()
    }

    const SOON: Duration = Duration::from_millis(500);
    const LATER: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn a_small_flow_waits_for_one_permit_of_a_big_one() {
        let permits = LendingPermits::new(2, Pulses::default());
        let served = Arc::new(Mutex::new(Vec::new()));
        let start = |flow: Flow| {
            let (permits, served) = (permits.clone(), served.clone());
            tokio::spawn(async move {
                let _permit = permits.acquire(flow).await;
                served.lock().push(flow);
                tokio::time::sleep(SOON).await;
            })
        };
        let mut tasks: Vec<_> = (0..100).map(|_| start(BIG)).collect();
        settle().await;
        tasks.extend((0..3).map(|_| start(SMALL)));
        for task in tasks {
            task.await.unwrap();
        }
        let served = served.lock();
        let last = served.iter().rposition(|flow| *flow == SMALL).unwrap();
        assert!(last <= 2 + 2 * 3, "{served:?}");
        assert_eq!(served.len(), 103);
        let state = permits.shared.state.lock();
        assert!(state.held.is_empty() && state.queue.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_stalled_flow_holds_is_lent_to_others_and_counts_again_when_it_moves() {
        let pulses = Pulses::default();
        let permits = LendingPermits::new(2, pulses.clone());
        let _watched = pulses.watch(BIG, &Pulse::default());
        let _held = (permits.acquire(BIG).await, permits.acquire(BIG).await);
        assert!(is_served(&permits, SMALL, SOON).await.is_none(), "it has not stalled yet");
        let lent = is_served(&permits, SMALL, LATER).await.expect("it has stalled");
        assert!(is_served(&permits, BIG, LATER).await.is_none(), "a stalled flow gets no more");
        let second = is_served(&permits, SMALL, LATER).await.expect("both are lent");
        pulses.progress(BIG);
        drop(second);
        assert!(is_served(&permits, SMALL, SOON).await.is_none(), "three are held");
        drop(lent);
        pulses.progress(BIG);
        assert!(is_served(&permits, SMALL, SOON).await.is_none(), "two are held");
    }

    /// However many flows have stalled, another one gets what it would get alone.
    #[tokio::test(start_paused = true)]
    async fn many_stalled_flows_keep_nothing_from_others() {
        let pulses = Pulses::default();
        let permits = LendingPermits::new(2, pulses.clone());
        let mut kept = Vec::new();
        for number in 10..50 {
            let flow = Flow::new(number);
            let watched = pulses.watch(flow, &Pulse::default());
            kept.push((watched, is_served(&permits, flow, LATER).await.expect("its first one")));
        }
        tokio::time::sleep(LATER).await;
        let all = [
            is_served(&permits, SMALL, SOON).await,
            is_served(&permits, SMALL, SOON).await,
            is_served(&permits, SMALL, SOON).await,
        ];
        assert_eq!(all.map(|permit| permit.is_some()), [true, true, false]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_permit_that_is_not_collected_goes_to_the_next() {
        let permits = LendingPermits::new(1, Pulses::default());
        let held = permits.acquire(BIG).await;
        let mut unlucky = Box::pin(permits.acquire(BIG));
        assert!(futures_util::poll!(unlucky.as_mut()).is_pending());
        let other = permits.clone();
        let next = tokio::spawn(async move { drop(other.acquire(SMALL).await) });
        settle().await;
        drop(held);
        drop(unlucky);
        next.await.unwrap();
        assert!(permits.shared.state.lock().held.is_empty());
    }
}
