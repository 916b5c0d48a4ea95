//! One try of a request, until the headers of its answer: turn, permit, authorization, sending,
//! redirects.

use http::{HeaderMap, Method, StatusCode, header};
use reqwest::{Client, RequestBuilder, Response};
use tokio::time::{Instant, timeout};
use tracing::Instrument;
use url::Url;

use super::{Failed, Origin, Try};
use crate::fair;
use crate::http::retry;
use crate::metrics::WindowKind;
use crate::registry::answer::SentLogin;
use crate::registry::auth::{AuthError, Authorization};
use crate::registry::call::{Call, MAX_ERROR_BODY, What};
use crate::registry::limiter::Permit;
use crate::registry::reach::Network;
use crate::registry::{failure, link};
use crate::repository::Cause;
use crate::trace;

/// Authorizations for one try. The authenticator bounds refusals by itself; but tokens that live
/// for a second can end on their way.
const MAX_AUTHORIZATIONS: u32 = 4;

/// Marks the answer at the end of a chain of redirects that had left the registry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Strayed;

/// The login that a refused request carried; `None`: it carried none.
#[derive(Debug, Clone)]
pub(super) struct Shown(pub Option<SentLogin>);

/// A request that could have a body says that it has none (RFC 9110 §8.6). Otherwise front ends
/// answer 411.
pub(super) fn with_empty_body(request: RequestBuilder, method: &Method) -> RequestBuilder {
    match *method {
        Method::POST | Method::PUT | Method::PATCH => request.header(header::CONTENT_LENGTH, 0),
        _ => request,
    }
}

pub(in crate::registry) fn redirect_refused() -> Cause {
    Cause::Protocol("the registry redirects to an address that is not allowed".to_owned())
}

pub(in crate::registry) fn too_many_redirects() -> Cause {
    Cause::Protocol(format!("the registry redirects more than {} times", link::MAX_REDIRECTS))
}

fn credentials(error: &AuthError) -> Failed {
    Failed::Final(error.cause())
}

fn begin(client: &Client, call: &Call<'_>, url: &Url) -> RequestBuilder {
    client.request(call.method.clone(), url.clone()).headers(call.headers.clone())
}

impl Origin {
    /// The headers of the final answer, after authentication and redirects.
    pub(super) async fn exchange(&self, call: &Call<'_>) -> Try<Response> {
        let span = trace::request(&call.method, &self.host, call.url.path());
        let exchanged = self.authorized(call).instrument(span.clone()).await;
        match &exchanged {
            Ok(response) => trace::answered(&span, response.status().as_u16()),
            Err(Failed::Status(answer)) => {
                trace::answered(&span, answer.status.as_u16());
                trace::failed(&span, answer.status);
            }
            Err(Failed::Final(cause) | Failed::Unsent(cause) | Failed::Connection(cause)) => {
                trace::failed(&span, cause);
            }
        }
        exchanged
    }

