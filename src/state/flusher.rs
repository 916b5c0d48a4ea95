//! Makes what was written durable, a fraction of a second later, in a thread of its own.
//!
//! sled could do this by itself, but its thread does not make the file's growth durable, and
//! whoever drops the database waits forever if that thread panicked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::store::Store;

/// What a killed process loses at most, besides the time that a flush takes.
const INTERVAL: Duration = Duration::from_millis(200);

/// A disk that takes longer than this to flush is not waited for.
const PATIENCE: Duration = Duration::from_secs(10);

enum Request {
    /// Something was written: flush soon.
    Written,
    /// Flush now, and answer when it is done.
    Now(oneshot::Sender<()>),
}

/// The handle to the thread. Dropping it flushes and ends the thread.
#[derive(Debug)]
pub(super) struct Flusher {
    /// `Some` until dropped: its end is what ends the thread.
    requests: Option<Sender<Request>>,
    /// Whether `Written` was sent since the last flush began.
    written: Arc<AtomicBool>,
    /// Closed by the thread when it ends.
    ended: Mutex<Receiver<()>>,
    store: Arc<Store>,
}

impl Flusher {
    pub(super) fn start(store: Arc<Store>) -> std::io::Result<Self> {
        let (requests, receiver) = channel();
        let (ending, ended) = channel();
        let written = Arc::new(AtomicBool::new(false));
        let (theirs, flag) = (Arc::clone(&store), Arc::clone(&written));
        std::thread::Builder::new().name("state-flusher".to_owned()).spawn(move || {
            run(&theirs, &receiver, &flag);
            // The handle's owner may count on being the last one to hold the store.
            drop(theirs);
            drop(ending);
        })?;
        Ok(Self { requests: Some(requests), written, ended: Mutex::new(ended), store })
    }

    /// Has what was written until now flushed soon.
    pub(super) fn written(&self) {
        if !self.written.swap(true, Ordering::AcqRel) {
            self.send(Request::Written);
        }
    }

    /// Flushes what was written until now, and waits for that.
    pub(super) async fn flush(&self) {
        let (done, waiting) = oneshot::channel();
        self.send(Request::Now(done));
        if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
            self.store.give_up("the disk did not take what was written in time");
        }
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
        let ended = self.ended.get_mut();
        if ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            self.store.give_up("the disk did not take what was written in time");
        }
    }
}

/// Flushes `INTERVAL` after the first write since the last flush, or when asked to.
fn run(store: &Store, requests: &Receiver<Request>, written: &AtomicBool) {
    while let Ok(first) = requests.recv() {
        let mut waiting = Vec::new();
        let mut note = |request| match request {
            Request::Written => true,
            Request::Now(done) => {
                waiting.push(done);
                false
            }
        };
        let deadline = Instant::now() + INTERVAL;
        let mut may_wait = note(first);
        while may_wait {
            let left = deadline.saturating_duration_since(Instant::now());
            may_wait = requests.recv_timeout(left).is_ok_and(&mut note);
        }
        // Before the flush, so that what is written during it asks for the next one.
        written.swap(false, Ordering::AcqRel);
        store.flush();
        for done in waiting {
            let _ = done.send(());
        }
    }
}
