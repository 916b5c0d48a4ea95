//! Writing the history, in a thread of its own.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver as Ended, RecvTimeoutError, channel};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::sync::oneshot;

use super::bounds::bounded;
use super::line::{FOLDER, Line};
use super::readers::Readers;
use super::{Filter, RunId, RunList, RunRecord, RunStart, read_last_runs, read_run, read_runs};
use crate::state::jsonl::{Limits, Log};
use crate::sync::ImageReport;
use crate::text::counted;

/// How many lines wait for the disk; after that, images are left out.
const QUEUE: usize = 4096;

/// How long a disk is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// The history that this process writes. Clones are the same history; dropping the last one closes
/// it.
#[derive(Debug, Clone)]
pub struct History(Arc<Inner>);

/// Whether the history is complete.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// Why nothing can be written just now.
    pub failing: Option<String>,
    /// Lines that were not kept since the start.
    pub lost: u64,
}

#[derive(Debug)]
struct Inner {
    /// The state directory.
    state: PathBuf,
    /// `Some` until dropped: dropping the sender ends the thread.
    lines: Option<Sender<Item>>,
    /// Closed by the thread when it ends.
    ended: Mutex<Ended<()>>,
    readers: Readers,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    failing: Mutex<Option<String>>,
    lost: AtomicU64,
}

/// A line, and whom to tell when it is durable.
struct Item {
    line: Line,
    done: Option<oneshot::Sender<()>>,
}

impl History {
    /// Begins to write the history in a state directory, of which this process must be the owner
    /// (`State::open`). `limit` is the size of the history in bytes. `now` is noted as the start of
    /// this process: runs that were started before and have not ended count as interrupted.
    ///
    /// # Errors
    /// The thread cannot be started. A directory that cannot be written to is no error: see
    /// [`Self::health`].
    pub fn open(state: &Path, limit: u64, now: Timestamp) -> std::io::Result<Self> {
        let (lines, receiver) = tokio::sync::mpsc::channel(QUEUE);
        let (ending, ended) = channel();
        let shared = Arc::new(Shared::default());
        let mut writer = Writer {
            folder: state.join(FOLDER),
            limits: Limits::rotating(limit),
            opened: now,
            log: None,
            shared: Arc::clone(&shared),
        };
        std::thread::Builder::new().name("history".to_owned()).spawn(move || {
            writer.run(receiver);
            // The log is closed before the end is reported.
            drop(writer);
            drop(ending);
        })?;
        Ok(Self(Arc::new(Inner {
            state: state.to_owned(),
            lines: Some(lines),
            ended: Mutex::new(ended),
            readers: Readers::default(),
            shared,
        })))
    }

    /// A history that keeps nothing, for tests in which no time may pass for a disk.
    #[cfg(test)]
    pub(crate) fn nowhere() -> Self {
        let (_, ended) = channel();
        Self(Arc::new(Inner {
            state: PathBuf::from("/nonexistent"),
            lines: None,
            ended: Mutex::new(ended),
            readers: Readers::default(),
            shared: Arc::default(),
        }))
    }

    /// Notes that a run begins. Never waits.
    pub fn begin(&self, begun: &RunStart) {
        self.0.offer(Line::Begin(begun.clone()));
    }

    /// Notes the outcome of an image, unless it was unchanged. Never waits.
    pub fn image(&self, run: &RunId, image: &ImageReport) {
        self.0.offer(Line::Image { run: run.clone(), image: bounded(image) });
    }

    /// Notes how a run ended. Returns when that is durable, or cannot be for now.
    pub async fn end(&self, run: &RunRecord) {
        let (done, waiting) = oneshot::channel();
        let item = Item { line: Line::End(run.clone()), done: Some(done) };
        if let Some(lines) = &self.0.lines {
            let sending = async {
                if lines.send(item).await.is_ok() {
                    // If the thread drops its half, the line was handled, too.
                    let _ = waiting.await;
                }
            };
            if tokio::time::timeout(PATIENCE, sending).await.is_err() {
                self.0.shared.failed("the disk does not take it in time");
            }
        }
    }

