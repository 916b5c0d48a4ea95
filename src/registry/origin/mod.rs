//! One HTTP origin: all that its requests share, and the way that each of them takes.
//!
//! - `call`, here: tries a request until its answer cannot change any more.
//! - `exchange`: one try. Waits for its turn, authorizes and sends the request, follows redirects.
//! - `receive`: reads what comes, bounded in bytes and in time.
//! - `upload`: sends a body that can be read only once, in one try.
//! - `reach`: how far other hosts may be asked that the registry leads to.
//! - `pause`: what a refusal means for all other requests.

mod exchange;
mod pause;
mod reach;
mod receive;
mod upload;

pub(super) use exchange::{redirect_refused, too_many_redirects};

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use parking_lot::Mutex;
use reqwest::Response;
use tokio::time::Instant;
use url::Url;

use super::answer::Answer;
use super::auth::{Authentication, Authenticator, CredentialStore, Parts, Scope};
use super::call::{Call, MAX_ERROR_BODY, What};
use super::certificates::Tls;
use super::dialect::Dialect;
use super::limits::Limits;
use super::operation::Operation;
use super::outage::Outages;
use super::transport::{Timeouts, TokenClients, Transport};
use crate::fair::{Flow, Pulses};
use crate::http::RetryPolicy;
use crate::http::retry::Failure;
use crate::metrics::{RegistryMetrics, WindowKind};
use crate::oci::RegistryHost;
use crate::repository::{Cause, Error, ErrorKind, Result, Traffic};

/// How one origin is to be spoken to.
#[derive(Debug)]
pub struct Settings {
    pub tls: Tls,
    pub limits: Arc<Limits>,
    /// Of the flows that send requests.
    pub pulses: Pulses,
    /// How the other hosts of the configuration are spoken to, by host: token servers may be among
    /// them.
    pub others: Vec<(String, Tls)>,
    /// Hosts of token servers that may get the credentials, beside the origin's own.
    pub auth_realms: Vec<String>,
    pub timeouts: Timeouts,
    pub policy: RetryPolicy,
    /// Random numbers from 0 to 1 that spread retries.
    pub jitter: fn() -> f64,
    /// Hosts that count as servers on public addresses, whatever their addresses are: for tests,
    /// whose servers are all on one machine.
    pub public: Vec<RegistryHost>,
}

/// Whose credentials the requests to an origin carry, and how.
pub(super) struct Login {
    pub registry: RegistryHost,
    pub authentication: Authentication,
    pub credentials: Arc<CredentialStore>,
}

/// One scheme, host and port, with its credentials, limits and metrics: a registry, or the API that a
/// product has at another host.
pub(super) struct Origin {
    pub host: RegistryHost,
    /// `https://host/v2/`.
    pub base: Url,
    pub authenticator: Authenticator,
    pub settings: Settings,
    dialect: &'static dyn Dialect,
    transport: Transport,
    seen: reach::Seen,
    outages: Mutex<Outages>,
    metrics: Arc<RegistryMetrics>,
    /// The user was told that the pull quota runs low.
    quota_is_low: AtomicBool,
    /// The user was told that lists have names that are not valid.
    pub warned_of_names: AtomicBool,
}

/// Why one try failed.
enum Failed {
    /// Another try cannot help.
    Final(Cause),
    /// There was no connection, so the server has not seen the request.
    Unsent(Cause),
    Connection(Cause),
    /// An answer whose status may change.
    Status(Answer),
}

type Try<T> = std::result::Result<T, Failed>;

/// The tries of one call.
struct Tries {
    made: u32,
    began: Instant,
}

impl Tries {
    fn begin() -> Self {
        Self { made: 1, began: Instant::now() }
    }
}

/// What has answered at this address is a web server of another kind.
fn no_registry(url: &Url, title: &str) -> Cause {
    let title = if title.is_empty() { String::new() } else { format!(" (\"{title}\")") };
    let message = format!(
        "{} answered with a web page{title} and not as a registry",
        url.host_str().unwrap_or_default()
    );
    Cause::Transport { kind: ErrorKind::NotARegistry, message }
}

impl Origin {
    /// Nothing is sent until the first request. Errors are certificates that cannot be read.
    pub fn new(
        host: RegistryHost,
        dialect: &'static dyn Dialect,
        settings: Settings,
        login: Login,
        metrics: Arc<RegistryMetrics>,
    ) -> Result<Self> {
        let failed = |cause| Error::new("set up", host.to_string(), cause);
        let scheme = if settings.tls.http { "http" } else { "https" };
        let base: Url =
            format!("{scheme}://{}/v2/", dialect.address(&host)).parse().map_err(|error| {
                failed(Cause::Protocol(format!("its address is not valid: {error}")))
            })?;
        let transport = Transport::new(&settings.tls, settings.timeouts).map_err(failed)?;
        let configured = settings.others.clone();
        let token_clients = TokenClients::new(&transport, &base, &settings.tls, configured);
        let parts = Parts {
            registry: login.registry,
            authentication: login.authentication,
            base: base.clone(),
            credentials: login.credentials,
            client: transport.api().clone(),
            allowed_realms: settings.auth_realms.clone(),
            clock: Arc::new(std::time::Instant::now),
            jitter: settings.jitter,
            metrics: metrics.clone(),
        };
        let authenticator = Authenticator::new(parts, token_clients);
        metrics.window(WindowKind::Requests, settings.limits.requests.window());
        metrics.window(WindowKind::Uploads, settings.limits.uploads.window());
        Ok(Self {
            host,
            base,
            authenticator,
            settings,
            dialect,
            transport,
            seen: reach::Seen::default(),
            outages: Mutex::default(),
            metrics,
            quota_is_low: AtomicBool::new(false),
            warned_of_names: AtomicBool::new(false),
        })
    }

