//! What cleanup rules deleted is brought back while the daemon runs, as `tranship restore` does it
//! without one.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::handle::Handle;
use super::news::{Following, RestoreNews, follow};
use super::queue::AskedBy;
use super::refusal::Stopping;
use crate::blocking;
use crate::cleanup::restore::{Restored, Wanted, choose, deleted};
use crate::history::{Cause, RunId};
use crate::oci::ImageAddress;
use crate::removal::Actor;

/// Which deleted images are to be restored.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RestoreRequest {
    /// Images, and repositories of which all images are meant: `HOST/REPOSITORY[:TAG|@DIGEST]` or
    /// `oci:DIR[:TAG]`.
    pub images: Vec<String>,
    /// Only what this run deleted. Without it, `images` must name something.
    pub run: Option<String>,
    /// Only what this rule deleted.
    pub rule: Option<String>,
    /// Also restore tags that point at another image by now.
    pub overwrite: bool,
    /// Who asks for it, which the audit log records.
    pub cause: AskedBy,
}

/// Why nothing is restored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreRefusal {
    #[error("{0}")]
    Malformed(String),
    #[error("nothing of that can be restored")]
    Nothing,
    #[error("other images are being restored: try again when that is done")]
    Busy,
    #[error("the audit cannot be read: {0}")]
    Unreadable(String),
    #[error(transparent)]
    Stopping(#[from] Stopping),
}

impl RestoreRequest {
    fn wanted(&self) -> Result<Wanted, String> {
        let mut wanted =
            Wanted { images: Vec::new(), run: self.run.clone(), rule: self.rule.clone() };
        for text in &self.images {
            let image: ImageAddress = text.parse().map_err(|error| format!("{error}"))?;
            wanted.add(image).map_err(|why| format!("{text}: {why}"))?;
        }
        if wanted.is_everything() {
            return Err("name `images` or a `run`".to_owned());
        }
        Ok(wanted)
    }
}

impl Handle {
    /// Restores images, and tells of each. When its follower goes away or the daemon stops, no further
    /// image is begun.
    ///
    /// # Errors
    /// Nothing is restored.
    pub async fn restore(&self, request: RestoreRequest) -> Result<Following, RestoreRefusal> {
        let shared = Arc::clone(&self.0);
        let wanted = request.wanted().map_err(RestoreRefusal::Malformed)?;
        let turn = Arc::clone(&shared.restoring).try_lock_owned();
        let turn = turn.map_err(|_| RestoreRefusal::Busy)?;
        if shared.stop.is_cancelled() {
            return Err(Stopping.into());
        }
        let engine = shared.board.engine();
        let (audit, now) = (shared.parts.audit.clone(), shared.now());
        let read = tokio::task::spawn_blocking(move || {
            let found = deleted(audit.dir(), now, &wanted)?;
            Ok(choose(&found.restorable, &wanted))
        });
        let chosen = blocking::joined(read).await;
        let chosen = chosen
            .map_err(|error: std::io::Error| RestoreRefusal::Unreadable(error.to_string()))?;
        if chosen.is_empty() {
            return Err(RestoreRefusal::Nothing);
        }
        let stop = shared.stop.soon.child_token();
        let (teller, following) = follow(Some(stop.clone()));
        tokio::spawn(async move {
            let _turn = turn;
            let random = ((shared.parts.random)() * f64::from(u32::MAX)) as u32;
            let run = RunId::new(now, random);
            let cause = Cause::from(request.cause);
            let actor = Actor::of_process(run.as_str(), cause.to_string());
            // The daemon has an audit.
            let Some(restorer) = engine.core.restorer(&actor, request.overwrite) else { return };
            let (mut restored, mut failed) = (0_usize, 0_usize);
            let mut each = |one: Restored| {
                restored += usize::from(one.restored);
                failed += usize::from(!one.is_complete());
                teller.tell(&RestoreNews::Restored(Box::new(one)));
            };
            let is_whole = restorer.run(chosen, &stop, &mut each).await;
            tracing::info!(run = %run.as_str(), restored, failed, "restoration ends");
            teller.tell(&RestoreNews::End { interrupted: !is_whole });
        });
        Ok(following)
    }
}
