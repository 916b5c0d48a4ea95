//! Makes what was written durable, a fraction of a second later, in a thread of its own.
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

/// How much a killed process loses at most, besides what is written during a flush.
const INTERVAL: Duration = Duration::from_millis(200);

/// How long a flush is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

enum Request {
    /// Something was written: flush soon.
    Written,
    /// Flush now, and answer when it is done.
    Now(oneshot::Sender<()>),
}

/// The handle of the thread. Dropping it flushes and ends the thread.
#[derive(Debug)]
pub(super) struct Flusher {
    /// `Some` until dropped: dropping the sender ends the thread.
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
            // After this, the owner of the handle is the last one that holds the store.
            drop(theirs);
            drop(ending);
        })?;
        Ok(Self { requests: Some(requests), written, ended: Mutex::new(ended), store })
    }

    /// Asks for a flush soon of what was written until now.
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
            self.too_slow();
        }
    }

    fn too_slow(&self) {
        self.store.give_up("the disk did not take what was written in time");
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
        if self.ended.get_mut().recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            self.too_slow();
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
        // Before the flush: what is written during it must ask for the next one.
        written.swap(false, Ordering::AcqRel);
        store.flush();
        for done in waiting {
            let _ = done.send(());
        }
    }
}
