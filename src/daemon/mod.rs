//! The rules of the configuration, run at their times, by push events and on request, for months.
//!
//! - `agenda`: which rule is due when; `by_source`, `concern`, `inbox`, `wanted`: what push events
//!   ask for; `lag`: how late changes arrive; `movement`: which runs have stalled; `health`:
//!   whether all is well. All pure.
//! - `scheduler`: the loop that owns these and begins runs. `run`: one run, from begin to end.
//! - `engine`: what runs need, as one configuration says. `reload`: the file has changed.
//! - `board`: what there is to be seen. `view`: the documents of the API. `handle`: the daemon as
//!   seen from outside.
//! - `clock`, `systemd`: the world around.
//!
//! The scheduler and the runs talk by messages; what they share is the board, which is only
//! looked at.

pub mod agenda;
mod board;
mod by_source;
mod clock;
mod concern;
mod engine;
mod handle;
mod health;
mod inbox;
mod lag;
mod movement;
mod reload;
mod run;
mod scheduler;
mod systemd;
pub mod view;
mod wanted;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::history::History;
use crate::metrics::Metrics;
use crate::registry::auth::Environment;
use crate::state::State;
use crate::sync::Stop;
use crate::transfer::Carrier;
use board::Board;
use engine::Engine;
use lag::Lags;
use scheduler::{Command, Scheduler};

pub use clock::{Clock, System};
pub use engine::EngineError;
pub use handle::{EventRefusal, EventsAccepted, Guarded, Handle, Stopping};

/// Requests to the scheduler that wait for it at most. Senders of more wait.
const COMMANDS: usize = 1024;

/// What a daemon needs from outside.
pub struct Parts {
    /// Where the configuration was read from, and is read from anew.
    pub config_file: PathBuf,
    pub state: State,
    pub carrier: Arc<Carrier>,
    pub metrics: Metrics,
    pub history: History,
    /// Of secrets and docker's credentials.
    pub environment: Environment,
    pub clock: Arc<dyn Clock>,
    /// A random number from 0 to 1.
    pub random: fn() -> f64,
}

/// What all parts of a running daemon share.
struct Shared {
    parts: Parts,
    started: Timestamp,
    board: Board,
    lags: Mutex<Lags>,
    /// Held while the configuration is loaded anew.
    reloading: tokio::sync::Mutex<()>,
    stop: Stop,
    commands: mpsc::Sender<Command>,
}

impl Shared {
    fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }
}

/// A running daemon.
pub struct Daemon {
    handle: Handle,
    scheduler: JoinHandle<()>,
    reloader: JoinHandle<()>,
}

impl Daemon {
    /// Starts to run the rules of this configuration. Cancelling `stop.soon` makes it end in
    /// good order: images under way come to their end, as long as the configuration's grace lasts.
    /// `stop.now` ends it at once.
    ///
    /// # Errors
    /// A secret that the configuration names cannot be read.
    pub async fn start(config: Config, parts: Parts, stop: Stop) -> Result<Self, EngineError> {
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let started = parts.clock.now();
        parts.metrics.daemon().configured(started);
        if parts.state.health().set_aside.is_some() {
            parts.metrics.daemon().state_set_aside();
        }
        let engine = Arc::new(Engine::first(config, &parts, started).await?);
        let board = Board::new(Arc::clone(&engine));
        let shared = Arc::new(Shared {
            parts,
            started,
            board,
            lags: Mutex::default(),
            reloading: tokio::sync::Mutex::default(),
            stop,
            commands,
        });
        let scheduler = Scheduler::new(Arc::clone(&shared), engine).await;
        let handle = Handle::new(Arc::clone(&shared));
        let scheduler = tokio::spawn(scheduler.run(inbox));
        let reloader = tokio::spawn(reload_on_change(handle.clone(), shared));
        Ok(Self { handle, scheduler, reloader })
    }

    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Waits until it has stopped, as it does when it is told to.
    pub async fn stopped(self) {
        // It panicked, if this is an error, and the panic's own message has been printed.
        let _ = self.scheduler.await;
        self.reloader.abort();
    }
}

/// Loads the configuration anew whenever its file has changed.
async fn reload_on_change(handle: Handle, shared: Arc<Shared>) {
    let file: &Path = &shared.parts.config_file;
    let mut watch = reload::Watch::start(file);
    loop {
        watch.changed().await;
        // What is wrong is in the log, the metrics and the health.
        let _ = handle.reload().await;
    }
}
