//! One exchange with a token server (distribution's token and OAuth2 specifications).
//!
//! The caller has judged the server by [`super::realm`]; the addresses of a suspect name are checked
//! here before anything is sent.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use futures_util::future::BoxFuture;
use http::HeaderValue;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Client, RequestBuilder, Response};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use url::form_urlencoded::Serializer;
use url::{Host, Url};

use super::clock::Clock;
use super::credential::{self, Credential, Login};
use super::error::AuthError;
use super::realm;
use crate::http::address::is_private;
use crate::http::retry::{self, Failure};
use crate::http::{Backoff, RetryPolicy, body};
use crate::redact;
use crate::registry::failure;
use crate::registry::transport::TokenClients;
use crate::repository::{Cause, ErrorKind};
use crate::text::shorten;

/// For a token, with all retries.
pub(super) const TIME_LIMIT: Duration = Duration::from_secs(30);

/// Far more than a token and what comes with it.
const BODY_LIMIT: usize = 1 << 20;

const POLICY: RetryPolicy = RetryPolicy {
    attempts: 3,
    backoff: Backoff::new(Duration::from_millis(500), Duration::from_secs(2)),
    patience: TIME_LIMIT,
};

/// The specification's default where the server does not say how long a token lives.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);

/// Longer lifetimes are not believed.
const MAX_LIFETIME: Duration = Duration::from_secs(24 * 3600);

const CLIENT_ID: &str = "tranship";

/// A token, and how long it lives.
pub(super) struct Token {
    pub secret: SecretString,
    /// When it was asked for: the server's own clock is not relied on.
    pub since: Instant,
    pub lifetime: Duration,
}

/// How a token is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exchange {
    /// As registries do: distribution's token and OAuth2 specifications.
    Token,
    /// As APIs with a login do: Docker Hub's `POST /v2/auth/token`.
    LogIn,
}

/// What is asked for.
pub(super) struct TokenRequest<'a> {
    pub realm: &'a Url,
    /// Where the registry is spoken to, if the realm's addresses must be compared with it.
    pub compare_with: Option<&'a Url>,
    pub service: Option<&'a str>,
    pub scopes: &'a [String],
    pub login: Option<&'a Login>,
    pub exchange: Exchange,
}

pub(super) struct TokenClient {
    clients: TokenClients,
    clock: Clock,
    /// Random numbers from 0 to 1 that spread retries.
    jitter: fn() -> f64,
    pub(super) lookup: Lookup,
    pub(super) time_limit: Duration,
    /// The server has shown that it only knows the POST form.
    post: AtomicBool,
}

impl TokenClient {
    /// The clients must not follow redirects.
    pub fn new(clients: TokenClients, clock: Clock, jitter: fn() -> f64) -> Self {
        let (lookup, time_limit) = (system_lookup(), TIME_LIMIT);
        Self { clients, clock, jitter, lookup, time_limit, post: AtomicBool::new(false) }
    }

    pub async fn fetch(&self, request: &TokenRequest<'_>) -> Result<Token, AuthError> {
        let fetch = async {
            self.check_addresses(request).await?;
            let client = self.clients.of(request.realm);
            let client = client.map_err(|cause| fails(request.realm, cause.to_string()))?;
            self.converse(&client, request).await
        };
        tokio::time::timeout(self.time_limit, fetch).await.unwrap_or_else(|_| {
            let seconds = self.time_limit.as_secs_f32();
            Err(fails(request.realm, format!("gave no token within {seconds} seconds")))
        })
    }

    /// A refresh token goes by POST, because it must not stand in an address. A password goes by
    /// GET, as docker does it and every server knows it; a server that answers 404 or 405 gets the
    /// POST form. After a 401 nothing else is tried: wrong passwords get an address banned.
    async fn converse(
        &self,
        client: &Client,
        request: &TokenRequest<'_>,
    ) -> Result<Token, AuthError> {
        let Some(Login { credential, .. }) = request.login else {
            return self.ask(request, || get(client, request, None)).await;
        };
        if request.exchange == Exchange::LogIn {
            return self.ask(request, || log_in(client, request, credential)).await;
        }
        if let Credential::Password { username, password } = credential
            && !self.post.load(Ordering::Relaxed)
        {
            let basic = credential::basic(username, password);
            match self.ask(request, || get(client, request, basic.as_ref())).await {
                Err(AuthError::Refused { status: 404 | 405, .. }) => {}
                answer => return answer,
            }
        }
        let token = self.ask(request, || post(client, request, credential)).await?;
        if matches!(credential, Credential::Password { .. }) {
            self.post.store(true, Ordering::Relaxed);
        }
        Ok(token)
    }

