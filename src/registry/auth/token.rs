//! One conversation with a token server (distribution's token and OAuth2 specifications).
//!
//! The caller has judged the server by [`super::realm`]; here the addresses that a suspect name
//! leads to are looked at before anything is sent. The client must not follow redirects.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use reqwest::{Client, RequestBuilder, Response};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::form_urlencoded::Serializer;
use url::{Host, Url};

use super::credentials::Credential;
use super::error::AuthError;
use super::realm;
use super::{Clock, authenticator};
use crate::text::shorten;

/// For a token, with all retries.
pub(super) const TIME_LIMIT: Duration = Duration::from_secs(30);

/// Far more than a token and what comes with it.
const BODY_LIMIT: usize = 1 << 20;

/// Tries of one request in all.
const ATTEMPTS: u32 = 3;

/// The specification's default where the server does not say how long a token lives.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);

/// Longer lives are not believed.
const MAX_LIFETIME: Duration = Duration::from_secs(24 * 3600);

const CLIENT_ID: &str = "tranship";

/// A token, and when it has to be replaced.
pub(super) struct Token {
    pub secret: SecretString,
    /// When it was asked for: the server's own clock is not to be relied on.
    pub since: Instant,
    pub lifetime: Duration,
}

/// What is asked for.
pub(super) struct Request<'a> {
    pub realm: &'a Url,
    /// Where the registry is spoken to, if the realm's addresses must be compared with it.
    pub compare_with: Option<&'a Url>,
    pub service: Option<&'a str>,
    pub scopes: &'a [String],
    pub credential: Option<&'a Credential>,
}

pub(super) struct TokenClient {
    http: Client,
    clock: Clock,
    pub(super) lookup: Lookup,
    pub(super) time_limit: Duration,
    /// The server has no GET form, as was found out.
    post: AtomicBool,
}

impl TokenClient {
    pub fn new(http: Client, clock: Clock) -> Self {
        let (lookup, time_limit) = (system_lookup(), TIME_LIMIT);
        Self { http, clock, lookup, time_limit, post: AtomicBool::new(false) }
    }

    pub async fn fetch(&self, request: &Request<'_>) -> Result<Token, AuthError> {
        let fetch = async {
            self.look_at_addresses(request).await?;
            self.converse(request).await
        };
        tokio::time::timeout(self.time_limit, fetch).await.unwrap_or_else(|_| {
            let seconds = self.time_limit.as_secs_f32();
            Err(fails(request.realm, format!("gave no token within {seconds} seconds")))
        })
    }

    /// With a refresh token the POST form: it must not stand in an address. With a password the
    /// GET form, as docker does: every server knows it; one that answers 404 or 405 gets the POST
    /// form. On 401 nothing else is tried: wrong passwords get an address banned.
    async fn converse(&self, request: &Request<'_>) -> Result<Token, AuthError> {
        let Some(credential) = request.credential else {
            return self.answer(request, || self.get(request, None)).await;
        };
        let form = || self.post(request, credential);
        let Credential::Password { username, password } = credential else {
            return self.answer(request, form).await;
        };
        if !self.post.load(Ordering::Relaxed) {
            let basic = authenticator::basic(username, password);
            let answer = self.answer(request, || self.get(request, basic.as_ref())).await;
            match answer {
                Err(AuthError::Refused { status: 404 | 405, .. }) => {}
                answer => return answer,
            }
        }
        let token = self.answer(request, form).await?;
        self.post.store(true, Ordering::Relaxed);
        Ok(token)
    }

    fn get(&self, request: &Request<'_>, basic: Option<&HeaderValue>) -> RequestBuilder {
        let mut url = request.realm.clone();
        url.set_fragment(None);
        if request.service.is_some() || !request.scopes.is_empty() {
            let mut query = url.query_pairs_mut();
            query.extend_pairs(request.service.map(|service| ("service", service)));
            query.extend_pairs(request.scopes.iter().map(|scope| ("scope", scope)));
        }
        let builder = self.http.get(url).header(ACCEPT, "application/json");
        basic.into_iter().fold(builder, |builder, basic| builder.header(AUTHORIZATION, basic))
    }