    /// Sends the request until its authorization is accepted or finally refused.
    async fn authorized(&self, call: &Call<'_>) -> Try<Response> {
        for _ in 0..MAX_AUTHORIZATIONS {
            let (mut response, authorization) = self.in_turn(call).await?;
            let status = response.status();
            if let Some(authorization) = authorization {
                let carried = authorization.header().is_some();
                let by_token = authorization.is_token();
                if self.is_worth_another(call, authorization, status, response.headers()).await? {
                    continue;
                }
                if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
                    let login = self.authenticator.login(call.scope).await.filter(|_| carried);
                    let login = login.map(|login| SentLogin { login, by_token });
                    response.extensions_mut().insert(Shown(login));
                }
            }
            if retry::is_transient(status) {
                return Err(Failed::Status(self.read(response, MAX_ERROR_BODY).await?));
            }
            if link::is_redirect(&call.method, status) {
                return self.follow(call, response).await;
            }
            return Ok(response);
        }
        Err(Failed::Final(Cause::Protocol(
            "the registry asks for authentication again and again".to_owned(),
        )))
    }

    /// Sends the request once, when it is its turn, and tells the limits what came of it.
    async fn in_turn(&self, call: &Call<'_>) -> Try<(Response, Option<Authorization>)> {
        // The permit first: a token could end while it is waited for.
        let permit = fair::waiting(self.permit(call), || self.settings.pulses.beat(call.flow));
        let permit = permit.await.map_err(Failed::Final)?;
        let _in_flight = self.metrics.begin(WindowKind::Requests);
        let (request, authorization) =
            self.prepare(call, &call.url).await.map_err(Failed::Final)?;
        let sent = Instant::now();
        let response = self.send(call, request).await?;
        let status = response.status();
        tracing::trace!(method = %call.method, path = call.url.path(), status = status.as_u16(), elapsed = ?sent.elapsed(), "answer");
        self.metrics.waited(&call.method, sent.elapsed());
        self.note_answered(call, status, sent);
        self.note_quota(response.headers());
        match status {
            StatusCode::TOO_MANY_REQUESTS => permit.throttled(),
            StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => permit.overloaded(),
            _ => permit.good(call.latency_class()),
        }
        self.metrics.window(WindowKind::Requests, self.settings.limits.requests.window());
        Ok((response, authorization))
    }

    /// The right to send the request now.
    async fn permit(&self, call: &Call<'_>) -> Result<Permit<'_>, Cause> {
        loop {
            // Without a permit, which others need meanwhile.
            self.until_let_in(call).await?;
            let permit = self.settings.limits.requests.acquire(call.flow).await;
            if self.held(call).is_none() {
                return Ok(permit);
            }
        }
    }

    /// Tells the authenticator what became of its authorization. `true`: with the next one, the
    /// request may be let in.
    pub(super) async fn is_worth_another(
        &self,
        call: &Call<'_>,
        used: Authorization,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Try<bool> {
        if status != StatusCode::UNAUTHORIZED {
            let hides = matches!(status, StatusCode::FORBIDDEN | StatusCode::NOT_FOUND)
                && self
                    .authenticator
                    .is_hidden(call.scope, &used)
                    .await
                    .map_err(|error| credentials(&error))?;
            if !hides {
                self.authenticator.accepted(used);
            }
            return Ok(hides);
        }
        self.authenticator
            .unauthorized(call.scope, &used, headers)
            .await
            .map_err(|error| credentials(&error))
    }

    /// A request without its body. Only the registry itself gets credentials, a client
    /// certificate and the trust that is configured for it, wherever its addresses may lead;
    /// storage elsewhere trusts the URL itself.
    pub(super) async fn prepare(
        &self,
        call: &Call<'_>,
        url: &Url,
    ) -> Result<(RequestBuilder, Option<Authorization>), Cause> {
        if !link::same_origin(&self.base, url) {
            return Ok((begin(self.foreign(self.network(), url)?, call, url), None));
        }
        let client = match call.what {
            What::Blob(..) => self.transport.blobs(),
            _ => self.transport.api(),
        };
        let mut request = begin(client, call, url);
        let authorization = self.authenticator.authorize(call.scope).await;
        let authorization = authorization.map_err(|error| error.cause())?;
        if let Some(header) = authorization.header() {
            request = request.header(header::AUTHORIZATION, header.clone());
        }
        Ok((request, Some(authorization)))
    }

    /// The headers of the answer that `response`, which is a redirect, leads to.
    async fn follow(&self, call: &Call<'_>, mut response: Response) -> Try<Response> {
        let mut base = call.url.clone();
        // Another host could choose which address of the registry is asked with its credentials.
        let mut has_left = !link::same_origin(&self.base, &base);
        let mut from = self.network();
        for _ in 0..link::MAX_REDIRECTS {
            if has_left && self.network_of(&response) == Network::Public {
                from = Network::Public;
            }
            let address =
                response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
            let url = address.and_then(|address| link::resolve(&base, address));
            let url = url.ok_or_else(|| Failed::Final(redirect_refused()))?;
            has_left |= !link::same_origin(&self.base, &url);
            let request = if has_left {
                begin(self.foreign(from, &url).map_err(Failed::Final)?, call, &url)
            } else {
                // Whatever authorizes it was accepted with the first request.
                self.prepare(call, &url).await.map_err(Failed::Final)?.0
            };
            response = self.send(call, request).await?;
            if has_left {
                response.extensions_mut().insert(Strayed);
            }
            if retry::is_transient(response.status()) {
                return Err(Failed::Status(self.read(response, MAX_ERROR_BODY).await?));
            }
            if !link::is_redirect(&call.method, response.status()) {
                return Ok(response);
            }
            base = url;
        }
        Err(Failed::Final(too_many_redirects()))
    }

    /// Sends a request with the body of the call, and waits for the headers of the answer.
    async fn send(&self, call: &Call<'_>, request: RequestBuilder) -> Try<Response> {
        let request = match call.body.len() {
            0 => with_empty_body(request, &call.method),
            _ => request.body(call.body.clone()),
        };
        let patience = call.patience.unwrap_or(self.settings.timeouts.idle);
        match timeout(patience, request.send()).await {
            Err(_) => Err(self.broke_off(Cause::TimedOut(patience))),
            Ok(Err(error)) => {
                let is_own = error.url().is_some_and(|url| link::same_origin(&self.base, url));
                let failed = self.broke_off(failure::cause(&error));
                Err(match failed {
                    Failed::Connection(cause @ Cause::Protocol(_)) => Failed::Final(cause),
                    Failed::Connection(cause) if error.is_connect() && is_own => {
                        Failed::Unsent(cause)
                    }
                    // What is wrong elsewhere is not the registry's own outage.
                    Failed::Connection(cause) if cause.kind().is_hopeless() => Failed::Final(cause),
                    failed => failed,
                })
            }
            Ok(Ok(response)) if response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                let proxy = failure::unwelcome(response.url());
                Err(Failed::Final(proxy))
            }
            Ok(Ok(response)) => {
                self.metrics.answered(&call.method, response.status());
                self.metrics.sent(call.body.len());
                self.note_network(&response);
                if link::same_origin(&self.base, response.url()) {
                    self.outages.lock().answered();
                }
                if !retry::is_transient(response.status()) {
                    self.settings.pulses.progress(call.flow);
                    self.settings.limits.activity.progress(call.traffic());
                }
                Ok(response)
            }
        }
    }
}
