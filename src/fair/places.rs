//! Places that are taken and given back, like a semaphore's permits; who waits for one is served
//! in the order of the line.

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;

use super::Flow;
use super::line::{Line, Ticket};

/// A number of places for work of several flows.
#[derive(Debug, Clone)]
pub struct Places {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Nobody waits while there are any.
    free: usize,
    line: Line<oneshot::Sender<Place>>,
}

/// The right to do one thing. Dropped, it goes to who is next.
#[derive(Debug)]
pub struct Place {
    /// `None`: there is no such place any more.
    shared: Option<Arc<Shared>>,
}

/// Somebody in the line, who may give up.
struct Waiting<'a> {
    shared: &'a Shared,
    ticket: Ticket,
}

impl Places {
    pub fn new(places: usize) -> Self {
        let state = State { free: places, line: Line::default() };
        Self { shared: Arc::new(Shared { state: Mutex::new(state) }) }
    }

    /// Waits for a place. Dropping the future leaves the line, and gives back a place that was
    /// given to it meanwhile.
    pub async fn take(&self, flow: Flow) -> Place {
        let (waiting, given) = {
            let mut state = self.shared.state();
            if state.free > 0 {
                state.free -= 1;
                return Place { shared: Some(self.shared.clone()) };
            }
            let (sender, given) = oneshot::channel();
            let ticket = state.line.join(flow, sender);
            (Waiting { shared: &self.shared, ticket }, given)
        };
        let place = given.await;
        drop(waiting);
        // A sender leaves the line to give a place, or because its receiver, which is here, gave
        // up. So there is one; otherwise a place of its own does no harm.
        place.unwrap_or(Place { shared: None })
    }

    /// How many are free now.
    pub fn free(&self) -> usize {
        self.shared.state().free
    }

    /// Makes more of them.
    pub fn add(&self, places: usize) {
        for _ in 0..places {
            Shared::give(&self.shared);
        }
    }
}

impl Place {
    /// Takes the place away for good, instead of giving it back.
    pub fn forget(mut self) {
        self.shared = None;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            Shared::give(&shared);
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let gone = self.shared.state().line.leave(self.ticket);
        drop(gone);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A number and a line of senders, valid after any panic.
        self.state.lock()
    }

    /// One place more: for who is next, or free.
    fn give(shared: &Arc<Self>) {
        loop {
            let next = {
                let mut state = shared.state();
                let next = state.line.next();
                if next.is_none() {
                    state.free += 1;
                }
                next
            };
            let Some(next) = next else { return };
            // Without the lock: who has given up meanwhile drops the place, which comes back here.
            match next.send(Place { shared: Some(shared.clone()) }) {
                Ok(()) => return,
                // Not dropped, because it is offered to the next one here.
                Err(place) => place.forget(),
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

    /// What waits when the others are all asleep is in the line.
    async fn settle() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_small_flow_waits_for_one_place_of_a_big_one() {
        let places = Places::new(2);
        let served = Arc::new(Mutex::new(Vec::new()));
        let start = |flow: Flow| {
            let (places, served) = (places.clone(), served.clone());
            tokio::spawn(async move {
                let _place = places.take(flow).await;
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
        assert_eq!((served.len(), places.free()), (103, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_leaves_the_line() {
        let places = Places::new(1);
        let held = places.take(BIG).await;
        let gone = tokio::time::timeout(Duration::from_secs(1), places.take(BIG)).await;
        assert!(gone.is_err());
        assert!(places.shared.state().line.is_empty());
        drop(held);
        assert_eq!(places.free(), 1);
    }

    /// The place is given while the future that waits for it is not polled, and then dropped.
    #[tokio::test(start_paused = true)]
    async fn a_place_that_nobody_comes_for_goes_to_the_next() {
        let places = Places::new(1);
        let held = places.take(BIG).await;
        let mut unlucky = Box::pin(places.take(BIG));
        assert!(futures_util::poll!(unlucky.as_mut()).is_pending());
        let other = places.clone();
        let next = tokio::spawn(async move { drop(other.take(SMALL).await) });
        settle().await;
        drop(held);
        assert_eq!(places.free(), 0);
        drop(unlucky);
        next.await.unwrap();
        assert_eq!(places.free(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn places_are_added_and_taken_away() {
        let places = Places::new(1);
        let held = places.take(BIG).await;
        let other = places.clone();
        let waiting = tokio::spawn(async move { other.take(SMALL).await });
        settle().await;
        places.add(2);
        let second = waiting.await.unwrap();
        assert_eq!(places.free(), 1);
        held.forget();
        drop(second);
        assert_eq!(places.free(), 2);
    }
}
