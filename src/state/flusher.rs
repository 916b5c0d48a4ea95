//! Brings what was applied to the disk, a fraction of a second later, in a thread of its own, and
//! tries again as long as the disk does not take it.
//!
//! sled's own flusher does not make the growth of the file durable, and dropping the database waits
//! forever if that thread has panicked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::store::Store;

/// When the thread saves, and how long it is waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// How much a killed process loses at most, besides what is written during a save.
    pub(super) interval: Duration,
    /// How long after a save that failed the next one is tried.
    pub(super) retry: Duration,
    /// How long a save is waited for, and may take before the disk counts as stalled.
    pub(super) patience: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(200),
            retry: Duration::from_secs(2),
            patience: Duration::from_secs(10),
        }
    }
}

enum Request {
    /// Something was applied: save it soon.
    Applied,
    /// Save now, and answer after that.
    Now(oneshot::Sender<()>),
}

/// The handle of the thread. Dropping it saves what is left and ends the thread.
#[derive(Debug)]
pub(super) struct Flusher {
    /// `Some` until dropped: dropping the sender ends the thread.
    requests: Option<Sender<Request>>,
    /// Whether `Applied` was sent since the last save began.
    applied: Arc<AtomicBool>,
    /// Closed by the thread when it ends.
    ended: Mutex<Receiver<()>>,
    patience: Duration,
}

impl Flusher {
    pub(super) fn start(store: Arc<Store>, pace: Pace) -> std::io::Result<Self> {
        let (requests, receiver) = channel();
        let (ending, ended) = channel();
        let applied = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&applied);
        std::thread::Builder::new().name("state-flusher".to_owned()).spawn(move || {
            run(&store, &receiver, &flag, pace);
            // After this, the owner of the handle is the last one that holds the store.
            drop(store);
            drop(ending);
        })?;
        let patience = pace.patience;
        Ok(Self { requests: Some(requests), applied, ended: Mutex::new(ended), patience })
    }

    /// Asks for a save soon of what was applied until now.
    pub(super) fn applied(&self) {
        if !self.applied.swap(true, Ordering::AcqRel) {
            self.send(Request::Applied);
        }
    }

    /// Has what was applied until now saved, and waits for that, unless the disk does not take it
    /// or is too slow. Then it is saved later.
    pub(super) async fn flush(&self) {
        let (done, waiting) = oneshot::channel();
        self.send(Request::Now(done));
        // The health says that the disk is slow.
        let _ = tokio::time::timeout(self.patience, waiting).await;
    }

    fn send(&self, request: Request) {
        if let Some(requests) = &self.requests {
            // The thread ends only after this handle does.
            let _ = requests.send(request);
        }
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.requests = None;
        if self.ended.get_mut().recv_timeout(self.patience) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!(
                "the disk of the state is too slow to wait for at the end: the newest of the state \
                 may be lost, which only costs time"
            );
        }
    }
}

/// Saves `interval` after the first change since the last save, or when asked to; after a save that
/// failed, `retry` later.
fn run(store: &Store, requests: &Receiver<Request>, applied: &AtomicBool, pace: Pace) {
    let mut is_saved = true;
    let mut goes_on = true;
    while goes_on {
        let mut waiting = Vec::new();
        // Whether the save may wait for more requests.
        let mut note = |request| match request {
            Request::Applied => true,
            Request::Now(done) => {
                waiting.push(done);
                false
            }
        };
        let mut may_wait = true;
        if is_saved {
            match requests.recv() {
                Ok(first) => may_wait = note(first),
                // Everything that was applied is saved.
                Err(_) => return,
            }
        }
        let deadline = Instant::now() + if is_saved { pace.interval } else { pace.retry };
        while may_wait {
            match requests.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(request) => may_wait = note(request),
                Err(RecvTimeoutError::Timeout) => may_wait = false,
                // The last try.
                Err(RecvTimeoutError::Disconnected) => (may_wait, goes_on) = (false, false),
            }
        }
        // Before the save: what is applied during it must ask for the next one.
        applied.swap(false, Ordering::AcqRel);
        is_saved = store.save();
        for done in waiting {
            let _ = done.send(());
        }
    }
    if !is_saved {
        tracing::warn!(
            "the newest of the state could not be written before the end and is lost, which only \
             costs time"
        );
    }
}
