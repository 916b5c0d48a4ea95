//! `tranship serve`: the daemon.

use std::sync::Arc;

use serde::Serialize;
use tokio::net::TcpListener;

use super::args::{Global, Output};
use super::exit::{CliError, Exit};
use super::{output, session, signals};
use crate::daemon::{Daemon, Parts, System};
use crate::history::History;
use crate::metrics::Metrics;
use crate::registry::Policy;
use crate::registry::auth::Environment;
use crate::server::{self, api};
use crate::state::State;
use crate::transfer::Carrier;

/// Run the rules on their schedules, until stopped
///
/// Runs every rule at its times, on push events and on request, and serves metrics, health and
/// the API at the configuration's `listen`. The configuration is loaded anew when its file changes
/// and on SIGHUP; if anything is wrong with it, the one in use stays.
///
/// SIGTERM or SIGINT ends it in good order: images under way come to their end, as long as the
/// configuration's `grace` lasts, and the next start goes on with what is left. A second signal
/// ends it at once, which loses nothing that was committed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tranship serve --config /etc/tranship/tranship.toml
  tranship serve --log-format json
  curl -s http://127.0.0.1:8642/readyz            whether all is well
  curl -s http://127.0.0.1:8642/api/v1/rules      what runs when, and how it went")]
pub struct Args {}

/// The document that `--output json` prints when requests are answered.
#[derive(Serialize)]
struct Serving {
    address: String,
    rules: usize,
}

pub async fn run(global: &Global, _: Args) -> Result<Exit, CliError> {
    // First of all: a signal may come while it starts.
    let stop = signals::stop_softly();
    let hangups = signals::Hangups::hear();
    let config = session::required_config(global)?;
    let rules = config.sync.len();
    // The port first: a second daemon is told so, whatever it shares with the first.
    let listen = config.daemon.listen;
    let failed = |error| CliError::Failed(format!("failed to listen on {listen}: {error}"));
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let state = State::open(&config.daemon.state)?;
    let metrics = Metrics::new();
    let carrier = Carrier::new(state.clone(), Policy::default(), session::jitter)
        .with_metrics(metrics.clone());
    let history =
        History::open(&config.daemon.state, config.daemon.history, jiff::Timestamp::now())
            .map_err(|error| CliError::Failed(format!("failed to start: {error}")))?;
    let parts = Parts {
        config_file: session::config_path(global).to_owned(),
        state,
        carrier: Arc::new(carrier),
        metrics,
        history,
        environment: Environment::of_process(),
        clock: Arc::new(System),
        random: session::jitter,
    };
    let started = tokio::select! {
        biased;
        // Secrets may come from commands that take long.
        () = stop.soon.cancelled() => return Ok(Exit::Done),
        started = Daemon::start(config, parts, stop.clone()) => started,
    };
    let daemon = started.map_err(|error| CliError::Usage(error.to_string()))?;
    hangups.react({
        let handle = daemon.handle().clone();
        move || {
            let handle = handle.clone();
            // What is wrong is in the log, the metrics and the health.
            async move { drop(handle.reload().await) }
        }
    });
    announce(global, &address.to_string(), rules)?;
    // The API goes on while runs come to their end: who watches wants to see that.
    let over = tokio_util::sync::CancellationToken::new();
    let router = api::router(daemon.handle().clone());
    let serving = server::serve(listener, router, api::BOUNDS, over.clone().cancelled_owned());
    let serving = tokio::spawn(serving);
    daemon.stopped().await;
    over.cancel();
    // Requests that did not end in time were cut off, and the log says so.
    let _ = serving.await;
    Ok(Exit::Done)
}

fn announce(global: &Global, address: &str, rules: usize) -> Result<(), CliError> {
    match global.output {
        Output::Json => output::print_json(&Serving { address: address.to_owned(), rules }),
        Output::Text => output::print_text(&format!("listening on {address}, {rules} rules\n")),
    }
}
