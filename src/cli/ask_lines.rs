//! Answers of the running daemon that come line by line, for as long as what they tell of goes on.

use std::time::Duration;

use reqwest::{RequestBuilder, Response};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::ask::{Daemon, Unanswered};
use super::exit::CliError;
use crate::daemon::view::PlanOptions;
use crate::daemon::{RestoreRequest, RunOptions};

/// The daemon may read a long audit before it answers.
const HEAD_TIMEOUT: Duration = Duration::from_secs(600);
/// It gives a sign of life every few seconds.
const SILENCE: Duration = Duration::from_secs(60);
/// More than the plan of the largest repository.
const MAX_LINE: usize = 1 << 30;

/// An answer that is read line by line.
pub struct Answer<'a> {
    daemon: &'a Daemon,
    response: Response,
    /// What has come of the next line.
    received: Vec<u8>,
    /// So many bytes of it have no line feed.
    searched: usize,
}

impl Daemon {
    /// What a run of a rule would do now.
    pub async fn plan_lines(
        &self,
        rule: &str,
        options: &PlanOptions,
    ) -> Result<Answer<'_>, CliError> {
        let mut url = self.url(&["rules", rule, "plan", "lines"])?;
        if let Some(image) = &options.asked {
            url.query_pairs_mut().append_pair("explain", &image.to_string());
        }
        if options.recheck {
            url.query_pairs_mut().append_pair("recheck", "true");
        }
        self.lines(self.client().get(url)).await
    }

    /// A run of a rule.
    pub async fn run_lines(&self, rule: &str, options: RunOptions) -> Result<Answer<'_>, CliError> {
        let url = self.run_url(&["rules", rule, "run", "lines"], options)?;
        self.lines(self.client().post(url)).await
    }

    /// The images that are restored.
    pub async fn restore_lines(&self, request: &RestoreRequest) -> Result<Answer<'_>, CliError> {
        let url = self.url(&["restore"])?;
        let body = serde_json::to_vec(request).map_err(super::exit::failed("write JSON"))?;
        self.lines(self.client().post(url).body(body)).await
    }

    async fn lines(&self, request: RequestBuilder) -> Result<Answer<'_>, CliError> {
        let answer = timeout(HEAD_TIMEOUT, self.send(request)).await;
        let answer = answer.unwrap_or_else(|_| Err(silent(HEAD_TIMEOUT)));
        let response = answer.map_err(|unanswered| self.error(unanswered))?;
        Ok(Answer { daemon: self, response, received: Vec::new(), searched: 0 })
    }
}

impl Answer<'_> {
    /// The next line; `None`: there are no more. Dropping the future loses nothing.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, CliError> {
        match self.line().await {
            Ok(None) => Ok(None),
            Ok(Some(line)) => match serde_json::from_slice(&line) {
                Ok(news) => Ok(Some(news)),
                Err(_) => Err(self.daemon.error(Unanswered::Foreign)),
            },
            Err(unanswered) => Err(self.daemon.error(unanswered)),
        }
    }

    /// The next line that is not empty.
    async fn line(&mut self) -> Result<Option<Vec<u8>>, Unanswered> {
        loop {
            let unsearched = self.received.get(self.searched..).unwrap_or_default();
            if let Some(at) = unsearched.iter().position(|byte| *byte == b'\n') {
                let rest = self.received.split_off(self.searched + at + 1);
                let mut line = std::mem::replace(&mut self.received, rest);
                self.searched = 0;
                line.pop();
                if !line.is_empty() {
                    return Ok(Some(line));
                }
                continue;
            }
            self.searched = self.received.len();
            if self.searched > MAX_LINE {
                return Err(Unanswered::Foreign);
            }
            match timeout(SILENCE, self.response.chunk()).await {
                Ok(Ok(Some(chunk))) => self.received.extend_from_slice(&chunk),
                Ok(Ok(None)) => return Ok(None),
                Ok(Err(_)) => {
                    let why = "it broke off its answer; `tranship history` and its log say why";
                    return Err(Unanswered::Other(why.to_owned()));
                }
                Err(_) => return Err(silent(SILENCE)),
            }
        }
    }
}

fn silent(limit: Duration) -> Unanswered {
    Unanswered::Other(format!("it did not answer within {} seconds", limit.as_secs()))
}
