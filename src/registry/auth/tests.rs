//! The authenticator against a token server, by what crosses the wire.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use url::form_urlencoded;

use super::clock::ManualClock;
use super::credential::password;
use super::*;
use crate::metrics::Metrics;
use crate::registry::transport::TokenClients;
use crate::secret::Environment;
use crate::secret::testing::{Scripts, environment};

/// A request as the server saw it.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    method: String,
    path: String,
    /// Of the query or the form, in their order.
    parameters: Vec<(String, String)>,
    authorization: Option<String>,
}

impl Seen {
    fn all(&self, name: &str) -> Vec<&str> {
        self.parameters.iter().filter(|(key, _)| key == name).map(|(_, v)| v.as_str()).collect()
    }
}

/// An HTTP server that answers by a function and keeps what it saw. It stops when dropped.
struct Server {
    origin: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// `answer` gets the request and how many came before it.
    async fn start(answer: impl Fn(&Seen, usize) -> Response + Send + Sync + 'static) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (kept, answer) = (seen.clone(), Arc::new(answer));
        let app = Router::new().fallback(move |request: Request| {
            let (kept, answer) = (kept.clone(), answer.clone());
            async move {
                let (parts, body) = request.into_parts();
                let body = to_bytes(body, 1 << 16).await.unwrap();
                let query = parts.uri.query().unwrap_or_default().as_bytes();
                let pairs = form_urlencoded::parse(query).chain(form_urlencoded::parse(&body));
                let authorization = parts.headers.get(AUTHORIZATION);
                let seen = Seen {
                    method: parts.method.to_string(),
                    path: parts.uri.path().to_owned(),
                    parameters: pairs.map(|(k, v)| (k.into_owned(), v.into_owned())).collect(),
                    authorization: authorization.map(|v| v.to_str().unwrap().to_owned()),
                };
                let before = kept.lock().len();
                kept.lock().push(seen.clone());
                answer(&seen, before)
            }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { origin, seen, task }
    }

    /// Tokens `t0`, `t1`, … that live for so many seconds.
    async fn tokens(seconds: u64) -> Self {
        Self::start(move |_, before| token(&format!("t{before}"), seconds)).await
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }

    fn count(&self) -> usize {
        self.seen.lock().len()
    }

    /// The challenge of a registry that uses this token server.
    fn challenge(&self, scope: &str) -> HeaderMap {
        headers(&format!(r#"Bearer realm="{}/token",service="s",scope="{scope}""#, self.origin))
    }
}

fn token(token: &str, seconds: u64) -> Response {
    format!(r#"{{"token":"{token}","expires_in":{seconds}}}"#).into_response()
}

fn refuse(status: u16, message: &str) -> Response {
    let body = format!(r#"{{"errors":[{{"code":"DENIED","message":"{message}"}}]}}"#);
    (StatusCode::from_u16(status).unwrap(), body).into_response()
}

fn headers(challenge: &str) -> HeaderMap {
    HeaderMap::from_iter([(WWW_AUTHENTICATE, challenge.parse().unwrap())])
}

fn client() -> reqwest::Client {
    let builder = crate::http::client::builder().no_proxy();
    builder.connect_timeout(Duration::from_secs(5)).build().unwrap()
}

/// An authenticator for a registry at `base`, with the auth file's entry for `127.0.0.1:5000`.
fn authenticator(base: &str, entry: Option<&str>, clock: &ManualClock) -> Authenticator {
    let file = tempfile::NamedTempFile::new().unwrap();
    let entry = entry.unwrap_or("null");
    std::fs::write(&file, format!(r#"{{"auths":{{"127.0.0.1:5000":{entry}}}}}"#)).unwrap();
    // The file lives as long as the environment that names it.
    let here = Environment::new(move |name| {
        (name == "REGISTRY_AUTH_FILE").then(|| file.path().as_os_str().to_owned())
    });
    let store = CredentialStore::new([], here, clock.clock());
    with_store(base, store, clock)
}

fn with_store(base: &str, store: CredentialStore, clock: &ManualClock) -> Authenticator {
    let registry = "127.0.0.1:5000".parse().unwrap();
    let parts = Parts {
        authentication: Authentication::Negotiated,
        base: base.parse().unwrap(),
        credentials: Arc::new(store),
        client: client(),
        allowed_realms: Vec::new(),
        clock: clock.clock(),
        jitter: || 0.5,
        metrics: Metrics::new().registry(&registry),
        registry,
    };
    Authenticator::new(parts, TokenClients::single(client()))
}

const REGISTRY: &str = "http://127.0.0.1:5000";
const LOGIN: &str = r#"{"username":"user","password":"s3cret"}"#;

fn pull(name: &str) -> Scope {
    Scope::pull(name.parse().unwrap())
}

fn push(name: &str) -> Scope {
    Scope::push(name.parse().unwrap())
}

fn header(authorization: &Authorization) -> Option<&str> {
    authorization.header().map(|value| value.to_str().unwrap())
}

/// Lets the authenticator probe and hear this challenge.
async fn teach(auth: &Authenticator, scope: &Scope, challenge: &HeaderMap) -> bool {
    let probe = auth.authorize(scope).await.unwrap();
    assert_eq!(header(&probe), None);
    auth.unauthorized(scope, &probe, challenge).await.unwrap()
}

/// An authenticator that has heard this challenge to a pull of `a`.
async fn taught(entry: Option<&str>, challenge: &HeaderMap) -> Authenticator {
    let auth = authenticator(REGISTRY, entry, &ManualClock::new());
    assert!(teach(&auth, &pull("a"), challenge).await);
    auth
}

/// Requests are made in tasks of their own.
#[test]
fn everything_can_go_to_another_thread() {
    fn sends<T: Send>(_: T) {}
    let auth = authenticator(REGISTRY, None, &ManualClock::new());
    let used = |used: &Authorization| sends(auth.unauthorized(&pull("a"), used, &HeaderMap::new()));
    sends(used);
    sends(auth.authorize(&pull("a")));
}

async fn wait_until(what: impl Fn() -> bool) {
    let met = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), met).await.unwrap();
}

#[tokio::test]
async fn twenty_at_once_cost_one_token_for_each_repository() {
    let server = Server::tokens(300).await;
    let clock = ManualClock::new();
    let auth = authenticator(REGISTRY, Some(LOGIN), &clock);
    assert!(teach(&auth, &pull("a"), &server.challenge("repository:a:pull")).await);
    let scopes: Vec<Scope> = (0..40).map(|n| pull(if n % 2 == 0 { "a" } else { "b" })).collect();
    for authorized in join_all(scopes.iter().map(|scope| auth.authorize(scope))).await {
        assert!(header(&authorized.unwrap()).unwrap().starts_with("Bearer t"));
    }
    let mut seen = server.seen();
    seen.sort_by_key(|request| request.parameters.clone());
    let expected = |scope: &str| Seen {
        method: "GET".into(),
        path: "/token".into(),
        parameters: vec![("service".into(), "s".into()), ("scope".into(), scope.into())],
        authorization: Some(format!("Basic {}", STANDARD.encode("user:s3cret"))),
    };
    assert_eq!(seen, [expected("repository:a:pull"), expected("repository:b:pull")]);
}

#[tokio::test]
async fn one_probes_and_the_others_wait_for_what_it_learns() {
    let server = Server::tokens(300).await;
    let clock = ManualClock::new();
    let auth = Arc::new(authenticator(REGISTRY, None, &clock));
    let probe = auth.authorize(&pull("a")).await.unwrap();
    let waiting: Vec<_> = (0..30)
        .map(|n| {
            let auth = auth.clone();
            tokio::spawn(async move { auth.authorize(&pull(&format!("r{n}"))).await.unwrap() })
        })
        .collect();
    tokio::task::yield_now().await;
    assert!(waiting.iter().all(|task| !task.is_finished()));
    let challenge = server.challenge("repository:a:pull");
    assert!(auth.unauthorized(&pull("a"), &probe, &challenge).await.unwrap());
    // `probe` lives on: showing it has opened the gate.
    let all = tokio::time::timeout(Duration::from_secs(10), join_all(waiting)).await.unwrap();
    for authorized in all {
        assert!(header(&authorized.unwrap()).is_some());
    }
    assert_eq!(server.count(), 30);
    drop(probe);
}

#[tokio::test]
async fn a_probe_without_outcome_lets_the_next_one_probe() {
    let clock = ManualClock::new();
    let auth = Arc::new(authenticator(REGISTRY, None, &clock));
    let first = auth.authorize(&pull("a")).await.unwrap();
    let other = auth.clone();
    let second = tokio::spawn(async move { other.authorize(&pull("b")).await.unwrap() });
    tokio::task::yield_now().await;
    assert!(!second.is_finished());
    drop(first);
    let second = tokio::time::timeout(Duration::from_secs(10), second).await.unwrap().unwrap();
    assert_eq!(format!("{second:?}"), "Authorization(none, probing)");
    // A registry that asks for nothing costs nothing.
    auth.accepted(second);
    let third = auth.authorize(&pull("c")).await.unwrap();
    assert_eq!(format!("{third:?}"), "Authorization(none)");
    // An answer 401 without a challenge, from a base that is not there, teaches nothing.
    let auth = authenticator("http://127.0.0.1:1", None, &clock);
    assert!(!teach(&auth, &pull("a"), &HeaderMap::new()).await);
    assert!(!teach(&auth, &pull("a"), &HeaderMap::new()).await);
}

#[tokio::test]
async fn a_401_without_challenge_is_explained_by_the_base() {
    let server = Server::start(|seen, _| match seen.path.as_str() {
        "/v2/" => {
            let challenge = headers(r#"Bearer realm="/v2/token",service="gcr.io""#);
            (StatusCode::UNAUTHORIZED, challenge).into_response()
        }
        _ => token("t", 60),
    })
    .await;
    let auth = authenticator(&server.origin, None, &ManualClock::new());
    assert!(teach(&auth, &pull("a"), &HeaderMap::new()).await);
    assert_eq!(header(&auth.authorize(&pull("a")).await.unwrap()), Some("Bearer t"));
    let paths: Vec<_> = server.seen().into_iter().map(|seen| seen.path).collect();
    assert_eq!(paths, ["/v2/", "/v2/token"]);
}

#[tokio::test]
async fn tokens_are_replaced_before_they_expire() {
    // Without `expires_in`: 60 seconds.
    let server =
        Server::start(|_, before| format!(r#"{{"token":"t{before}"}}"#).into_response()).await;
    let clock = ManualClock::new();
    let auth = authenticator(REGISTRY, None, &clock);
    let scope = push("a");
    assert!(teach(&auth, &scope, &server.challenge("repository:a:pull,push")).await);
    for (later, expected) in [(0, "t0"), (47, "t0"), (2, "t1"), (47, "t1"), (600, "t2")] {
        clock.advance(Duration::from_secs(later));
        let authorized = auth.authorize(&scope).await.unwrap();
        assert_eq!(header(&authorized), Some(format!("Bearer {expected}").as_str()));
        auth.accepted(authorized);
    }
}

#[tokio::test]
async fn a_token_to_push_serves_to_pull() {
    let server = Server::tokens(300).await;
    let auth = authenticator(REGISTRY, None, &ManualClock::new());
    assert!(teach(&auth, &push("a"), &server.challenge("")).await);
    let for_push = auth.authorize(&push("a")).await.unwrap();
    let for_pull = auth.authorize(&pull("a")).await.unwrap();
    assert_eq!(header(&for_push), header(&for_pull));
    auth.authorize(&pull("b")).await.unwrap();
    auth.authorize(&push("a").mounting_from("b".parse().unwrap())).await.unwrap();
    let scopes: Vec<_> = server.seen().iter().map(|seen| seen.all("scope").join(" ")).collect();
    let expected =
        ["repository:a:pull,push", "repository:b:pull", "repository:a:pull,push repository:b:pull"];
    assert_eq!(scopes, expected);
    // A server that gave less than was asked for: then one for pulling alone.
    let refused = auth.unauthorized(&pull("a"), &for_pull, &server.challenge("")).await.unwrap();
    assert!(refused);
    assert_eq!(header(&auth.authorize(&pull("a")).await.unwrap()), Some("Bearer t3"));
}

/// Token servers give the intersection of what is asked and what is granted, with 200.
#[tokio::test]
async fn a_refused_token_is_replaced_once() {
    let server = Server::tokens(300).await;
    let auth = authenticator(REGISTRY, Some(LOGIN), &ManualClock::new());
    let challenge = server.challenge("repository:a:pull,push");
    let scope = push("a");
    assert!(teach(&auth, &scope, &challenge).await);
    let first = auth.authorize(&scope).await.unwrap();
    let same = auth.authorize(&scope).await.unwrap();
    assert!(auth.unauthorized(&scope, &first, &challenge).await.unwrap());
    let second = auth.authorize(&scope).await.unwrap();
    assert_eq!(header(&second), Some("Bearer t1"));
    // Another request that carried the first one only needs to take the second.
    assert!(auth.unauthorized(&scope, &same, &challenge).await.unwrap());
    for _ in 0..3 {
        assert!(!auth.unauthorized(&scope, &second, &challenge).await.unwrap());
        assert_eq!(header(&auth.authorize(&scope).await.unwrap()), Some("Bearer t1"));
    }
    assert_eq!(server.count(), 2);
    // Once accepted, a later refusal is a revocation.
    auth.accepted(auth.authorize(&scope).await.unwrap());
    assert!(auth.unauthorized(&scope, &second, &challenge).await.unwrap());
    assert_eq!(header(&auth.authorize(&scope).await.unwrap()), Some("Bearer t2"));
}

#[tokio::test]
async fn scopes_of_their_own_are_sent_back_unchanged() {
    let server = Server::tokens(300).await;
    let auth = taught(None, &server.challenge("*")).await;
    auth.authorize(&pull("a")).await.unwrap();
    auth.authorize(&push("b")).await.unwrap();
    let scopes: Vec<_> = server.seen().iter().map(|seen| seen.all("scope").join(" ")).collect();
    assert_eq!(scopes, ["*", "*"]);
}

/// Quay gives nothing for `delete`, GitLab gives `*` to owners only.
#[tokio::test]
async fn deletion_asks_for_everything_until_told_otherwise() {
    let server = Server::tokens(300).await;
    let auth = taught(None, &server.challenge("repository:a:pull")).await;
    let (a, b) = (Scope::delete("a".parse().unwrap()), Scope::delete("b".parse().unwrap()));
    let challenge = server.challenge("repository:a:delete");
    for expected in [true, false] {
        let authorized = auth.authorize(&a).await.unwrap();
        assert_eq!(auth.unauthorized(&a, &authorized, &challenge).await.unwrap(), expected);
    }
    auth.authorize(&b).await.unwrap();
    let scopes: Vec<_> = server.seen().iter().map(|seen| seen.all("scope").join(" ")).collect();
    assert_eq!(scopes, ["repository:a:*", "repository:a:delete", "repository:b:delete"]);
}

#[tokio::test]
async fn basic_is_attached_at_once_and_harbors_catalog_is_on_its_own() {
    let ecr = headers(r#"Basic realm="https://1.dkr.ecr.x.amazonaws.com/",service="ecr""#);
    let auth = taught(Some(LOGIN), &ecr).await;
    let basic = format!("Basic {}", STANDARD.encode("user:s3cret"));
    let authorized = auth.authorize(&pull("b")).await.unwrap();
    assert_eq!(header(&authorized), Some(basic.as_str()));
    assert!(!auth.unauthorized(&pull("b"), &authorized, &ecr).await.unwrap());

    let anonymous = authenticator(REGISTRY, None, &ManualClock::new());
    assert!(!teach(&anonymous, &pull("a"), &ecr).await);
    assert_eq!(header(&anonymous.authorize(&pull("a")).await.unwrap()), None);

    let server = Server::tokens(300).await;
    let auth = taught(Some(LOGIN), &server.challenge("")).await;
    let catalog = auth.authorize(&Scope::catalog()).await.unwrap();
    assert_eq!(header(&catalog), Some("Bearer t0"));
    let harbor = headers(r#"Basic realm="harbor""#);
    assert!(auth.unauthorized(&Scope::catalog(), &catalog, &harbor).await.unwrap());
    let catalog = auth.authorize(&Scope::catalog()).await.unwrap();
    assert_eq!(header(&catalog), Some(basic.as_str()));
    assert_eq!(header(&auth.authorize(&pull("a")).await.unwrap()), Some("Bearer t1"));
}

#[tokio::test]
async fn a_rotated_password_is_taken_up_after_a_refusal() {
    let scripts = Scripts::create();
    scripts.add("vault", r#"cat "${0%/*}/password""#);
    let rotate = |password: &str| std::fs::write(scripts.path().join("password"), password);
    let secret = crate::config::SecretSource::Command(vec!["vault".into()]);
    let explicit = ExplicitCredential { username: "user".into(), secret };
    let clock = ManualClock::new();
    let registry = "127.0.0.1:5000".parse().unwrap();
    let store = CredentialStore::new([(registry, explicit)], scripts.environment(), clock.clock());
    let auth = with_store(REGISTRY, store, &clock);
    let challenge = headers("Basic realm=x");
    rotate("old").unwrap();
    assert!(teach(&auth, &pull("a"), &challenge).await);
    let old = auth.authorize(&pull("a")).await.unwrap();
    rotate("new").unwrap();
    clock.advance(Duration::from_secs(10));
    assert!(auth.unauthorized(&pull("a"), &old, &challenge).await.unwrap());
    let new = auth.authorize(&pull("a")).await.unwrap();
    let expected = format!("Basic {}", STANDARD.encode("user:new"));
    assert_eq!(header(&new), Some(expected.as_str()));
    clock.advance(Duration::from_secs(10));
    assert!(!auth.unauthorized(&pull("a"), &new, &challenge).await.unwrap());
}

/// For `login`: the credential is shown to the token server, with no scope.
#[tokio::test]
async fn a_credential_can_be_tried_before_it_is_kept() {
    let server = Server::tokens(300).await;
    let store = CredentialStore::only(Some(password("user", "s3cret")));
    let auth = with_store(REGISTRY, store, &ManualClock::new());
    // GHCR names a repository that is none.
    assert!(teach(&auth, &Scope::base(), &server.challenge("repository:user/image:pull")).await);
    let authorized = auth.authorize(&Scope::base()).await.unwrap();
    assert_eq!(header(&authorized), Some("Bearer t0"));
    let seen = server.seen();
    assert_eq!(seen[0].parameters, [("service".to_owned(), "s".to_owned())]);
    assert!(seen[0].authorization.is_some());
}

#[tokio::test]
async fn bearer_is_preferred_unless_it_cannot_be_followed() {
    let server = Server::tokens(300).await;
    let both = |realm: &str| headers(&format!(r#"Basic realm="x", Bearer realm="{realm}""#));
    let auth = taught(Some(LOGIN), &both(&format!("{}/t", server.origin))).await;
    assert_eq!(header(&auth.authorize(&pull("a")).await.unwrap()), Some("Bearer t0"));
    let auth = taught(Some(LOGIN), &both("http://elsewhere.test/")).await;
    let authorized = auth.authorize(&pull("a")).await.unwrap();
    assert!(header(&authorized).unwrap().starts_with("Basic "));
    // Nor with credentials at a foreign realm, while the registry itself takes them.
    let auth = authenticator("https://r.example.com", Some(LOGIN), &ManualClock::new());
    assert!(teach(&auth, &pull("a"), &both("https://elsewhere.test/")).await);
    let authorized = auth.authorize(&pull("a")).await.unwrap();
    assert!(header(&authorized).unwrap().starts_with("Basic "));
    // A refusal of Basic that names no scheme is one, too.
    assert!(!auth.unauthorized(&pull("a"), &authorized, &HeaderMap::new()).await.unwrap());
}

#[tokio::test]
async fn credentials_never_arrive_at_a_foreign_realm() {
    let server = Server::tokens(300).await;
    let challenge = server.challenge("repository:a:pull");
    let clock = ManualClock::new();
    // A public registry that names a server inside is followed not at all.
    let auth = authenticator("https://r.example.com", None, &clock);
    let probe = auth.authorize(&pull("a")).await.unwrap();
    let error = auth.unauthorized(&pull("a"), &probe, &challenge).await.unwrap_err();
    assert!(error.to_string().contains("that is not https"), "{error}");
    drop(probe);
    // A name that leads inside is found out when a token is wanted.
    let names = &[("inside.test", [10, 0, 0, 1]), ("r.example.com", [93, 184, 216, 34])];
    for realm in ["inside.test", "r.example.org"] {
        let mut auth = authenticator("https://r.example.com", None, &clock);
        auth.resolve(names);
        let challenge = headers(&format!(r#"Bearer realm="https://{realm}:1/t""#));
        assert!(teach(&auth, &pull("a"), &challenge).await);
        auth.limit_time(Duration::from_millis(1));
        let error = auth.authorize(&pull("a")).await.unwrap_err().to_string();
        let found_out = error.contains("leads into a private network");
        assert_eq!(found_out, realm == "inside.test", "{error}");
    }
    // With credentials it is an error that says how to allow it, and nothing is sent.
    let auth = authenticator("http://10.0.0.1", Some(LOGIN), &clock);
    let foreign = headers(r#"Bearer realm="https://127.0.0.1:9/t""#);
    assert!(teach(&auth, &pull("a"), &foreign).await);
    let error = auth.authorize(&pull("a")).await.unwrap_err().to_string();
    assert!(error.contains("add \"https://127.0.0.1:9\" to auth_realms"), "{error}");
    assert_eq!(server.count(), 0);
    // Listed, it gets them.
    let mut auth = authenticator("http://10.0.0.1", Some(LOGIN), &clock);
    auth.allow_realm(&server.origin);
    assert!(teach(&auth, &pull("a"), &challenge).await);
    auth.authorize(&pull("a")).await.unwrap();
    assert!(server.seen()[0].authorization.is_some());
}

#[tokio::test]
async fn redirects_of_a_token_server_are_not_followed() {
    let elsewhere = Server::tokens(300).await;
    let location = format!("{}/token", elsewhere.origin);
    let server = Server::start(move |_, _| {
        (StatusCode::TEMPORARY_REDIRECT, [("location", location.clone())]).into_response()
    })
    .await;
    let auth = taught(Some(LOGIN), &server.challenge("")).await;
    let error = auth.authorize(&pull("a")).await.unwrap_err().to_string();
    assert!(error.contains("redirects elsewhere"), "{error}");
    assert_eq!(elsewhere.count(), 0);
}

#[tokio::test]
async fn a_server_without_get_is_sent_the_form_and_remembered() {
    let server = Server::start(|seen, before| match seen.method.as_str() {
        "GET" => StatusCode::METHOD_NOT_ALLOWED.into_response(),
        _ => format!(r#"{{"access_token":"t{before}"}}"#).into_response(),
    })
    .await;
    let auth = taught(Some(LOGIN), &server.challenge("")).await;
    assert_eq!(header(&auth.authorize(&pull("a")).await.unwrap()), Some("Bearer t1"));
    assert_eq!(header(&auth.authorize(&pull("b")).await.unwrap()), Some("Bearer t2"));
    let seen = server.seen();
    let methods: Vec<_> = seen.iter().map(|seen| seen.method.as_str()).collect();
    assert_eq!(methods, ["GET", "POST", "POST"]);
    let form: HashMap<_, _> = seen[1].parameters.iter().cloned().collect();
    let expected = [
        ("grant_type", "password"),
        ("username", "user"),
        ("password", "s3cret"),
        ("client_id", "tranship"),
        ("service", "s"),
        ("scope", "repository:a:pull"),
    ];
    assert_eq!(form, expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
    assert_eq!(seen[1].authorization, None);
}

#[tokio::test]
async fn a_refresh_token_goes_in_a_form_or_not_at_all() {
    let server = Server::start(|_, before| match before {
        0 => token("t0", 60),
        _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    })
    .await;
    let login = r#"{"identitytoken":"s3cret"}"#;
    let auth = taught(Some(login), &server.challenge("")).await;
    let scope = push("a").mounting_from("b".parse().unwrap());
    assert_eq!(header(&auth.authorize(&scope).await.unwrap()), Some("Bearer t0"));
    let error = auth.authorize(&pull("c")).await.unwrap_err().to_string();
    assert!(error.contains("): 405"), "{error}");
    let seen = server.seen();
    assert!(seen.iter().all(|seen| seen.method == "POST" && seen.authorization.is_none()));
    assert_eq!(seen[0].all("grant_type"), ["refresh_token"]);
    assert_eq!(seen[0].all("refresh_token"), ["s3cret"]);
    assert_eq!(seen[0].all("scope"), ["repository:a:pull,push repository:b:pull"]);

    let auth = taught(Some(login), &headers("Basic realm=x")).await;
    let error = auth.authorize(&pull("a")).await.unwrap_err();
    assert!(matches!(error, AuthError::IdentityToken { .. }), "{error}");
}

/// A registry that shows anonymous clients less asks them for nothing. Where there are credentials, it
/// is asked at `/v2/` whether it wants them.
#[tokio::test]
async fn who_has_credentials_asks_whether_they_are_wanted() {
    let origin = Arc::new(Mutex::new(String::new()));
    let own = origin.clone();
    let server = Server::start(move |seen, _| match seen.path.as_str() {
        "/v2/" => {
            let challenge = format!(r#"Bearer realm="{}/token",service="s""#, own.lock());
            (StatusCode::UNAUTHORIZED, headers(&challenge)).into_response()
        }
        _ => token("t", 60),
    })
    .await;
    server.origin.clone_into(&mut origin.lock());
    let auth = |entry| authenticator(&server.origin, entry, &ManualClock::new());

    // Before the catalog, which would be answered with what is public.
    let known = auth(Some(LOGIN));
    let used = known.authorize(&Scope::catalog()).await.unwrap();
    assert_eq!(header(&used), Some("Bearer t"));

    // After a 403 or 404 to a request without credentials, once.
    let known = auth(Some(LOGIN));
    let bare = known.authorize(&pull("a")).await.unwrap();
    assert_eq!(header(&bare), None);
    assert!(known.is_hidden(&pull("a"), &bare).await.unwrap());
    let used = known.authorize(&pull("a")).await.unwrap();
    assert_eq!(header(&used), Some("Bearer t"));
    assert!(!known.is_hidden(&pull("a"), &used).await.unwrap(), "that is how it is");

    // Without credentials there is nothing to ask.
    let asked = server.count();
    let anonymous = auth(None);
    let bare = anonymous.authorize(&pull("a")).await.unwrap();
    assert!(!anonymous.is_hidden(&pull("a"), &bare).await.unwrap());
    assert_eq!(server.count(), asked);
}

/// Thirty repositories are forbidden, which does not make the password wrong: others still work.
#[tokio::test]
async fn forbidden_repositories_do_not_make_a_password_wrong() {
    let server = Server::start(|seen, _| {
        let scopes = seen.all("scope");
        let forbidden = scopes.iter().any(|scope| scope.contains("forbidden"));
        if forbidden { refuse(401, "no access") } else { token("t", 60) }
    })
    .await;
    let auth = authenticator(REGISTRY, Some(LOGIN), &ManualClock::new());
    let first = auth.authorize(&pull("good")).await.unwrap();
    assert!(auth.unauthorized(&pull("good"), &first, &server.challenge("")).await.unwrap());
    for number in 0..30 {
        let error = auth.authorize(&pull(&format!("forbidden{number}"))).await.unwrap_err();
        assert!(error.to_string().contains("no access"), "{error}");
    }
    auth.authorize(&pull("good")).await.unwrap();
    // One request for each, and one without a scope that found out.
    let without = server.seen().iter().filter(|seen| seen.all("scope").is_empty()).count();
    assert_eq!((server.count(), without), (30 + 1 + 1, 1));
}

/// GitLab bans an address for 15 minutes after 300 refusals within a minute.
#[tokio::test]
async fn refused_credentials_are_not_tried_over_and_over() {
    let server = Server::start(|seen, _| {
        let known = seen.authorization.as_ref().is_some_and(|a| *a == basic("new"));
        if known { token("t", 60) } else { refuse(401, "wrong: s3cret") }
    })
    .await;
    fn basic(password: &str) -> String {
        format!("Basic {}", STANDARD.encode(format!("user:{password}")))
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    std::fs::write(&file, "s3cret").unwrap();
    let secret = crate::config::SecretSource::File(file.clone());
    let explicit = ExplicitCredential { username: "user".into(), secret };
    let clock = ManualClock::new();
    let registry = "127.0.0.1:5000".parse().unwrap();
    let store = CredentialStore::new([(registry, explicit)], environment(&[]), clock.clock());
    let auth = with_store(REGISTRY, store, &clock);
    assert!(teach(&auth, &pull("a"), &server.challenge("")).await);
    let error = auth.authorize(&pull("a")).await.unwrap_err().to_string();
    assert!(error.contains("): 401: wrong: [REDACTED]"), "{error}");
    assert!(auth.authorize(&pull("a")).await.is_err());
    assert_eq!(server.count(), 1 + 1, "the same scope is not asked for again");
    for n in 0..50 {
        assert!(auth.authorize(&pull(&format!("r{n}"))).await.is_err());
    }
    let again = auth.authorize(&pull("last")).await.unwrap_err().to_string();
    assert_eq!(again, error);
    assert_eq!(server.count(), 1 + 1, "and once without a scope, to be sure");
    // Rotated, they are taken up without a restart.
    std::fs::write(&file, "new").unwrap();
    clock.advance(Duration::from_secs(60));
    assert_eq!(header(&auth.authorize(&pull("a")).await.unwrap()), Some("Bearer t"));
    assert_eq!(server.count(), 1 + 1 + 1);
}

#[tokio::test]
async fn passing_failures_are_tried_again_within_bounds() {
    let server = Server::start(|seen, before| match (seen.all("scope")[0], before) {
        ("repository:a:pull", 0) => {
            (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "0")]).into_response()
        }
        ("repository:a:pull", 1) => StatusCode::BAD_GATEWAY.into_response(),
        ("repository:a:pull", _) => token("t", 60),
        ("repository:b:pull", _) => {
            (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "3600")]).into_response()
        }
        ("repository:c:pull", _) => vec![b'x'; 2 << 20].into_response(),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "down for maintenance").into_response(),
    })
    .await;
    let auth = taught(None, &server.challenge("")).await;
    assert_eq!(header(&auth.authorize(&pull("a")).await.unwrap()), Some("Bearer t"));
    assert_eq!(server.count(), 3);
    for (name, requests, expected) in [
        ("b", 1, "wants to be asked again in 3600 seconds"),
        ("c", 1, "answered more than"),
        ("d", 3, "answered 503 Service Unavailable 3 times: down for maintenance"),
    ] {
        let before = server.count();
        let started = Instant::now();
        let error = auth.authorize(&pull(name)).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(server.count() - before, requests, "{name}");
        assert!(started.elapsed() < Duration::from_secs(20));
    }
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let realm = format!("http://{}/token", listener.local_addr().unwrap());
    let mut auth = authenticator(REGISTRY, None, &ManualClock::new());
    auth.limit_time(Duration::from_millis(200));
    assert!(teach(&auth, &pull("a"), &headers(&format!(r#"Bearer realm="{realm}""#))).await);
    let error = auth.authorize(&pull("a")).await.unwrap_err().to_string();
    assert!(error.contains("gave no token within 0.2 seconds"), "{error}");
}

/// A caller that goes away while it fetches leaves the token to the next.
#[tokio::test]
async fn giving_up_holds_nobody_up() {
    let server = Server::start(|_, before| {
        if before == 0 {
            let never = futures_util::stream::pending::<Result<bytes::Bytes, std::io::Error>>();
            return axum::body::Body::from_stream(never).into_response();
        }
        token("t", 60)
    })
    .await;
    let auth = Arc::new(taught(None, &server.challenge("")).await);
    let other = auth.clone();
    let gone = tokio::spawn(async move { other.authorize(&pull("a")).await.map(|_| ()) });
    wait_until(|| server.count() == 1).await;
    let other = auth.clone();
    let waiting = tokio::spawn(async move { other.authorize(&pull("a")).await.unwrap() });
    gone.abort();
    let authorized = tokio::time::timeout(Duration::from_secs(10), waiting).await;
    assert_eq!(header(&authorized.unwrap().unwrap()), Some("Bearer t"));
}

#[tokio::test]
async fn nothing_shows_a_secret() {
    let server = Server::start(|_, _| token("s3cret", 60)).await;
    let auth = taught(Some(LOGIN), &server.challenge("")).await;
    let bearer = auth.authorize(&pull("a")).await.unwrap();
    let basic_auth = taught(Some(LOGIN), &headers("Basic realm=x")).await;
    let basic = basic_auth.authorize(&pull("a")).await.unwrap();
    let shown = format!("{bearer:?} {basic:?} {:?} {:?} {auth:?}", bearer.header(), basic.header());
    assert!(!shown.contains("s3cret"), "{shown}");
    assert!(!shown.contains(&STANDARD.encode("user:s3cret")), "{shown}");
    assert!(header(&bearer).unwrap().contains("s3cret"));
}
