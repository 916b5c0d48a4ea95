//! Permits: like a semaphore's, but those who wait are served by a fair queue of flows.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::Flow;
use super::queue::{FairQueue, Ticket};

/// A number of permits, shared by several flows. Clones share the same permits.
#[derive(Debug, Clone)]
pub struct Permits {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Zero while anybody waits.
    free: usize,
    queue: FairQueue<oneshot::Sender<Permit>>,
}

/// The right to do one thing. Dropping it passes it on to the next in the queue.
#[derive(Debug)]
pub struct Permit {
    /// `None` once the permit was forgotten.
    shared: Option<Arc<Shared>>,
}

/// Removes the entry from the queue when the waiting future ends or is dropped.
struct Waiting<'a> {
    shared: &'a Shared,
    ticket: Ticket,
}

impl Permits {
    pub fn new(permits: usize) -> Self {
        let state = State { free: permits, queue: FairQueue::default() };
        Self { shared: Arc::new(Shared { state: Mutex::new(state) }) }
    }

    /// Waits for a permit. If the future is dropped, it leaves the queue, and a permit that it
    /// was handed meanwhile goes to the next.
    pub async fn acquire(&self, flow: Flow) -> Permit {
        let (waiting, handed) = {
            let mut state = self.shared.state.lock();
            if state.free > 0 {
                state.free -= 1;
                return Permit { shared: Some(self.shared.clone()) };
            }
            let (sender, handed) = oneshot::channel();
            let ticket = state.queue.push(flow, sender);
            (Waiting { shared: &self.shared, ticket }, handed)
        };
        let permit = handed.await;
        drop(waiting);
        // A sender leaves the queue only to hand over a permit, or because its receiver, which is
        // here, was dropped. So there is a permit; were there none, an extra one does no harm.
        permit.unwrap_or(Permit { shared: None })
    }

    /// How many permits are free now.
    pub fn free(&self) -> usize {
        self.shared.state.lock().free
    }

    /// Adds permits.
    pub fn add(&self, permits: usize) {
        for _ in 0..permits {
            Shared::release(&self.shared);
        }
    }
}

impl Permit {
    /// Removes the permit for good instead of giving it back.
    pub fn forget(mut self) {
        self.shared = None;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            Shared::release(&shared);
        }
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
    /// Hands one permit to the next in the queue, or makes it free.
    fn release(shared: &Arc<Self>) {
        loop {
            let next = {
                let mut state = shared.state.lock();
                let next = state.queue.pop();
                if next.is_none() {
                    state.free += 1;
                }
                next
            };
            let Some(next) = next else { return };
            // Sent without the lock: a receiver that was dropped meanwhile drops the permit, which
            // calls this function again.
            match next.send(Permit { shared: Some(shared.clone()) }) {
                Ok(()) => return,
                // Forgotten, not dropped: the loop offers it to the next one.
                Err(permit) => permit.forget(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const BIG: Flow = Flow::new(1);
    const SMALL: Flow = Flow::new(2);

    /// Lets all tasks run until they wait: with paused time the clock moves only then.
    async fn settle() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_small_flow_waits_for_one_permit_of_a_big_one() {
        let permits = Permits::new(2);
        let served = Arc::new(Mutex::new(Vec::new()));
        let start = |flow: Flow| {
            let (permits, served) = (permits.clone(), served.clone());
            tokio::spawn(async move {
                let _permit = permits.acquire(flow).await;
                served.lock().push(flow);
                tokio::time::sleep(Duration::from_secs(1)).await;
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
        assert_eq!((served.len(), permits.free()), (103, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_waiter_leaves_the_queue() {
        let permits = Permits::new(1);
        let held = permits.acquire(BIG).await;
        let gone = tokio::time::timeout(Duration::from_secs(1), permits.acquire(BIG)).await;
        assert!(gone.is_err());
        assert!(permits.shared.state.lock().queue.is_empty());
        drop(held);
        assert_eq!(permits.free(), 1);
    }

    /// The permit is handed to a future that is not polled and then dropped.
    #[tokio::test(start_paused = true)]
    async fn a_permit_that_is_not_collected_goes_to_the_next() {
        let permits = Permits::new(1);
        let held = permits.acquire(BIG).await;
        let mut unlucky = Box::pin(permits.acquire(BIG));
        assert!(futures_util::poll!(unlucky.as_mut()).is_pending());
        let other = permits.clone();
        let next = tokio::spawn(async move { drop(other.acquire(SMALL).await) });
        settle().await;
        drop(held);
        assert_eq!(permits.free(), 0);
        drop(unlucky);
        next.await.unwrap();
        assert_eq!(permits.free(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn permits_are_added_and_forgotten() {
        let permits = Permits::new(1);
        let held = permits.acquire(BIG).await;
        let other = permits.clone();
        let waiting = tokio::spawn(async move { other.acquire(SMALL).await });
        settle().await;
        permits.add(2);
        let second = waiting.await.unwrap();
        assert_eq!(permits.free(), 1);
        held.forget();
        drop(second);
        assert_eq!(permits.free(), 2);
    }
}
