//! Asks the running daemon over its API.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use reqwest::{RequestBuilder, Response};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use url::Url;

use super::exit::{CliError, Exit, failed};
use crate::config::{self, SecretSource};
use crate::daemon::view::{ActiveRun, RuleStatus, RunDetail, Status, Transfer};
use crate::history::{Filter, RunId, RunRecord};
use crate::http::{body, client};
use crate::secret::{Environment, read_secret};
use crate::server::api::Problem;

/// The daemon is on this machine.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A long history is read from disk first.
const TIMEOUT: Duration = Duration::from_secs(30);
/// More than the longest list of runs that the API returns.
const MAX_ANSWER: usize = 256 << 20;

/// More than any refusal says.
const MAX_REFUSAL: usize = 1 << 20;

/// What to do without a token.
const NO_TOKEN: &str = "set `token` in [daemon], which the daemon notices by itself, or stop the daemon and run this again";

/// A daemon that listens.
#[derive(Clone)]
pub struct Daemon {
    client: reqwest::Client,
    pub(super) address: SocketAddr,
    /// Where the token is, if there is one.
    token_source: Option<SecretSource>,
    /// Shown with every request, where it is known.
    token: Option<SecretString>,
}

/// What listens at the configured address.
pub enum Found {
    /// This configuration's daemon.
    Daemon(Daemon),
    /// Not this configuration's daemon, for this reason.
    Nobody(String),
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// Nothing listens there.
    Refused,
    /// The answer is not one of this API.
    Foreign,
    /// The API refused the request.
    Problem(Problem),
    Other(String),
}

impl Daemon {
    /// Looks for the daemon of this configuration.
    ///
    /// # Errors
    /// A daemon listens there and does not answer, or it wants another token.
    pub async fn find(settings: &config::Daemon) -> Result<Found, CliError> {
        let daemon = Self::of(settings).await?;
        let address = daemon.address;
        let nobody = |reason: String| Ok(Found::Nobody(reason));
        match daemon.get::<Status>("/api/v1/status", &[]).await {
            Ok(status) if status.state != settings.state.display().to_string() => nobody(format!(
                "the daemon at {address} is another configuration's: its state is in {}",
                status.state
            )),
            Ok(_) => Ok(Found::Daemon(daemon)),
            Err(Unanswered::Refused) => {
                nobody(format!("no daemon listens at {address}: is `tranship serve` running?"))
            }
            Err(Unanswered::Foreign) => {
                nobody(format!("what listens at {address} is not a tranship daemon"))
            }
            Err(unanswered) => Err(daemon.error(unanswered)),
        }
    }

    /// The daemon of this configuration, for what needs one.
    ///
    /// # Errors
    /// There is none, or it does not answer.
    pub async fn required(settings: &config::Daemon) -> Result<Self, CliError> {
        match Self::find(settings).await? {
            Found::Daemon(daemon) => Ok(daemon),
            Found::Nobody(message) => Err(CliError::Hinted {
                exit: Exit::Failed,
                message,
                hint: "start the daemon with `tranship serve`; `tranship sync`, `tranship cleanup` and `tranship plan` need none",
            }),
        }
    }

    async fn of(settings: &config::Daemon) -> Result<Self, CliError> {
        let listen = settings.listen;
        // To read, a token is needed only where other machines could.
        let token = if listen.ip().is_loopback() { None } else { token(&settings.token).await? };
        let client = client::builder()
            .no_proxy()
            .http1_only()
            .tls_certs_only([])
            .connect_timeout(CONNECT_TIMEOUT)
            .build()
            .map_err(failed("set up HTTP"))?;
        let token_source = settings.token.clone();
        Ok(Self { client, address: reachable(listen), token_source, token })
    }

    /// The same daemon, asked with the token: every change needs it.
    ///
    /// # Errors
    /// The configuration has no token.
    pub async fn with_token(self) -> Result<Self, CliError> {
        let token = match self.token {
            Some(token) => Some(token),
            None => token(&self.token_source).await?,
        };
        if token.is_none() {
            return Err(CliError::Hinted {
                exit: Exit::Usage,
                message: format!(
                    "the daemon at {} needs a token for this, and `[daemon]` of the \
                     configuration has no `token`",
                    self.address
                ),
                hint: NO_TOKEN,
            });
        }
        Ok(Self { token, ..self })
    }

    /// The rules, in the order of the daemon's configuration.
    pub async fn rules(&self) -> Result<Vec<RuleStatus>, CliError> {
        let rules = self.get("/api/v1/rules", &[]).await;
        rules.map_err(|unanswered| self.error(unanswered))
    }

    /// The daemon as a whole, its rules, its runs under way, and its transfers.
    pub async fn look(
        &self,
    ) -> Result<(Status, Vec<RuleStatus>, Vec<ActiveRun>, Vec<Transfer>), CliError> {
        tokio::try_join!(
            self.get("/api/v1/status", &[]),
            self.get("/api/v1/rules", &[]),
            self.get("/api/v1/running", &[]),
            self.get("/api/v1/transfers", &[]),
        )
        .map_err(|unanswered| self.error(unanswered))
    }

