//! SIGINT and SIGTERM: the first stops in good order, the second at once.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::exit::CliError;
use super::lines::tell_line;
use crate::stop::StopSignal;

/// Does something that a signal stops: what it holds open is put in order then.
pub async fn unless_stopped<T>(
    work: impl Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    unless(&stop_token(), work).await
}

/// Does something until this token is cancelled.
pub async fn unless<T>(
    stopped: &CancellationToken,
    work: impl Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    tokio::select! {
        biased;
        () = stopped.cancelled() => Err(CliError::Failed("interrupted".to_owned())),
        result = work => result,
    }
}

/// A token that is cancelled by the first signal. After the second, the signals' default
/// action ends the process, which loses nothing that was committed.
pub fn stop_token() -> CancellationToken {
    let token = CancellationToken::new();
    let stopped = token.clone();
    on_signals(move || {
        tell_line("stopping; once more to stop at once");
        stopped.cancel();
    });
    token
}

/// The same for the daemon: the first signal lets what is under way come to its end.
pub fn stop_softly() -> StopSignal {
    let stop = StopSignal::default();
    let soon = stop.soon.clone();
    on_signals(move || {
        tracing::info!("told to stop; a second signal stops at once");
        soon.cancel();
    });
    stop
}

/// SIGHUPs from now on. Without it, the first one would end the process.
pub fn hangups() -> std::io::Result<Signal> {
    signal(SignalKind::hangup())
}

fn on_signals(first: impl FnOnce() + Send + 'static) {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return; // Then the signals' default action ends the process.
    };
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = interrupt.recv() => 130,
                _ = terminate.recv() => 143,
            }
        };
        next().await;
        first();
        let code = next().await;
        #[expect(clippy::disallowed_methods, reason = "the user asked twice to stop at once")]
        std::process::exit(code);
    });
}
