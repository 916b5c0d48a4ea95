//! The request pipeline: authentication, limits, redirects, retries, bounded reading.

use std::fmt;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http::{HeaderMap, Method, StatusCode, header};
use reqwest::{Client, RequestBuilder, Response};
use tokio::time::{Instant, timeout};
use tracing::Instrument;
use url::Url;

use super::Registry;
use super::answer::Answer;
use super::auth::{Authorization, Scope};
use super::failure;
use super::link;
use super::operation::Operation;
use super::window::Kind;
use crate::fair::{self, Flow};
use crate::http::retry::{self, Decision, Failure};
use crate::metrics::{NoAnswer, WindowKind};
use crate::oci::Digest;
use crate::repository::{BlobBody, Cause, Error, Reference, Result};
use crate::trace;

/// How much of an error's body is read.
const MAX_ERROR_BODY: usize = 64 << 10;
/// Redirects followed for one request.
const MAX_REDIRECTS: u32 = 5;
/// The longest time that a registry's wish not to be asked is kept without asking again.
const MAX_CLOSED: Duration = Duration::from_secs(3600);
/// Authorizations for one try. The authenticator bounds refusals by itself; but tokens that live
/// for a second can end on their way.
const MAX_AUTHORIZATIONS: u32 = 4;

/// What a request is about, for messages.
#[derive(Clone, Copy)]
pub(super) enum What<'a> {
    Name(&'a str),
    Manifest(&'a str, &'a Reference),
    Blob(&'a str, &'a Digest),
}

impl fmt::Display for What<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Manifest(name, reference) => write!(f, "{name}{}", reference.suffix()),
            Self::Blob(name, digest) => write!(f, "{name}@{digest}"),
        }
    }
}

/// One request, as often as it takes.
pub(super) struct Call<'a> {
    pub operation: Operation,
    pub what: What<'a>,
    pub method: Method,
    pub url: Url,
    pub scope: &'a Scope,
    /// Whose turn it takes.
    pub flow: Flow,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// At most so many bytes of a good answer's body are read.
    pub limit: usize,
    /// How long its answer may take, where that is more than the idle time-out.
    pub patience: Option<Duration>,
}

impl<'a> Call<'a> {
    pub fn new(
        operation: Operation,
        what: What<'a>,
        method: Method,
        url: Url,
        scope: &'a Scope,
        flow: Flow,
    ) -> Self {
        Self {
            operation,
            what,
            method,
            url,
            scope,
            flow,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            limit: MAX_ERROR_BODY,
            patience: None,
        }
    }

    pub fn header(mut self, name: header::HeaderName, value: header::HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    pub fn error(&self, cause: Cause) -> Error {
        Error::new(self.operation.step(), self.what.to_string(), cause)
    }

    /// The answer is a no.
    pub fn refused(&self, answer: &Answer) -> Error {
        self.error(answer.refusal(self.operation))
    }

    fn kind(&self) -> Kind {
        match self.method {
            Method::HEAD => Kind::Probe,
            Method::GET => Kind::Read,
            Method::POST | Method::DELETE => Kind::Start,
            _ => Kind::Write,
        }
    }
}

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

/// Why one try failed.
enum Failed {
    /// Another try cannot help.
    Final(Cause),
    /// There was no connection, so nothing was asked for.
    Unsent(Cause),
    Connection(Cause),
    /// An answer whose status may change.
    Status(Answer),
}

impl Registry {
    /// Sends a request until an answer comes that trying again cannot change. Such answers are
    /// given back whatever their status; only an exhausted registry or network is an error.
    pub(super) async fn call(&self, call: &Call<'_>) -> Result<Answer> {
        let mut tries = Tries::begin();
        loop {
            let answer = match self.exchange(call).await {
                Ok(response) => self.read(response, call.limit).await,
                Err(failed) => Err(failed),
            };
            match answer {
                Ok(answer) => return Ok(answer),
                Err(failed) => self.wait_for_next_try(call, failed, &mut tries).await?,
            }
        }
    }

