//! What happens in a run, a plan or a restoration, told line by line to whoever follows it over the
//! API. Each line is a JSON document.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::cleanup::plan::document::Document;
use crate::cleanup::restore::Restored;
use crate::cleanup::{CleanupReport, Explanation};
use crate::history::RunId;
use crate::sync::{ImageReport, RuleReport};
use crate::transfer::TransferTotals;

/// What a sync rule copies, or would copy.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncNews<'a> {
    /// The run that does what was asked for: always the first line, unless that was a plan.
    Run(RunId),
    /// An image that was not simply unchanged, as soon as it is settled.
    Image(Cow<'a, ImageReport>),
    /// What the run has moved. Comes once, before the report of a run that began.
    Moved(TransferTotals),
    /// How it ended, without its images. Always the last line.
    Report(Cow<'a, RuleReport>),
}

/// What a cleanup rule is about to delete, and what became of it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CleanupNews<'a> {
    /// The run that does what was asked for: always the first line, unless that was a plan.
    Run(RunId),
    /// The plan of one repository, before anything of it is done.
    Plan(Box<RepositoryPlan<'a>>),
    /// How it ended. Always the last line.
    Report(Cow<'a, CleanupReport>),
}

/// What is planned in one repository.
#[derive(Serialize, Deserialize)]
pub struct RepositoryPlan<'a> {
    pub plan: Document<'a>,
    /// Why one image of it, which was asked about, stays or goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<Explanation<'a>>,
}

/// What became of images that were to be restored.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestoreNews {
    Restored(Box<Restored>),
    /// Always the last line.
    End {
        /// The daemon stopped before all were restored.
        interrupted: bool,
    },
}

/// Tells one follower.
#[derive(Clone)]
pub(super) struct Teller(UnboundedSender<String>);

/// The lines that one follower is told.
pub struct Following {
    lines: UnboundedReceiver<String>,
    /// Stops what is followed when the follower goes away.
    _gone: Option<DropGuard>,
}

impl Drop for Following {
    fn drop(&mut self) {
        tracing::debug!("a client follows no longer");
    }
}

/// A follower, and who tells it. `gone` is cancelled when the follower goes away.
pub(super) fn follow(gone: Option<CancellationToken>) -> (Teller, Following) {
    let (sender, lines) = mpsc::unbounded_channel();
    (Teller(sender), Following { lines, _gone: gone.map(CancellationToken::drop_guard) })
}

impl Teller {
    pub fn tell(&self, news: &impl Serialize) {
        match serde_json::to_string(news) {
            // A follower that is gone is told nothing.
            Ok(line) => _ = self.0.send(line),
            Err(error) => tracing::error!(%error, "a line of an answer cannot be written"),
        }
    }
}

impl Following {
    /// The next line, without its end; `None`: there are no more. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<String> {
        self.lines.recv().await
    }
}
