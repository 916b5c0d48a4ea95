//! SIGINT and SIGTERM: the first stops in good order, the second at once.

use std::sync::{Arc, OnceLock};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::exit::{CliError, Exit, Sign};
use super::lines::tell_line;
use super::progress::screen;
use crate::stop::StopSignal;

/// What the first signal does to a command.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// Cancelled by it.
    pub token: CancellationToken,
    sign: Arc<OnceLock<Sign>>,
}

impl Stop {
    /// From now on, a signal no longer ends the process by itself. The second one does, which loses
    /// nothing that was committed.
    pub fn on_signal() -> Self {
        Self::on_signal_telling("stopping; press Ctrl-C again to stop immediately")
    }

    /// The same with other words about the first signal.
    pub fn on_signal_telling(words: &'static str) -> Self {
        Self::and_tell(move || tell_line(words))
    }

    /// The same for what stops at once.
    pub fn quietly_on_signal() -> Self {
        Self::and_tell(|| {})
    }

    fn and_tell(tell: impl FnOnce() + Send + 'static) -> Self {
        let stop = Self::default();
        let first = stop.clone();
        on_signals(move |sign| {
            tell();
            let _ = first.sign.set(sign);
            first.token.cancel();
        });
        stop
    }

    /// Whether there was a signal.
    pub fn came(&self) -> bool {
        self.sign.get().is_some()
    }

    /// How a command ends that has not come to its end.
    pub fn exit(&self) -> Exit {
        self.sign.get().map_or(Exit::Failed, |sign| Exit::Stopped(*sign))
    }
}

/// Does something that a signal stops: what it holds open is put in order then.
pub async fn unless_stopped<T>(
    work: impl Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    unless(&Stop::on_signal(), work).await
}

/// Does something until a signal stops it.
pub async fn unless<T>(
    stop: &Stop,
    work: impl Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    tokio::select! {
        biased;
        () = stop.token.cancelled() => {
            Err(CliError::Stopped(stop.sign.get().copied().unwrap_or(Sign::Interrupt)))
        }
        result = work => result,
    }
}

/// The same for the daemon: the first signal lets what is under way come to its end.
pub fn stop_softly() -> StopSignal {
    let stop = StopSignal::default();
    let soon = stop.soon.clone();
    on_signals(move |_| {
        tracing::info!("stopping; a second signal stops immediately");
        soon.cancel();
    });
    stop
}

/// SIGHUPs from now on. Without it, the first one would end the process.
pub fn hangups() -> std::io::Result<Signal> {
    signal(SignalKind::hangup())
}

fn on_signals(first: impl FnOnce(Sign) + Send + 'static) {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return; // Then the signals' default action ends the process.
    };
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = interrupt.recv() => Sign::Interrupt,
                _ = terminate.recv() => Sign::Terminate,
            }
        };
        first(next().await);
        let code = next().await.code();
        screen::close();
        #[expect(clippy::disallowed_methods, reason = "the user asked twice to stop at once")]
        std::process::exit(code.into());
    });
}