    /// Like `call`, but a good answer's body is left to be read.
    pub(super) async fn open(
        &self,
        call: &Call<'_>,
    ) -> Result<std::result::Result<Response, Answer>> {
        let mut tries = Tries::begin();
        loop {
            let failed = match self.exchange(call).await {
                Ok(response) if response.status().is_success() => return Ok(Ok(response)),
                Ok(response) => match self.read(response, MAX_ERROR_BODY).await {
                    Ok(answer) => return Ok(Err(answer)),
                    Err(failed) => failed,
                },
                Err(failed) => failed,
            };
            self.wait_for_next_try(call, failed, &mut tries).await?;
        }
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
            Failed::Unsent(cause) => (cause, Failure::Unsent),
            Failed::Connection(cause) => (cause, Failure::Connection),
            Failed::Status(answer) => {
                let cause = answer.refusal(call.operation);
                let wait = self.wait_asked_for(&answer, &cause);
                (cause, Failure::Status(answer.status, wait))
            }
        };
        let jitter = (self.jitter)();
        let decision = if call.operation.is_deletion() {
            self.policy.decide_deletion(tries.made, failure, tries.began.elapsed(), jitter)
        } else {
            self.policy.decide(tries.made, failure, jitter)
        };
        match decision {
            Decision::GiveUp => {
                if let (Failure::Status(_, Some(wait)), Cause::Refused { message, .. }) =
                    (failure, &mut cause)
                {
                    add_wait(message, wait);
                }
                Err(call.error(cause).after(tries.made))
            }
            Decision::Again(wait) => {
                tracing::debug!(step = call.operation.step(), what = %call.what, %cause, ?wait, tries = tries.made, "trying again");
                tokio::time::sleep(wait).await;
                self.metrics.retried();
                tries.made += 1;
                Ok(())
            }
        }
    }

    /// Reads the wait that an answer asks for, and holds everybody else back as well.
    fn wait_asked_for(&self, answer: &Answer, cause: &Cause) -> Option<Duration> {
        let message = match cause {
            Cause::Refused { message, .. } => message.as_str(),
            _ => "",
        };
        let wait = retry::retry_after(&answer.headers, message, SystemTime::now());
        match wait {
            Some(wait) if wait <= self.policy.patience => self.limits.requests.pause(wait),
            Some(wait) if link::same_origin(&self.base, &answer.url) => {
                let until = Instant::now() + wait.min(MAX_CLOSED);
                self.limits.close(until, cause.clone());
            }
            _ => {}
        }
        wait
    }

    /// One try: headers of the final answer, after authentication and redirects.
    async fn exchange(&self, call: &Call<'_>) -> std::result::Result<Response, Failed> {
        let span = trace::request(&call.method, &self.host, call.url.path());
        let exchanged = self.exchange_within(call).instrument(span.clone()).await;
        match &exchanged {
            Ok(response) => trace::answered(&span, response.status()),
            Err(Failed::Status(answer)) => {
                trace::answered(&span, answer.status);
                trace::failed(&span, answer.status);
            }
            Err(Failed::Final(cause) | Failed::Unsent(cause) | Failed::Connection(cause)) => {
                trace::failed(&span, cause);
            }
        }
        exchanged
    }

    async fn exchange_within(&self, call: &Call<'_>) -> std::result::Result<Response, Failed> {
        for _ in 0..MAX_AUTHORIZATIONS {
            // The permit first: a token could expire while it is waited for.
            let permit = self.limits.requests.acquire(call.flow);
            let permit = fair::waiting(permit, || self.pulses.beat(call.flow)).await;
            if let Some(cause) = self.closed() {
                return Err(Failed::Final(cause));
            }
            let in_flight = self.metrics.begin(WindowKind::Requests);
            let (request, authorization) =
                self.request(call, &call.url).await.map_err(Failed::Final)?;
            let sent = Instant::now();
            let response = self.send(call, request.body(call.body.clone())).await?;
            let status = response.status();
            tracing::trace!(method = %call.method, path = call.url.path(), status = status.as_u16(), elapsed = ?sent.elapsed(), "answer");
            self.metrics.waited(&call.method, sent.elapsed());
            self.metrics.sent(call.body.len());
            self.note_quota(response.headers());
            match status {
                StatusCode::TOO_MANY_REQUESTS => permit.throttled(),
                StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT => permit.overloaded(),
                _ => permit.good(call.kind()),
            }
            drop(in_flight);
            self.metrics.window(WindowKind::Requests, self.limits.requests.window());
            if let Some(authorization) = authorization
                && self.is_worth_another(call, authorization, status, response.headers()).await?
            {
                continue;
            }
            if retry::is_transient(status) {
                return Err(Failed::Status(self.read(response, MAX_ERROR_BODY).await?));
            }
            if status.is_redirection() && matches!(call.method, Method::GET | Method::HEAD) {
                return self.follow(call, response).await;
            }
            return Ok(response);
        }
        Err(Failed::Final(Cause::Protocol(
            "the registry asks for authentication again and again".to_owned(),
        )))
    }

