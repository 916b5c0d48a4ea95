//! The configuration, loaded anew while runs go on.
//!
//! Validated first: if anything is wrong with the file, the configuration in use stays, and the
//! log, a metric, the health and the notifications say so.

use std::sync::Arc;
use std::time::Duration;

use super::engine::EngineError;
use super::refusal::Stopping;
use super::watch::content;
use super::{Handle, Watch, systemd};
use crate::alerts::Alert;
use crate::config::{self, Config, ConfigError};

/// Files that stay the same for so long are written to their end.
const CALM: Duration = Duration::from_millis(20);
/// How often that is awaited.
const LOOKS: usize = 50;

/// Why the configuration file as it is now is not in use.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(
        "until the next start the daemon listens on {0}, where other machines could reach it: \
         [daemon] needs a `token`, and every table of [events] a `secret`"
    )]
    Exposed(std::net::SocketAddr),
    #[error("an internal error: see the log")]
    Panicked,
    #[error(transparent)]
    Stopping(#[from] Stopping),
}

impl ReloadError {
    /// For the log, in which each event is one line.
    fn in_one_line(&self) -> String {
        match self {
            Self::Config(error) => error.in_one_line(),
            other => other.to_string(),
        }
    }
}

impl Handle {
    /// Loads the configuration file anew. If anything is wrong with it, the one in use stays.
    ///
    /// Goes on to its end even if the caller does not wait for that.
    ///
    /// # Errors
    /// What is wrong.
    pub async fn reload(&self) -> Result<(), ReloadError> {
        let handle = self.clone();
        let reloading = tokio::spawn(async move { handle.reload_alone().await });
        reloading.await.unwrap_or(Err(ReloadError::Panicked))
    }

    async fn reload_alone(&self) -> Result<(), ReloadError> {
        let _alone = self.0.reloading.lock().await;
        systemd::reloading();
        let loaded = self.load().await;
        if let Err(ReloadError::Stopping(_)) = loaded {
            return loaded; // That says nothing about the file.
        }
        let metrics = self.0.parts.metrics.daemon();
        let now = self.0.now();
        let (was_rejected, engine) = {
            let mut board = self.0.board.look();
            let why = loaded.as_ref().err().map(ToString::to_string);
            let rejected = std::mem::replace(&mut board.rejected, why);
            (rejected.is_some(), Arc::clone(&board.engine))
        };
        let rules = engine.core.rules().count();
        match &loaded {
            Ok(()) => {
                metrics.reloaded(now);
                tracing::info!(rules, "the configuration was loaded anew");
                if was_rejected {
                    engine.alerts.send(Alert::reload_recovered(now));
                }
            }
            Err(why) => {
                metrics.reload_failed();
                tracing::error!("the configuration stays as it was: {}", why.in_one_line());
                if !was_rejected {
                    engine.alerts.send(Alert::reload_failed(now, &why.to_string()));
                }
            }
        }
        systemd::ready(rules);
        loaded
    }

    async fn load(&self) -> Result<(), ReloadError> {
        let file = self.0.config_file.clone();
        self.0.seen.look(&file);
        let environment = self.0.parts.environment.clone();
        let mut looks = 0;
        let config = loop {
            let before = content(&file);
            tokio::time::sleep(CALM).await;
            let (path, environment) = (file.clone(), environment.clone());
            let read =
                move || config::load(&path, &|name| environment.variable(name)?.into_string().ok());
            let config = tokio::task::spawn_blocking(read).await;
            let config = config.map_err(|_| ReloadError::Panicked)?;
            looks += 1;
            // Most programs empty a file before they write it, and an empty one is valid.
            if content(&file) == before || looks == LOOKS {
                break config?;
            }
        };
        self.check_exposure(&config)?;
        if let Some(warnings) = &config.warnings {
            tracing::warn!("{}", warnings.in_one_line());
        }
        let old = self.0.board.engine();
        let fixed = |config: &Config| {
            let daemon = &config.daemon;
            (daemon.listen, daemon.state.clone(), daemon.transfers, daemon.history)
        };
        if fixed(&config) != fixed(&old.core.config) {
            tracing::warn!(
                "`listen`, `state`, `transfers` and `history` of [daemon] take effect at the next \
                 start"
            );
        }
        let engine = Arc::new(old.renewed(config, &self.0.parts, self.0.now()).await?);
        Ok(self.ask(|scheduler| scheduler.adopt(engine)).await?)
    }

    /// What the configuration may leave out on this machine, it may not leave out as long as others
    /// reach the daemon, which does not depend on what `listen` says now.
    fn check_exposure(&self, config: &Config) -> Result<(), ReloadError> {
        let listen = self.0.listen;
        let protected = config.daemon.token.is_some()
            && config.events.values().all(|source| source.secret.is_some());
        if protected || listen.ip().is_loopback() {
            return Ok(());
        }
        Err(ReloadError::Exposed(listen))
    }
}

/// Loads the configuration anew whenever its file has changed.
pub(super) async fn on_change(handle: Handle, mut watch: Watch) {
    loop {
        watch.changed().await;
        // What is wrong is said everywhere.
        let _ = handle.reload().await;
    }
}