    fn post(&self, request: &Request<'_>, credential: &Credential) -> RequestBuilder {
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
        self.http
            .post(request.realm.clone())
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form.finish())
    }

    /// Sends the request, some times if need be, and reads the token from the answer.
    async fn answer(
        &self,
        request: &Request<'_>,
        build: impl Fn() -> RequestBuilder,
    ) -> Result<Token, AuthError> {
        let mut attempt = 1;
        loop {
            let since = (self.clock)();
            let outcome = build().send().await;
            let headers = outcome.as_ref().map(|response| response.headers().clone());
            let passing = outcome.as_ref().map_or(true, |response| is_passing(response.status()));
            match outcome {
                Ok(response) if !passing => return understand(request, response, since).await,
                Ok(response) if attempt == ATTEMPTS => {
                    let status = response.status();
                    let words = words(request, &body(request, response).await.unwrap_or_default());
                    let problem = format!("answered {status} {attempt} times{words}");
                    return Err(fails(request.realm, problem));
                }
                Err(error) if attempt == ATTEMPTS => {
                    let reason = innermost(&error);
                    let problem = format!("cannot be asked, tried {attempt} times: {reason}");
                    return Err(fails(request.realm, problem));
                }
                _ => {}
            }
            let wait = delay(attempt, headers.ok().as_ref().and_then(retry_after));
            if wait >= self.time_limit {
                let problem = format!("wants to be asked again in {} seconds", wait.as_secs());
                return Err(fails(request.realm, problem));
            }
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
    }

    /// Refuses a realm whose name leads into a private network that the registry is not in.
    ///
    /// What a name leads to may change until the request is sent, but https names are proven by
    /// certificates: whoever can turn a name over has none for a server that is not theirs.
    async fn look_at_addresses(&self, request: &Request<'_>) -> Result<(), AuthError> {
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

    /// Whether any address of the host is private. A name that is unknown here leads nowhere; it
    /// may still be known to a proxy, which then decides.
    async fn leads_inside(&self, url: &Url) -> bool {
        let addresses = match url.host() {
            None => return false,
            Some(Host::Ipv4(ip)) => vec![ip.into()],
            Some(Host::Ipv6(ip)) => vec![ip.into()],
            Some(Host::Domain(name)) => {
                (self.lookup)(name.to_owned(), url.port_or_known_default().unwrap_or(443)).await
            }
        };
        addresses.into_iter().any(realm::is_private)
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

/// How long to wait before the next try: what the server says, else 0.2, 0.4, … seconds.
fn delay(attempt: u32, retry_after: Option<Duration>) -> Duration {
    retry_after.unwrap_or(Duration::from_millis(100 << attempt.min(8)))
}

fn is_passing(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error()
}

/// `Retry-After` in seconds. A date is left to the usual delay: tokens are asked for within
/// seconds or not at all.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

async fn understand(
    request: &Request<'_>,
    response: Response,
    since: Instant,
) -> Result<Token, AuthError> {
    let status = response.status();
    let body = body(request, response).await?;
    if status.is_redirection() {
        return Err(fails(request.realm, "redirects elsewhere, which is not followed".to_owned()));
    }
    if !status.is_success() {
        return Err(AuthError::Refused {
            server: realm::origin(request.realm),
            status: status.as_u16(),
            message: words(request, &body).trim_start_matches([':', ' ']).to_owned(),
            anonymous: request.credential.is_none(),
        });
    }
    token(&body, since).ok_or_else(|| fails(request.realm, "answered without a token".to_owned()))
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
    Some(Token { secret: secret.into(), since, lifetime })
}

async fn body(request: &Request<'_>, mut response: Response) -> Result<Vec<u8>, AuthError> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > BODY_LIMIT => {
                return Err(fails(request.realm, format!("answered more than {BODY_LIMIT} bytes")));
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body),
            Err(error) => {
                let problem = format!("broke off its answer: {}", innermost(&error));
                return Err(fails(request.realm, problem));
            }
        }
    }
}

/// The server's own words: `: message`, or nothing. It could repeat what it was sent.
fn words(request: &Request<'_>, body: &[u8]) -> String {
    let json: Option<Value> = serde_json::from_slice(body).ok();
    let words = match &json {
        Some(json) => ["/errors/0/message", "/error_description", "/message", "/details", "/error"]
            .iter()
            .find_map(|path| json.pointer(path)?.as_str())
            .unwrap_or_default()
            .to_owned(),
        None => String::from_utf8_lossy(body).into_owned(),
    };
    let secret = match request.credential {
        Some(Credential::Password { password: secret, .. } | Credential::RefreshToken(secret)) => {
            secret.expose_secret()
        }
        None => "",
    };
    let words = if secret.is_empty() { words } else { words.replace(secret, "[REDACTED]") };
    // A page for browsers says nothing here.
    if words.trim().is_empty() || words.contains("<html") || words.contains("<!DOCTYPE") {
        return String::new();
    }
    format!(": {}", shorten(&words, 300))
}

fn fails(realm: &Url, problem: String) -> AuthError {
    AuthError::TokenServer { server: realm::origin(realm), problem }
}

/// A realm for people: without its query, which may be long.
pub(super) fn shown(realm: &Url) -> String {
    shorten(&format!("{}{}", realm::origin(realm), realm.path()), 200)
}

/// The last cause of an error: reqwest's own words repeat the address, which may hold secrets.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    if std::ptr::addr_eq(cause, error) { "it gave no answer".to_owned() } else { cause.to_string() }
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

    #[test]
    fn delays_grow_unless_the_server_says_otherwise() {
        assert_eq!(delay(1, None), Duration::from_millis(200));
        assert_eq!(delay(2, None), Duration::from_millis(400));
        assert_eq!(delay(1, Some(Duration::from_secs(7))), Duration::from_secs(7));
        let headers = |value: &str| HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]);
        assert_eq!(retry_after(&headers("7")), Some(Duration::from_secs(7)));
        assert_eq!(retry_after(&headers("soon")), None);
    }
}
