//! Signs of life of flows, so that a watchdog can tell a stalled flow from a waiting one.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::Flow;

/// While a flow waits for others it gives a sign of life this often: those others are watched
/// themselves.
pub const HEARTBEAT: Duration = Duration::from_secs(10);

/// A flow that has made no progress for so long has stalled: others do not wait for what it holds.
const STALLED_AFTER: Duration = Duration::from_secs(1);

/// Counts signs of life, and remembers when there was progress. Clones share both.
#[derive(Debug, Clone)]
pub struct Pulse(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    beats: AtomicU64,
    progress: Mutex<Instant>,
}

/// The pulses of the flows that are watched. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Pulses(Arc<Mutex<HashMap<Flow, Pulse>>>);

/// Keeps a flow watched until it is dropped.
#[derive(Debug)]
pub struct Watched {
    pulses: Pulses,
    flow: Flow,
    pulse: Pulse,
}

impl Default for Pulse {
    fn default() -> Self {
        let progress = Mutex::new(Instant::now());
        Self(Arc::new(Inner { beats: AtomicU64::new(0), progress }))
    }
}

impl Pulse {
    /// The flow is alive: it waits for others, which are watched themselves.
    pub fn beat(&self) {
        self.0.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// The flow has not had time for any progress yet.
    pub fn begin(&self) {
        *self.0.progress.lock() = Instant::now();
    }

    /// The flow made progress: a request was answered, or bytes moved.
    pub fn progress(&self) {
        self.beat();
        *self.0.progress.lock() = Instant::now();
    }

    /// Signs of life until now.
    pub fn beats(&self) -> u64 {
        self.0.beats.load(Ordering::Relaxed)
    }

    /// For how long there has been no progress.
    fn still_for(&self) -> Duration {
        self.0.progress.lock().elapsed()
    }

    /// Whether there was no progress for a while.
    pub fn has_stalled(&self) -> bool {
        self.still_for() >= STALLED_AFTER
    }
}

impl Pulses {
    /// Counts this flow's signs of life with `pulse` from now on. If the flow is watched twice, the
    /// later pulse gets them.
    pub fn watch(&self, flow: Flow, pulse: &Pulse) -> Watched {
        pulse.begin();
        self.lock().insert(flow, pulse.clone());
        Watched { pulses: self.clone(), flow, pulse: pulse.clone() }
    }

    /// The flow is alive, see [`Pulse::beat`].
    pub fn beat(&self, flow: Flow) {
        if let Some(pulse) = self.lock().get(&flow) {
            pulse.beat();
        }
    }

    /// The flow made progress, see [`Pulse::progress`].
    pub fn progress(&self, flow: Flow) {
        if let Some(pulse) = self.lock().get(&flow) {
            pulse.progress();
        }
    }

    /// Whether the flow is watched and has made no progress for a while.
    pub fn has_stalled(&self, flow: Flow) -> bool {
        self.lock().get(&flow).is_some_and(Pulse::has_stalled)
    }

    /// For how long the flow has made no progress; `None`: it is not watched.
    pub fn still_for(&self, flow: Flow) -> Option<Duration> {
        self.lock().get(&flow).map(Pulse::still_for)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Flow, Pulse>> {
        self.0.lock()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut pulses = self.pulses.lock();
        if pulses.get(&self.flow).is_some_and(|pulse| Arc::ptr_eq(&pulse.0, &self.pulse.0)) {
            pulses.remove(&self.flow);
        }
    }
}

/// Waits for others, and calls `sign` every [`HEARTBEAT`] meanwhile.
pub async fn waiting<T>(turn: impl Future<Output = T>, sign: impl Fn()) -> T {
    let mut turn = std::pin::pin!(turn);
    loop {
        tokio::select! {
            biased;
            value = &mut turn => return value,
            () = tokio::time::sleep(HEARTBEAT) => sign(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waiting_for_others_gives_signs_of_life() {
        let (pulses, pulse, flow) = (Pulses::default(), Pulse::default(), Flow::new(7));
        let watched = pulses.watch(flow, &pulse);
        waiting(tokio::time::sleep(HEARTBEAT * 5 / 2), || pulses.beat(flow)).await;
        assert_eq!(pulse.beats(), 2);
        pulses.beat(Flow::new(8));
        tokio::time::sleep(HEARTBEAT * 9).await;
        assert_eq!(pulse.beats(), 2);
        drop(watched);
        pulses.beat(flow);
        assert_eq!((pulse.beats(), pulses.lock().len()), (2, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn only_progress_ends_a_stall() {
        let (pulses, flow) = (Pulses::default(), Flow::new(7));
        assert!(!pulses.has_stalled(flow), "it is not watched");
        let _watched = pulses.watch(flow, &Pulse::default());
        assert!(!pulses.has_stalled(flow), "it has just begun");
        tokio::time::advance(STALLED_AFTER).await;
        pulses.beat(flow);
        assert!(pulses.has_stalled(flow));
        pulses.progress(flow);
        assert!(!pulses.has_stalled(flow));
    }

    #[test]
    fn the_later_of_two_pulses_of_a_flow_counts() {
        let (pulses, old, new) = (Pulses::default(), Pulse::default(), Pulse::default());
        let first = pulses.watch(Flow::ALONE, &old);
        let _second = pulses.watch(Flow::ALONE, &new);
        drop(first);
        pulses.beat(Flow::ALONE);
        assert_eq!((old.beats(), new.beats()), (0, 1));
    }
}
