//! Holds requests to one registry back: window, pace and the pauses that it asks for.

use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::pace::Pace;
use super::window::{Kind, Window};
use crate::fair::{self, Flow, Permits};

/// Requests that are to leave within this time need not stand in the row any more: they only
/// sleep. Timers are too coarse for a row that moves more often than once in some milliseconds.
const NEAR: Duration = Duration::from_millis(20);

/// Shared by everything that talks to one registry.
#[derive(Debug)]
pub struct Limiter {
    /// The permits of the window.
    permits: Permits,
    /// The queue for the pace: one permit, held by its head.
    row: Permits,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    window: Window,
    pace: Pace,
    /// Permits that exist, free or taken. Follows the window's limit: up at once, down as permits
    /// are given back.
    capacity: u32,
}

/// The right to have one request under way. Dropping it without an outcome counts as neither
/// good nor bad.
#[derive(Debug)]
pub struct Permit<'a> {
    limiter: &'a Limiter,
    /// `Some` until dropped.
    permit: Option<fair::Permit>,
    sent: Instant,
    full: bool,
}

impl Limiter {
    /// At most `parallel` requests at once and `per_second` requests a second, where given.
    pub fn new(parallel: Option<u32>, per_second: Option<f64>) -> Self {
        let window = Window::new(parallel.unwrap_or(super::window::DEFAULT_MAX));
        let capacity = window.limit();
        Self {
            permits: Permits::new(capacity as usize),
            row: Permits::new(1),
            state: Mutex::new(State { window, pace: Pace::new(per_second), capacity }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is plain numbers, valid after any panic.
        self.state.lock()
    }

    /// Waits until a request of this flow may leave.
    pub async fn acquire(&self, flow: Flow) -> Permit<'_> {
        let permit = Some(self.permits.acquire(flow).await);
        let full = self.permits.free() == 0;
        self.turn(flow).await;
        Permit { limiter: self, permit, sent: Instant::now(), full }
    }

    /// Waits for the pace and for pauses, without a permit of the window.
    pub async fn turn(&self, flow: Flow) {
        loop {
            // A request that waits for long has no time slot yet, so that the flows take turns at
            // getting one.
            let head = self.row.acquire(flow).await;
            let slot = self.state().pace.slot(Instant::now());
            if slot > Instant::now() + NEAR {
                tokio::time::sleep_until(slot - NEAR).await;
            }
            drop(head);
            if slot > Instant::now() {
                tokio::time::sleep_until(slot).await;
            }
            // A pause that began meanwhile holds for this one too, and then it stands in the row
            // anew: if all that waited left at once, the registry would refuse them again.
            if !self.state().pace.is_paused(slot) {
                return;
            }
        }
    }

    /// How many may be under way at once now.
    pub fn window(&self) -> u32 {
        self.state().window.limit()
    }

    /// No request leaves for so long, at most for a day.
    pub fn pause(&self, how_long: Duration) {
        self.state().pace.pause(Instant::now() + how_long.min(Duration::from_secs(86_400)));
    }

    /// The registry took a request without a permit of the window, which left at `sent`.
    pub fn taken(&self, sent: Instant) {
        self.state().pace.good(sent, Instant::now());
    }

    /// How many are under way now.
    pub fn under_way(&self) -> u32 {
        self.in_flight(&self.state())
    }

    fn in_flight(&self, state: &State) -> u32 {
        let free = u32::try_from(self.permits.free()).unwrap_or(u32::MAX);
        state.capacity.saturating_sub(free)
    }

    /// The registry was overloaded by a request, see [`Permit::overloaded`].
    pub fn overloaded(&self) {
        let mut state = self.state();
        let in_flight = self.in_flight(&state);
        state.window.overload(in_flight);
    }

    /// The registry refused a request without a permit of the window, which left at `sent`.
    pub fn refused(&self, sent: Instant) {
        self.state().pace.refused(sent, Instant::now());
    }
}

impl Permit<'_> {
    /// A good answer began to arrive.
    pub fn good(self, kind: Kind) {
        let now = Instant::now();
        let mut state = self.limiter.state();
        state.pace.good(self.sent, now);
        state.window.good(kind, now.saturating_duration_since(self.sent), self.full);
    }

    /// The registry refused the request because there were too many.
    pub fn throttled(self) {
        self.limiter.refused(self.sent);
        self.overloaded();
    }

