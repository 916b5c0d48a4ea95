//! The rules of the configuration, run at their times, by push events and on request, for months.
//!
//! - `agenda`: which rule is due when. `source_index`, `affected`: which rules a push affects;
//!   `changes`: which of their images; `inbox`: events gathered into batches; `pending`: rules with
//!   events that no run has dealt with. `lag`: how late changes arrive; `movement`: which runs have
//!   stalled; `health`: whether the daemon does its work. All pure.
//! - `scheduler`: the loop that owns these and decides what is run. `queue`: the jobs between it
//!   and the `executor`. `run`: what the daemon adds to a run that the engine carries out.
//! - `engine`: a configuration in use. `watch`: the file has changed; `reload`: it is loaded anew.
//! - `board`: what can be seen of the daemon; `publish`: what the scheduler puts there. `view`: the
//!   documents of the API; `plans`: what rules would do. `news`: what is told line by line, and
//!   `followers`: to whom, of runs. `handle`: the daemon as seen from outside; `intake`: messages
//!   about pushes; `refusal`: what is not done; `restore`: what cleanup rules deleted is brought back.
//! - `systemd`: the service manager.
//!
//! The scheduler and the runs talk by messages; what they share is the board, on which no decision
//! depends.

mod affected;
pub mod agenda;
mod board;
mod changes;
mod engine;
mod executor;
mod followers;
mod handle;
mod health;
mod inbox;
mod intake;
mod lag;
mod movement;
pub mod news;
mod pending;
mod plans;
mod publish;
mod queue;
mod refusal;
mod reload;
mod restore;
mod run;
mod scheduler;
mod source_index;
mod systemd;
#[cfg(test)]
mod tests;
pub mod view;
mod watch;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};

use crate::config::Config;
use crate::history::History;
use crate::metrics::Metrics;
use crate::removal::Audit;
use crate::run::{Clock, RealRunner, Runner};
use crate::secret::Environment;
use crate::state::State;
use crate::stop::StopSignal;
use crate::transfer::Carrier;
use board::Board;
use engine::Engine;
use followers::Followers;
use intake::Refusals;
use lag::Lags;
use plans::Planning;
use scheduler::{Command, Scheduler};

pub use engine::EngineError;
pub use handle::{Guarded, Handle};
pub use intake::{EventRefusal, EventsAccepted, Intake};
pub use queue::{AskedBy, RunOptions};
pub use refusal::{RuleRefusal, Stopping};
pub use reload::ReloadError;
pub use restore::{RestoreRefusal, RestoreRequest};
pub use watch::Watch;

/// Requests to the scheduler that wait for it at most. Senders of more wait.
const COMMANDS: usize = 1024;

/// What a daemon needs from outside.
pub struct Parts {
    pub state: State,
    pub carrier: Arc<Carrier>,
    pub metrics: Metrics,
    pub history: History,
    /// Of what is deleted, in the directory of the state.
    pub audit: Audit,
    /// Of secrets and docker's credentials.
    pub environment: Environment,
    pub clock: Arc<dyn Clock>,
    /// A random number from 0 to 1.
    pub random: fn() -> f64,
}

/// What all parts of a running daemon share.
struct Shared {
    parts: Parts,
    /// Where the configuration was read from, and is read from anew.
    config_file: PathBuf,
    seen: watch::Seen,
    started: Timestamp,
    /// As the configuration had it at the start. What it says later is for the next start.
    listen: SocketAddr,
    board: Board,
    lags: Mutex<Lags>,
    refusals: Refusals,
    followers: Followers,
    planning: Planning,
    /// Held while the configuration is loaded anew.
    reloading: tokio::sync::Mutex<()>,
    /// Held while images are restored.
    restoring: Arc<tokio::sync::Mutex<()>>,
    stop: StopSignal,
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
    /// good order: images and deletions under way come to their end, as long as the configuration's
    /// grace lasts. `stop.now` ends it at once.
    ///
    /// `watch` began before the configuration was read, so that no change of it is missed.
    ///
    /// # Errors
    /// A secret that the configuration names cannot be read.
    pub async fn start(
        config: Config,
        watch: Watch,
        parts: Parts,
        stop: StopSignal,
    ) -> Result<Self, EngineError> {
        Self::start_with(Arc::new(RealRunner), config, watch, parts, stop).await
    }

    /// The same with something else that executes runs.
    async fn start_with(
        runner: Arc<dyn Runner>,
        config: Config,
        watch: Watch,
        parts: Parts,
        stop: StopSignal,
    ) -> Result<Self, EngineError> {
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let started = parts.clock.now();
        parts.metrics.daemon().configured(started);
        if parts.state.storage.health().set_aside.is_some() {
            parts.metrics.daemon().state_set_aside();
        }
        let listen = config.daemon.listen;
        let engine = Arc::new(Engine::first(runner, config, &parts, started).await?);
        let board = Board::new(Arc::clone(&engine));
        let shared = Arc::new(Shared {
            planning: Planning::new(parts.carrier.pulses().clone()),
            parts,
            config_file: watch.path().to_owned(),
            seen: watch.seen(),
            started,
            listen,
            board,
            lags: Mutex::default(),
            refusals: Refusals::default(),
            followers: Followers::default(),
            reloading: tokio::sync::Mutex::default(),
            restoring: Arc::default(),
            stop,
            commands,
        });
        let scheduler = Scheduler::new(Arc::clone(&shared), engine).await;
        let handle = Handle(Arc::clone(&shared));
        let scheduler = tokio::spawn(scheduler.run(inbox));
        let reloader = tokio::spawn(reload::on_change(handle.clone(), watch));
        Ok(Self { handle, scheduler, reloader })
    }

    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Waits until it has stopped, as it does when it is told to.
    ///
    /// # Errors
    /// It ended in a fault of ours, of which the log tells.
    pub async fn stopped(&mut self) -> Result<(), JoinError> {
        let ended = (&mut self.scheduler).await;
        self.reloader.abort();
        ended
    }
}