    /// A request without headers and body.
    pub fn request<'a>(
        &self,
        operation: Operation,
        what: What<'a>,
        method: Method,
        url: Url,
        scope: &'a Scope,
        flow: Flow,
    ) -> Call<'a> {
        Call {
            operation,
            what,
            method,
            url,
            scope,
            flow,
            dialect: self.dialect,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            limit: MAX_ERROR_BODY,
            patience: None,
            open_ended: false,
            error_is_final: false,
        }
    }

    /// Sends a request until an answer comes that trying again cannot change. Such answers are
    /// given back whatever their status; only an exhausted registry or network is an error.
    pub async fn call(&self, call: &Call<'_>) -> Result<Answer> {
        let mut tries = Tries::begin();
        let _pending = self.settings.limits.activity.begin(call.traffic());
        loop {
            self.check_outage(call).map_err(|error| error.after(tries.made))?;
            let tried = async { self.read(self.exchange(call).await?, call.limit).await };
            match tried.await {
                Ok(answer) => {
                    // For referrers, it only means that there is no such list.
                    if call.traffic() == Traffic::Read
                        && call.operation != Operation::ListReferrers
                        && let Some(title) = answer.web_page()
                    {
                        return Err(call.error(no_registry(&answer.url, &title)).after(tries.made));
                    }
                    return Ok(Answer { tries: tries.made, ..answer });
                }
                Err(failed) => self.wait_for_next_try(call, failed, &mut tries).await?,
            }
        }
    }

    /// Like `call`, but a good answer's body is left to be read.
    pub async fn open(&self, call: &Call<'_>) -> Result<std::result::Result<Response, Answer>> {
        let mut tries = Tries::begin();
        let _pending = self.settings.limits.activity.begin(call.traffic());
        loop {
            self.check_outage(call).map_err(|error| error.after(tries.made))?;
            let tried = async {
                let response = self.exchange(call).await?;
                if response.status().is_success() {
                    return Ok(Ok(response));
                }
                self.read(response, MAX_ERROR_BODY).await.map(Err)
            };
            match tried.await {
                Ok(opened) => return Ok(opened),
                Err(failed) => self.wait_for_next_try(call, failed, &mut tries).await?,
            }
        }
    }

    /// The error that another request of the same run has met, and this one would meet too.
    fn check_outage(&self, call: &Call<'_>) -> Result<()> {
        let outages = self.outages.lock();
        let verdict = outages.verdict(call.flow, Instant::now());
        verdict.map_or(Ok(()), |cause| Err(call.error(cause.clone())))
    }

    /// Waits until the next try may be made, or gives the error that there is none.
    async fn wait_for_next_try(
        &self,
        call: &Call<'_>,
        failed: Failed,
        tries: &mut Tries,
    ) -> Result<()> {
        let (mut cause, failure) = match failed {
            Failed::Final(cause) => return Err(call.error(cause).after(tries.made)),
            Failed::Unsent(cause) if cause.kind().is_hopeless() => {
                self.outages.lock().give_up(call.flow, Instant::now(), &cause);
                return Err(call.error(cause).after(tries.made));
            }
            Failed::Unsent(cause) => {
                let mut outages = self.outages.lock();
                tries.made = outages.unconnected(call.flow, Instant::now(), tries.made);
                if tries.made >= self.settings.policy.attempts {
                    outages.give_up(call.flow, Instant::now(), &cause);
                }
                (cause, Failure::Unsent)
            }
            Failed::Connection(cause) => (cause, Failure::Connection),
            Failed::Status(answer) => {
                let cause = call.refusal(&answer);
                let wait = self.heed(call, &answer, &cause);
                (cause, Failure::Status(answer.status, wait))
            }
        };
        let (policy, random) = (&self.settings.policy, (self.settings.jitter)());
        let is_final = cause.kind() == ErrorKind::NoSpace
            || call.error_is_final
                && matches!(failure, Failure::Status(StatusCode::INTERNAL_SERVER_ERROR, _));
        let decision = if is_final {
            None
        } else if call.operation.is_deletion() {
            policy.decide_deletion(tries.made, failure, tries.began.elapsed(), random)
        } else {
            policy.decide(tries.made, failure, random)
        };
        let Some(wait) = decision else {
            if let Failure::Status(_, Some(asked)) = failure {
                pause::mention(&mut cause, asked);
            }
            return Err(call.error(cause).after(tries.made));
        };
        tracing::debug!(step = call.operation.step(), what = %call.what, %cause, ?wait, tries = tries.made, "trying again");
        tokio::time::sleep(wait).await;
        self.metrics.retried();
        tries.made += 1;
        Ok(())
    }
}