    /// The registry is overloaded (502, 503, 504): fewer at once, without a verdict on the pace.
    pub fn overloaded(self) {
        self.limiter.overloaded();
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut state = self.limiter.state();
        let limit = state.window.limit();
        if state.capacity > limit {
            // The window has become smaller: this permit goes with it.
            if let Some(permit) = self.permit.take() {
                permit.forget();
                state.capacity -= 1;
            }
        } else if state.capacity < limit {
            self.limiter.permits.add((limit - state.capacity) as usize);
            state.capacity = limit;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_more_are_under_way_than_the_window_allows() {
        let limiter = Limiter::new(Some(3), None);
        let (now, most) = (AtomicU32::new(0), AtomicU32::new(0));
        let request = || async {
            let permit = limiter.acquire(Flow::ALONE).await;
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(5)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            permit.good(Kind::Probe);
        };
        join_all((0..50).map(|_| request())).await;
        assert_eq!(most.load(Ordering::SeqCst), 3);
        assert_eq!(limiter.in_flight(&limiter.state()), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_that_gives_up_does_not_keep_the_others_waiting() {
        let limiter = Arc::new(Limiter::new(Some(1), None));
        let held = limiter.acquire(Flow::ALONE).await;
        let gone =
            tokio::time::timeout(Duration::from_millis(1), limiter.acquire(Flow::ALONE)).await;
        assert!(gone.is_err());
        let other = limiter.clone();
        let waiting =
            tokio::spawn(async move { other.acquire(Flow::ALONE).await.good(Kind::Probe) });
        tokio::task::yield_now().await;
        drop(held);
        waiting.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_holds_for_everyone() {
        let limiter = Limiter::new(None, None);
        let start = Instant::now();
        limiter.pause(Duration::from_secs(7));
        limiter.acquire(Flow::ALONE).await.good(Kind::Read);
        assert!(start.elapsed() >= Duration::from_secs(7));
    }

    /// Requests that stood in the row when the pause began must not all leave at its end.
    #[tokio::test(start_paused = true)]
    async fn after_a_pause_the_pace_is_kept() {
        let limiter = Limiter::new(None, Some(10.0));
        limiter.acquire(Flow::ALONE).await.good(Kind::Read);
        let start = Instant::now();
        let request = || async {
            limiter.acquire(Flow::ALONE).await.good(Kind::Read);
            start.elapsed().as_secs_f64()
        };
        let requests = join_all((0..5).map(|_| request()));
        let pause = async {
            tokio::task::yield_now().await;
            limiter.pause(Duration::from_secs(3));
        };
        let (mut left, ()) = tokio::join!(requests, pause);
        left.sort_by(f64::total_cmp);
        assert!(left[0] >= 3.0, "{left:?}");
        assert!(left.windows(2).all(|pair| pair[1] - pair[0] > 0.09), "{left:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_configured_rate_is_kept() {
        let limiter = Limiter::new(None, Some(10.0));
        let start = Instant::now();
        for _ in 0..21 {
            limiter.acquire(Flow::ALONE).await.good(Kind::Read);
        }
        assert!((start.elapsed().as_secs_f64() - 2.0).abs() < 0.1, "{:?}", start.elapsed());
    }

    /// A flow with many requests has them all in the row of a slow registry; one with a few comes
    /// later.
    #[tokio::test(start_paused = true)]
    async fn the_row_for_the_pace_is_shared_between_flows() {
        let limiter = Limiter::new(None, Some(10.0));
        let left = Mutex::new(Vec::new());
        let request = |flow: Flow| {
            let (limiter, left) = (&limiter, &left);
            async move {
                limiter.turn(flow).await;
                left.lock().push(flow.number());
            }
        };
        let many = join_all((0..50).map(|_| request(Flow::new(1))));
        let few = async {
            tokio::time::sleep(Duration::from_millis(550)).await;
            join_all((0..3).map(|_| request(Flow::new(2)))).await;
        };
        tokio::join!(many, few);
        let left = left.lock();
        let last = left.iter().rposition(|flow| *flow == 2).unwrap();
        assert!(last <= 6 + 2 * 3 + 1, "{left:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn giving_up_at_the_head_of_the_row_lets_the_next_one_go() {
        let limiter = Arc::new(Limiter::new(None, Some(1.0)));
        limiter.turn(Flow::ALONE).await;
        let other = limiter.clone();
        let head = tokio::spawn(async move { other.turn(Flow::new(1)).await });
        tokio::task::yield_now().await;
        let other = limiter.clone();
        let next = tokio::spawn(async move { other.turn(Flow::new(2)).await });
        tokio::task::yield_now().await;
        head.abort();
        tokio::time::timeout(Duration::from_secs(3), next).await.unwrap().unwrap();
    }
}