    /// The runs that are asked for, the newest first.
    ///
    /// # Errors
    /// The history cannot be read.
    pub async fn runs(&self, filter: Filter) -> std::io::Result<RunList> {
        let state = self.0.state.clone();
        self.0.readers.read(move || read_runs(&state, &filter)).await
    }

    /// The last complete run of each of these rules, if it is among the newest runs.
    ///
    /// # Errors
    /// The history cannot be read.
    pub async fn last_runs(
        &self,
        rules: HashSet<String>,
    ) -> std::io::Result<HashMap<String, RunRecord>> {
        let state = self.0.state.clone();
        self.0.readers.read(move || read_last_runs(&state, &rules)).await
    }

    /// One run and its images; `None` if it is not, or no longer, in the history.
    ///
    /// # Errors
    /// The history cannot be read.
    pub async fn run(&self, id: RunId) -> std::io::Result<Option<(RunRecord, Vec<ImageReport>)>> {
        let state = self.0.state.clone();
        self.0.readers.read(move || read_run(&state, &id)).await
    }

    /// Whether everything can be kept. Costs nothing.
    pub fn health(&self) -> Health {
        Health {
            failing: self.0.shared.failing.lock().clone(),
            lost: self.0.shared.lost.load(Ordering::Relaxed),
        }
    }
}

impl Inner {
    fn offer(&self, line: Line) {
        let Some(lines) = &self.lines else { return };
        if lines.try_send(Item { line, done: None }).is_err() {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
            self.shared.failed("the disk is slower than the runs");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.lines = None;
        let ended = self.ended.get_mut();
        if ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            self.shared.failed("the disk does not take it in time");
        }
    }
}

impl Shared {
    fn failed(&self, why: &str) {
        let before = self.failing.lock().replace(why.to_owned());
        if before.is_none() {
            tracing::warn!("the history cannot be written, and has gaps from here on: {why}");
        }
    }

    fn worked(&self) {
        if self.failing.lock().take().is_some() {
            let lost = self.lost.load(Ordering::Relaxed);
            let lost = counted(lost, "line was", "lines were");
            tracing::info!("the history can be written again; {lost} lost until now");
        }
    }
}

/// What the thread owns.
struct Writer {
    folder: PathBuf,
    limits: Limits,
    /// When this process began.
    opened: Timestamp,
    /// `None` until the directory can be written to.
    log: Option<Log>,
    shared: Arc<Shared>,
}

impl Writer {
    /// Writes until all senders are gone. Lines that wait together share one write to the disk.
    fn run(&mut self, mut items: Receiver<Item>) {
        // Opened before the first run, so that unfinished runs are shown as interrupted at once.
        let opening = self.opened();
        self.tell(opening);
        let mut batch = Vec::new();
        while items.blocking_recv_many(&mut batch, QUEUE) > 0 {
            let mut waiting = Vec::new();
            let mut result = Ok(());
            for Item { line, done } in batch.drain(..) {
                if let Err(error) = self.append(&line) {
                    self.shared.lost.fetch_add(1, Ordering::Relaxed);
                    result = Err(error);
                }
                waiting.extend(done);
            }
            let written = self.write(!waiting.is_empty());
            self.tell(result.and(written));
            // Only now, because those who wait may look at the health next.
            drop(waiting);
        }
    }

    fn tell(&self, result: std::io::Result<()>) {
        match result {
            Ok(()) => self.shared.worked(),
            Err(error) => self.shared.failed(&format!("{}: {error}", self.folder.display())),
        }
    }

    fn opened(&mut self) -> std::io::Result<()> {
        if self.log.is_none() {
            let mut log = Log::open(&self.folder, self.limits)?;
            log.append(&Line::Opened { at: self.opened })?;
            log.flush()?;
            self.log = Some(log);
        }
        Ok(())
    }

    fn append(&mut self, line: &Line) -> std::io::Result<()> {
        self.opened()?;
        self.log.as_mut().map_or(Ok(()), |log| log.append(line))
    }

    fn write(&mut self, durably: bool) -> std::io::Result<()> {
        self.log.as_mut().map_or(Ok(()), |log| if durably { log.sync() } else { log.flush() })
    }
}