    /// Tells the authenticator what became of its authorization. `true`: with the next one, the
    /// request may be let in.
    async fn is_worth_another(
        &self,
        call: &Call<'_>,
        used: Authorization,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> std::result::Result<bool, Failed> {
        if status != StatusCode::UNAUTHORIZED {
            self.authenticator.accepted(used);
            return Ok(false);
        }
        let again = self.authenticator.unauthorized(call.scope, &used, headers).await;
        again.map_err(|error| Failed::Final(Cause::Credentials(error.to_string())))
    }

    /// A request without its body. Only the registry itself gets credentials, a client
    /// certificate and the trust that is configured for it, wherever its addresses may lead;
    /// storage elsewhere trusts the URL itself.
    async fn request(
        &self,
        call: &Call<'_>,
        url: &Url,
    ) -> std::result::Result<(RequestBuilder, Option<Authorization>), Cause> {
        let begin = |client: &Client| {
            client.request(call.method.clone(), url.clone()).headers(call.headers.clone())
        };
        if !link::same_origin(&self.base, url) {
            return Ok((begin(self.transport.foreign()?), None));
        }
        let mut request = begin(match call.what {
            What::Blob(..) => self.transport.blobs(),
            _ => self.transport.api(),
        });
        let authorization = self.authenticator.authorize(call.scope).await;
        let authorization = authorization.map_err(|error| Cause::Credentials(error.to_string()))?;
        if let Some(header) = authorization.header() {
            request = request.header(header::AUTHORIZATION, header.clone());
        }
        Ok((request, Some(authorization)))
    }

    /// Waits for the headers of the answer.
    async fn send(
        &self,
        call: &Call<'_>,
        request: RequestBuilder,
    ) -> std::result::Result<Response, Failed> {
        let patience = call.patience.unwrap_or(self.timeouts.idle);
        match timeout(patience, request.send()).await {
            Err(_) => Err(self.broke_off(Cause::TimedOut(patience))),
            Ok(Err(error)) => {
                let cause = failure::cause(&error);
                if error.is_connect() {
                    self.metrics.unanswered(no_answer(&cause));
                    return Err(Failed::Unsent(cause));
                }
                Err(self.broke_off(cause))
            }
            Ok(Ok(response)) => {
                self.metrics.answered(&call.method, response.status());
                if !retry::is_transient(response.status()) {
                    self.pulses.beat(call.flow);
                }
                Ok(response)
            }
        }
    }

    /// There was no answer, or not all of it.
    fn broke_off(&self, cause: Cause) -> Failed {
        self.metrics.unanswered(no_answer(&cause));
        Failed::Connection(cause)
    }

    /// Follows redirects.
    async fn follow(
        &self,
        call: &Call<'_>,
        mut response: Response,
    ) -> std::result::Result<Response, Failed> {
        let mut base = call.url.clone();
        for _ in 0..MAX_REDIRECTS {
            let address =
                response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
            let url =
                address.and_then(|address| link::resolve(&base, address)).ok_or_else(|| {
                    Failed::Final(Cause::Protocol(
                        "the registry redirects to an address that is not allowed".to_owned(),
                    ))
                })?;
            // What authorizes it was found good by the first request.
            let (request, _) = self.request(call, &url).await.map_err(Failed::Final)?;
            response = self.send(call, request).await?;
            if retry::is_transient(response.status()) {
                return Err(Failed::Status(self.read(response, MAX_ERROR_BODY).await?));
            }
            if !response.status().is_redirection() {
                return Ok(response);
            }
            base = url;
        }
        Err(Failed::Final(Cause::Protocol(format!(
            "the registry redirects more than {MAX_REDIRECTS} times"
        ))))
    }

    /// Reads a body to its end, at most `limit` bytes of it.
    async fn read(
        &self,
        mut response: Response,
        limit: usize,
    ) -> std::result::Result<Answer, Failed> {
        let (status, headers, url) =
            (response.status(), response.headers().clone(), response.url().clone());
        let mut body = BytesMut::new();
        loop {
            match timeout(self.timeouts.idle, response.chunk()).await {
                Err(_) => return Err(self.broke_off(Cause::TimedOut(self.timeouts.idle))),
                Ok(Err(error)) => {
                    return Err(self.broke_off(failure::cause(&error)));
                }
                Ok(Ok(None)) => break,
                Ok(Ok(Some(chunk))) => {
                    self.metrics.received(chunk.len());
                    if body.len() + chunk.len() > limit {
                        if status.is_success() {
                            return Err(Failed::Final(Cause::Protocol(format!(
                                "the answer is larger than {limit} bytes"
                            ))));
                        }
                        break; // Enough of an error's words.
                    }
                    body.extend_from_slice(&chunk);
                }
            }
        }
        Ok(Answer { status, headers, body: body.freeze(), url })
    }

    /// Sends a body that can be read only once, so there is one try. The wait ends when nothing
    /// moves for the idle time-out, or when the answer does not follow the last byte in time.
    pub(super) async fn send_body(&self, call: &Call<'_>, body: BlobBody) -> Result<Answer> {
        // Not a place in the window of all requests: that would be held for as long as the source
        // takes, and a source in the same registry needs places there to go on.
        let permit = self.limits.uploads.acquire(call.flow).await;
        self.limits.requests.turn(call.flow).await;
        if let Some(cause) = self.closed() {
            return Err(call.error(cause));
        }
        let in_flight = self.metrics.begin(WindowKind::Uploads);
        // Last, because a token could end while others upload.
        let (request, authorization) =
            self.request(call, &call.url).await.map_err(|cause| call.error(cause))?;
        let sent = Instant::now();
        let (body, progress) = super::body::streamed(body, self.metrics.clone());
        let answer = tokio::select! {
            sent = request.body(body).send() => match sent {
                Ok(response) => {
                    self.metrics.answered(&call.method, response.status());
                    self.read(response, MAX_ERROR_BODY).await
                }
                Err(error) => {
                    let cause = failure::cause(&error);
                    // That the source gave up is not this registry's failure.
                    Err(if failure::is_of_body(&error) { Failed::Connection(cause) } else { self.broke_off(cause) })
                }
            },
            waited = progress.stalled(self.timeouts) => Err(self.broke_off(Cause::TimedOut(waited))),
        };
        drop(in_flight);
        let answer = match answer {
            Ok(answer) | Err(Failed::Status(answer)) => answer,
            Err(Failed::Unsent(cause) | Failed::Connection(cause) | Failed::Final(cause)) => {
                return Err(call.error(cause));
            }
        };
        match answer.status {
            StatusCode::TOO_MANY_REQUESTS => {
                permit.overloaded();
                self.limits.requests.refused(sent);
            }
            StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => permit.overloaded(),
            _ => {
                permit.good(call.kind());
                self.limits.requests.taken(sent);
            }
        }
        self.metrics.window(WindowKind::Uploads, self.limits.uploads.window());
        if retry::is_transient(answer.status) {
            self.wait_asked_for(&answer, &answer.refusal(call.operation));
        }
        if let Some(authorization) = authorization {
            // The next try, by whoever can read the body again, gets a new token.
            let _ =
                self.is_worth_another(call, authorization, answer.status, &answer.headers).await;
        }
        Ok(answer)
    }

    /// A body as it comes, each chunk within the idle time-out.
    pub(super) fn chunks(
        &self,
        call: &Call<'_>,
        response: Response,
    ) -> futures_util::stream::BoxStream<'static, Result<Bytes>> {
        let (step, subject, idle) =
            (call.operation.step(), call.what.to_string(), self.timeouts.idle);
        let metrics = self.metrics.clone();
        let stream = futures_util::stream::unfold(Some(response), move |response| {
            let (subject, metrics) = (subject.clone(), metrics.clone());
            async move {
                let mut response = response?;
                let cause = match timeout(idle, response.chunk()).await {
                    Ok(Ok(Some(chunk))) => {
                        metrics.received(chunk.len());
                        return Some((Ok(chunk), Some(response)));
                    }
                    Ok(Ok(None)) => return None,
                    Ok(Err(error)) => failure::cause(&error),
                    Err(_) => Cause::TimedOut(idle),
                };
                metrics.unanswered(no_answer(&cause));
                Some((Err(Error::new(step, subject, cause)), None))
            }
        });
        stream.boxed()
    }

