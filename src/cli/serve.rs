//! `tranship serve`: the daemon.

use std::sync::Arc;

use serde::Serialize;
use tokio::net::TcpListener;
use tokio::signal::unix::Signal;
use tokio_util::sync::CancellationToken;

use super::args::Global;
use super::exit::{self, CliError, Exit};
use super::{output, session, signals};
use crate::daemon::{Daemon, Handle, Parts, Watch};
use crate::http::RetryPolicy;
use crate::metrics::Metrics;
use crate::run::System;
use crate::secret::Environment;
use crate::server::{self, api};
use crate::state::State;
use crate::text::counted;
use crate::transfer::Carrier;

/// Run the daemon: all rules, on their schedules
///
/// Runs the [[sync]] and [[cleanup]] rules on their schedules and on request, and [[sync]] rules on
/// push events. Serves metrics, health checks and the API at the address in `listen`.
///
/// The configuration is reloaded when its file changes and on SIGHUP. If it contains a mistake, the
/// previous configuration stays in use.
///
/// On SIGTERM or SIGINT, transfers in progress may finish within `grace`; the rest resumes at the
/// next start. A second signal stops the daemon immediately, without losing anything that was
/// committed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tranship serve --config /etc/tranship/tranship.toml
  tranship serve --log-format json
  curl -s http://127.0.0.1:8642/readyz            check whether it is ready
  curl -s http://127.0.0.1:8642/api/v1/rules      list the rules with their last and next run")]
pub struct Args {}

/// The document that `--output json` prints when requests are answered.
#[derive(Serialize)]
struct Serving {
    address: String,
    rules: usize,
}

pub async fn run(global: &Global, _: Args) -> Result<Exit, CliError> {
    let failed = exit::failed("start");
    // Before anything that takes time, so that no signal and no change is missed.
    let stop = signals::stop_softly();
    let hangups = signals::hangups().map_err(&failed)?;
    let watch = Watch::start(session::config_path(global));
    let config = session::required_config(global)?;
    let rules = config.sync.len() + config.cleanup.len();
    // The port first: a second daemon is told so, whatever it shares with the first.
    let listen = config.daemon.listen;
    let listener = TcpListener::bind(listen).await;
    let listener = listener.map_err(exit::failed(format!("listen on {listen}")))?;
    let address = listener.local_addr().map_err(&failed)?;
    // What is in the way there is no reason not to start.
    let _ = crate::layout::archive::remove_abandoned().await;
    let state = State::open(&config.daemon.state)?;
    let history = session::history(&config)?;
    let audit = session::audit(&config)?;
    let metrics = Metrics::new();
    let carrier = Carrier::new(state.clone(), RetryPolicy::default(), session::jitter)
        .with_listener(Arc::new(metrics.clone()));
    let parts = Parts {
        state,
        carrier: Arc::new(carrier),
        metrics,
        history,
        audit,
        environment: Environment::of_process(),
        clock: Arc::new(System),
        random: session::jitter,
    };
    let mut daemon = tokio::select! {
        biased;
        // Secrets may come from commands that take long.
        () = stop.soon.cancelled() => return Ok(Exit::Done),
        started = Daemon::start(config, watch, parts, stop.clone()) => {
            started.map_err(|error| CliError::Usage(error.to_string()))?
        }
    };
    let reloading = tokio::spawn(reload_at(hangups, daemon.handle().clone()));
    output::print(global, &Serving { address: address.to_string(), rules }, || {
        output::print_line(format!("listening on {address}, {}", counted(rules, "rule", "rules")))
    })?;
    // The API answers while the last runs end, so that they can be watched.
    let over = CancellationToken::new();
    let router = api::router(daemon.handle().clone());
    let serving = server::serve(listener, router, api::BOUNDS, over.clone().cancelled_owned());
    let mut serving = tokio::spawn(serving);
    let ended = tokio::select! {
        ended = daemon.stopped() => ended.map_err(|_| fault("scheduler")),
        _ = &mut serving => Err(fault("API")),
    };
    reloading.abort();
    over.cancel();
    if ended.is_ok() {
        // Requests that did not end in time were cut off, and the log says so.
        let _ = serving.await;
    }
    ended.map(|()| Exit::Done)
}

/// The supervisor restarts the process.
fn fault(what: &str) -> CliError {
    CliError::Failed(format!("the {what} ended because of an internal error: see above"))
}

async fn reload_at(mut hangups: Signal, daemon: Handle) {
    while hangups.recv().await.is_some() {
        // What is wrong is in the log, the metrics and the health.
        let _ = daemon.reload().await;
    }
}