    /// Sends the request, repeatedly if need be, and reads the token from the answer.
    async fn ask(
        &self,
        request: &TokenRequest<'_>,
        build: impl Fn() -> RequestBuilder,
    ) -> Result<Token, AuthError> {
        let mut attempt = 1;
        loop {
            let since = (self.clock)();
            let (failure, problem) = match build().send().await {
                Ok(response) => {
                    let status = response.status();
                    if !(status.is_server_error() || retry::is_transient(status)) {
                        return understand(request, response, since).await;
                    }
                    let asked = retry::retry_after(response.headers(), SystemTime::now());
                    if let Some(wait) = asked.filter(|wait| *wait >= self.time_limit) {
                        let problem =
                            format!("wants to be asked again in {} seconds", wait.as_secs());
                        return Err(fails(request.realm, problem));
                    }
                    let words = words(&body::beginning(response, BODY_LIMIT).await);
                    let problem = format!("answered {status} {attempt} times{words}");
                    (Failure::Status(status, asked), fails(request.realm, problem))
                }
                Err(error) => {
                    let cause = failure::cause(&error);
                    if cause.kind().is_hopeless() {
                        return Err(unreached(request.realm, &cause, cause.to_string()));
                    }
                    let words = format!("tried {attempt} times: {cause}");
                    (Failure::Connection, unreached(request.realm, &cause, words))
                }
            };
            let wait = POLICY.decide(attempt, failure, (self.jitter)());
            let Some(wait) = wait else { return Err(problem) };
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
    }

    /// Refuses a realm whose name resolves to a private network that the registry is not in.
    ///
    /// The name may resolve to another address when the request is sent, but then the server there
    /// still needs a certificate for the name.
    async fn check_addresses(&self, request: &TokenRequest<'_>) -> Result<(), AuthError> {
        let Some(registry) = request.compare_with else { return Ok(()) };
        if self.leads_inside(request.realm).await && !self.leads_inside(registry).await {
            return Err(AuthError::Realm {
                registry: realm::origin(registry),
                realm: shown(request.realm),
                reason: "that name leads into a private network and the registry's does not",
                origin: realm::origin(request.realm),
            });
        }
        Ok(())
    }

    /// Whether any address of the host is private. A name that is unknown here may be known to a
    /// proxy, which then decides.
    async fn leads_inside(&self, url: &Url) -> bool {
        let addresses = match url.host() {
            None => return false,
            Some(Host::Ipv4(ip)) => vec![ip.into()],
            Some(Host::Ipv6(ip)) => vec![ip.into()],
            Some(Host::Domain(name)) => {
                (self.lookup)(name.to_owned(), url.port_or_known_default().unwrap_or(443)).await
            }
        };
        addresses.into_iter().any(is_private)
    }
}

/// The addresses of a host name, on a port; none where the name is unknown.
pub(super) type Lookup = Arc<dyn Fn(String, u16) -> BoxFuture<'static, Vec<IpAddr>> + Send + Sync>;

fn system_lookup() -> Lookup {
    Arc::new(|host, port| {
        Box::pin(async move {
            let addresses = tokio::net::lookup_host((host, port)).await;
            addresses.map(|found| found.map(|address| address.ip()).collect()).unwrap_or_default()
        })
    })
}

fn get(client: &Client, request: &TokenRequest<'_>, basic: Option<&HeaderValue>) -> RequestBuilder {
    let mut url = request.realm.clone();
    url.set_fragment(None);
    if request.service.is_some() || !request.scopes.is_empty() {
        let mut query = url.query_pairs_mut();
        query.extend_pairs(request.service.map(|service| ("service", service)));
        query.extend_pairs(request.scopes.iter().map(|scope| ("scope", scope)));
    }
    let builder = client.get(url).header(ACCEPT, "application/json");
    basic.into_iter().fold(builder, |builder, basic| builder.header(AUTHORIZATION, basic))
}

fn post(client: &Client, request: &TokenRequest<'_>, credential: &Credential) -> RequestBuilder {
    let mut form = Serializer::new(String::new());
    match credential {
        Credential::RefreshToken(token) => form
            .append_pair("grant_type", "refresh_token")
            .append_pair("refresh_token", token.expose_secret()),
        Credential::Password { username, password } => form
            .append_pair("grant_type", "password")
            .append_pair("username", username)
            .append_pair("password", password.expose_secret()),
    };
    form.append_pair("client_id", CLIENT_ID);
    form.extend_pairs(request.service.map(|service| ("service", service)));
    if !request.scopes.is_empty() {
        form.append_pair("scope", &request.scopes.join(" "));
    }
    client
        .post(request.realm.clone())
        .header(ACCEPT, "application/json")
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(form.finish())
}

fn log_in(client: &Client, request: &TokenRequest<'_>, credential: &Credential) -> RequestBuilder {
    let (identifier, secret) = match credential {
        Credential::Password { username, password } => (&**username, password),
        Credential::RefreshToken(secret) => ("", secret),
    };
    let body = json!({ "identifier": identifier, "secret": secret.expose_secret() });
    client
        .post(request.realm.clone())
        .header(ACCEPT, "application/json")
        .header(CONTENT_TYPE, "application/json")
        .body(body.to_string())
}

async fn understand(
    request: &TokenRequest<'_>,
    response: Response,
    since: Instant,
) -> Result<Token, AuthError> {
    let fails = |problem: String| fails(request.realm, problem);
    let status = response.status();
    let body = body::whole(response, BODY_LIMIT).await.map_err(|error| fails(error.to_string()))?;
    if status.is_redirection() {
        return Err(fails("redirects elsewhere, which is not followed".to_owned()));
    }
    if !status.is_success() {
        return Err(AuthError::Refused {
            server: realm::origin(request.realm),
            status: status.as_u16(),
            message: words(&body).trim_start_matches([':', ' ']).to_owned(),
            login: request.login.map(Login::to_string),
        });
    }
    token(&body, since).ok_or_else(|| {
        let is_page = body.trim_ascii_start().starts_with(b"<");
        let what = if is_page { "with a web page in place of a token" } else { "without a token" };
        fails(format!("answered {what}"))
    })
}

/// Reads a token answer. `expires_in` may be missing, or a text.
fn token(body: &[u8], since: Instant) -> Option<Token> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let text = |key: &str| answer.get(key)?.as_str().filter(|text| !text.is_empty());
    let secret = text("token").or_else(|| text("access_token"))?;
    // It becomes a header.
    HeaderValue::from_str(secret).ok()?;
    let seconds = answer.get("expires_in").and_then(|seconds| match seconds {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    });
    let lifetime = seconds.filter(|&seconds| seconds > 0).map(Duration::from_secs);
    let lifetime = lifetime.unwrap_or(DEFAULT_LIFETIME).min(MAX_LIFETIME);
    let secret = secret.into();
    redact::remember(&secret);
    Some(Token { secret, since, lifetime })
}

