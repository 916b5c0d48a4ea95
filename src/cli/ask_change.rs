//! Requests to the running daemon that change something, and are answered at once.

use std::time::Duration;

use reqwest::RequestBuilder;
use serde::de::DeserializeOwned;
use url::Url;

use super::ask::{Daemon, Unanswered};
use super::exit::CliError;
use crate::daemon::view::{Accepted, Cancelled, Status};
use crate::daemon::{AskedBy, RunOptions};
use crate::history::RunId;

/// The daemon answers when it has noted what is asked.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Secrets are read anew, by commands that may take long.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(600);

impl Daemon {
    /// Has a rule run now, or after its present run.
    pub async fn start(&self, rule: &str, options: RunOptions) -> Result<Accepted, CliError> {
        let url = self.run_url(&["rules", rule, "run"], options)?;
        let accepted = self.post(self.client().post(url).timeout(TIMEOUT)).await;
        accepted.map_err(|unanswered| self.error(unanswered))
    }

    /// Has a run stopped; `false`: it is neither under way nor queued.
    pub async fn cancel(&self, run: &RunId) -> Result<bool, CliError> {
        let url = self.url(&["runs", run.as_str(), "cancel"])?;
        match self.send(self.client().post(url).timeout(TIMEOUT)).await {
            Ok(_) => Ok(true),
            Err(Unanswered::Problem(problem)) if problem.status == 404 => Ok(false),
            Err(unanswered) => Err(self.error(unanswered)),
        }
    }

    /// Has all runs of a rule stopped: those that were under way or queued.
    pub async fn cancel_rule(&self, rule: &str) -> Result<Vec<RunId>, CliError> {
        let url = self.url(&["rules", rule, "cancel"])?;
        match self.post::<Cancelled>(self.client().post(url).timeout(TIMEOUT)).await {
            Ok(cancelled) => Ok(cancelled.runs),
            Err(Unanswered::Problem(problem)) if problem.status == 404 => Ok(Vec::new()),
            Err(unanswered) => Err(self.error(unanswered)),
        }
    }

    /// Has the configuration file loaded anew. `Err`: what is wrong with it.
    pub async fn reload(&self) -> Result<Result<Status, String>, CliError> {
        let url = self.url(&["reload"])?;
        match self.post(self.client().post(url).timeout(RELOAD_TIMEOUT)).await {
            Ok(status) => Ok(Ok(status)),
            Err(Unanswered::Problem(problem)) if problem.status == 422 => Ok(Err(problem.detail)),
            Err(unanswered) => Err(self.error(unanswered)),
        }
    }

    async fn post<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Unanswered> {
        self.read(self.send(request).await?).await
    }

    /// An address of the API, with these names in its path.
    pub(super) fn url(&self, segments: &[&str]) -> Result<Url, CliError> {
        let other = |why: String| self.error(Unanswered::Other(why));
        let base = format!("http://{}/api/v1", self.address);
        let mut url = Url::parse(&base).map_err(|error| other(error.to_string()))?;
        // A URL with a host has segments.
        if let Ok(mut path) = url.path_segments_mut() {
            path.extend(segments);
        }
        Ok(url)
    }

    /// The same with what is wanted of a run.
    pub(super) fn run_url(&self, segments: &[&str], options: RunOptions) -> Result<Url, CliError> {
        let mut url = self.url(segments)?;
        let RunOptions { mode, recheck, asked_by: _ } = options;
        url.query_pairs_mut().append_pair("cause", &AskedBy::Command.to_string());
        if let Some(mode) = mode {
            url.query_pairs_mut().append_pair("mode", &mode.to_string());
        }
        if recheck {
            url.query_pairs_mut().append_pair("recheck", "true");
        }
        Ok(url)
    }
}