    /// The runs that match this filter.
    pub async fn runs(&self, filter: &Filter) -> Result<Vec<RunRecord>, CliError> {
        let outcome = filter.outcome.map(|outcome| outcome.to_string());
        let query = [
            ("rule", filter.rule.clone()),
            ("outcome", outcome),
            ("since", filter.since.map(|since| since.to_string())),
            ("limit", filter.limit.map(|limit| limit.to_string())),
        ];
        let query: Vec<_> =
            query.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        let runs = self.get("/api/v1/runs", &query).await;
        runs.map_err(|unanswered| self.error(unanswered))
    }

    /// One run with its images, if the history has it.
    pub async fn run(&self, id: &RunId) -> Result<Option<RunDetail>, CliError> {
        match self.get(&format!("/api/v1/runs/{id}"), &[]).await {
            Ok(run) => Ok(Some(run)),
            Err(Unanswered::Problem(problem)) if problem.status == 404 => Ok(None),
            Err(unanswered) => Err(self.error(unanswered)),
        }
    }

    async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<T, Unanswered> {
        let other = |error: &dyn std::fmt::Display| Unanswered::Other(error.to_string());
        let url = format!("http://{}{path}", self.address);
        let url = Url::parse_with_params(&url, query).map_err(|error| other(&error))?;
        self.read(self.send(self.client.get(url).timeout(TIMEOUT)).await?).await
    }

    /// The document that is the answer.
    pub(super) async fn read<T: DeserializeOwned>(
        &self,
        answer: Response,
    ) -> Result<T, Unanswered> {
        let body = body::whole(answer, MAX_ANSWER).await.map_err(|_| Unanswered::Foreign)?;
        serde_json::from_slice(&body).map_err(|_| Unanswered::Foreign)
    }

    pub(super) fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// Sends a request: the answer, unless it is a refusal.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Response, Unanswered> {
        let request = match &self.token {
            Some(token) => request.bearer_auth(token.expose_secret()),
            None => request,
        };
        let unsent = |error: reqwest::Error| match error {
            error if error.is_connect() => Unanswered::Refused,
            error if error.is_timeout() => {
                Unanswered::Other(format!("it did not answer within {} seconds", TIMEOUT.as_secs()))
            }
            _ => Unanswered::Foreign,
        };
        let answer = request.send().await.map_err(unsent)?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let body = body::whole(answer, MAX_REFUSAL).await.map_err(|_| Unanswered::Foreign)?;
        let problem = serde_json::from_slice(&body).map_err(|_| Unanswered::Foreign)?;
        Err(Unanswered::Problem(problem))
    }

    pub(super) fn error(&self, unanswered: Unanswered) -> CliError {
        let address = self.address;
        let hinted = |message, hint| CliError::Hinted { exit: Exit::Failed, message, hint };
        let misconfigured = |message, hint| CliError::Hinted { exit: Exit::Usage, message, hint };
        match unanswered {
            Unanswered::Refused => hinted(
                format!("no daemon listens at {address} any more"),
                "is `tranship serve` running?",
            ),
            Unanswered::Problem(problem) if problem.status == 401 => misconfigured(
                format!("the daemon at {address} says: {}", problem.detail),
                "`token` in [daemon] must be the one that the daemon was started with",
            ),
            Unanswered::Problem(problem) if problem.status == 403 => {
                misconfigured(format!("the daemon at {address} says: {}", problem.detail), NO_TOKEN)
            }
            Unanswered::Problem(problem) => {
                CliError::Failed(format!("the daemon at {address} says: {}", problem.detail))
            }
            Unanswered::Foreign => hinted(
                format!("the answer of the daemon at {address} was not understood"),
                "is it of another version of tranship?",
            ),
            Unanswered::Other(why) => {
                CliError::Failed(format!("failed to ask the daemon at {address}: {why}"))
            }
        }
    }
}

/// The token of the API, if the configuration has one.
async fn token(source: &Option<SecretSource>) -> Result<Option<SecretString>, CliError> {
    let Some(source) = source else { return Ok(None) };
    let read = read_secret(source, "the API's token", &Environment::of_process()).await;
    read.map(Some).map_err(|error| CliError::Usage(error.to_string()))
}

/// The address at which a daemon that listens at `listen` is reached from this machine.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unspecified_addresses_are_reached_on_loopback() {
        for (listen, expected) in [
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("0.0.0.0:2", "127.0.0.1:2"),
            ("[::]:3", "[::1]:3"),
            ("192.0.2.7:4", "192.0.2.7:4"),
        ] {
            assert_eq!(reachable(listen.parse().unwrap()), expected.parse().unwrap());
        }
    }
}