/// The server's own words: `: message`, or nothing.
fn words(body: &[u8]) -> String {
    let json: Option<Value> = serde_json::from_slice(body).ok();
    let words = match &json {
        Some(json) => {
            ["/errors/0/message", "/error_description", "/message", "/details", "/detail", "/error"]
                .iter()
                .find_map(|path| json.pointer(path)?.as_str())
                .unwrap_or_default()
                .to_owned()
        }
        None => String::from_utf8_lossy(body).into_owned(),
    };
    // A page for browsers says nothing here.
    if words.trim().is_empty() || words.contains("<html") || words.contains("<!DOCTYPE") {
        return String::new();
    }
    format!(": {}", shorten(&words, 300))
}

fn fails(realm: &Url, problem: String) -> AuthError {
    let kind = ErrorKind::Credentials;
    AuthError::TokenServer { server: realm::origin(realm), problem, kind }
}

fn unreached(realm: &Url, cause: &Cause, why: String) -> AuthError {
    let problem = format!("cannot be asked: {why}");
    AuthError::TokenServer { server: realm::origin(realm), problem, kind: cause.kind() }
}

/// A realm for people: without its query, which may be long.
pub(super) fn shown(realm: &Url) -> String {
    shorten(&format!("{}{}", realm::origin(realm), realm.path()), 200)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_as_servers_write_them() {
        let cases = [
            (
                r#"{"token":"a","expires_in":300,"issued_at":"1999-01-01T00:00:00Z"}"#,
                Some(("a", 300)),
            ),
            (r#"{"access_token":"b"}"#, Some(("b", 60))),
            (r#"{"token":"","access_token":"b","expires_in":"900"}"#, Some(("b", 900))),
            (r#"{"token":"a","expires_in":0}"#, Some(("a", 60))),
            (r#"{"token":"a","expires_in":-5}"#, Some(("a", 60))),
            (r#"{"token":"a","expires_in":99999999999}"#, Some(("a", 86_400))),
            (r#"{"token":"a\nb"}"#, None),
            (r#"{"token":5}"#, None),
            ("{}", None),
            ("token", None),
        ];
        for (body, expected) in cases {
            let token = token(body.as_bytes(), Instant::now());
            let read = token.as_ref().map(|t| (t.secret.expose_secret(), t.lifetime.as_secs()));
            assert_eq!(read, expected, "{body}");
        }
    }
}