    /// Docker Hub's pull quota (`ratelimit-remaining: 76;w=21600`): said once when it runs low.
    fn note_quota(&self, headers: &HeaderMap) {
        let number = |name: &str| -> Option<u64> {
            headers.get(name)?.to_str().ok()?.split(';').next()?.trim().parse().ok()
        };
        let (Some(limit), Some(remaining)) =
            (number("ratelimit-limit"), number("ratelimit-remaining"))
        else {
            return;
        };
        self.metrics.quota(limit, remaining);
        if remaining.saturating_mul(10) < limit
            && !self.facts.quota_is_low.swap(true, std::sync::atomic::Ordering::Relaxed)
        {
            tracing::warn!(registry = %self.host, remaining, limit, "the pull quota is nearly used up");
        }
    }
}

/// Adds to a registry's words how long it wants to be left alone.
fn add_wait(message: &mut String, wait: Duration) {
    // Fractions of a second are of no use to people.
    let seconds = Duration::from_secs(wait.as_secs() + u64::from(wait.subsec_nanos() > 0));
    if !message.is_empty() {
        message.push_str("; ");
    }
    message.push_str(&format!("try again in {}", humantime::format_duration(seconds)));
}

fn no_answer(cause: &Cause) -> NoAnswer {
    match cause {
        Cause::TimedOut(_) => NoAnswer::TimedOut,
        _ => NoAnswer::Broken,
    }
}
