//! SIGINT and SIGTERM: the first stops in good order, the second at once.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::exit::CliError;
use crate::sync::Stop;

/// Does something that a signal stops: what it holds open is put in order then.
pub async fn unless_stopped<T>(
    work: impl Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    let stopped = stop_token();
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
    on_signals(move || stopped.cancel());
    token
}

/// The same for the daemon: the first signal lets what is under way come to its end.
pub fn stop_softly() -> Stop {
    let stop = Stop::default();
    let soon = stop.soon.clone();
    on_signals(move || soon.cancel());
    stop
}

/// Every SIGHUP since this was made. Until then, its default action ends the process.
pub struct Hangups(Option<Signal>);

impl Hangups {
    pub fn hear() -> Self {
        Self(signal(SignalKind::hangup()).ok())
    }

    /// Does something at each.
    pub fn react<F: Future<Output = ()> + Send>(self, react: impl Fn() -> F + Send + 'static) {
        let Some(mut hangups) = self.0 else { return };
        tokio::spawn(async move {
            while hangups.recv().await.is_some() {
                react().await;
            }
        });
    }
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
        eprintln!("stopping; once more to stop at once");
        first();
        let code = next().await;
        #[expect(clippy::disallowed_methods, reason = "the user asked twice to stop at once")]
        std::process::exit(code);
    });
}
