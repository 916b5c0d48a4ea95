//! A token server (distribution's "token" and "oauth2" specifications) whose tokens both a real
//! docker-registry and the scripted registry accept.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::HeaderMap;
use rcgen::{CertificateParams, DnType, KeyPair};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::{Value, json};

use super::wire::{Delivery, Exchange, Head, Next, Response, Server, Service};

pub const ISSUER: &str = "tranship-test-issuer";
pub const SERVICE: &str = "tranship-test-registry";

/// docker-registry takes tokens for so long after their end.
const LEEWAY: u64 = 60;

/// A request for a token, as the server saw it.
#[derive(Debug, Clone)]
pub struct TokenRequest {
    pub method: String,
    /// The user, or `None` for an anonymous request.
    pub user: Option<String>,
    /// Each scope asked for, in order.
    pub scopes: Vec<String>,
    /// `password` or `refresh_token` of a POST.
    pub grant: Option<String>,
    pub headers: HeaderMap,
    pub status: u16,
}

/// What the server grants; change it at any time with `TokenServer::policy`.
#[derive(Debug, Clone)]
pub struct Policy {
    /// How long a token is good for.
    pub lifetime: Duration,
    /// Whether the answer says so; clients must then assume 60 seconds.
    pub states_lifetime: bool,
    /// Whether requests without credentials are granted `pull`.
    pub anonymous_pull: bool,
    /// How many requests the scripted registry takes with one token.
    pub requests_per_token: Option<usize>,
    /// Whether POST (OAuth2) is answered; otherwise 405.
    pub oauth2: bool,
    /// Answers every request with this status.
    pub failure: Option<u16>,
    /// Answers requests for several repositories with this status: mounts need such a token.
    pub several: Option<u16>,
    /// Users who may only pull.
    pub readers: HashSet<String>,
}

struct State {
    policy: Policy,
    users: HashMap<String, String>,
    refresh_tokens: HashMap<String, String>,
    requests: Vec<TokenRequest>,
    /// What was issued: the access, the end, and the uses so far.
    issued: HashMap<String, Issued>,
    serial: u64,
}

struct Issued {
    access: Vec<(String, String, Vec<String>)>,
    until: SystemTime,
    uses: usize,
}

struct Issuer {
    key: EcdsaKeyPair,
    /// DER, base64: the `x5c` header that docker-registry verifies the signature with.
    certificate: String,
    state: Mutex<State>,
}

/// A token server on a loopback port.
#[derive(Clone)]
pub struct TokenServer {
    issuer: Arc<Issuer>,
    server: Arc<Server>,
    /// What docker-registry calls `rootcertbundle`.
    pub certificate_pem: String,
}

impl TokenServer {
    pub fn start() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, ISSUER);
        let certificate = params.self_signed(&key).unwrap();
        let pkcs8 = key.serialize_der();
        let random = SystemRandom::new();
        let issuer = Arc::new(Issuer {
            key: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8, &random)
                .unwrap(),
            certificate: STANDARD.encode(certificate.der()),
            state: Mutex::new(State {
                policy: Policy {
                    lifetime: Duration::from_secs(300),
                    states_lifetime: true,
                    anonymous_pull: false,
                    requests_per_token: None,
                    oauth2: true,
                    failure: None,
                    several: None,
                    readers: HashSet::new(),
                },
                users: HashMap::new(),
                refresh_tokens: HashMap::new(),
                requests: Vec::new(),
                issued: HashMap::new(),
                serial: 0,
            }),
        });
        let server = Arc::new(Server::start(Arc::clone(&issuer) as Arc<dyn Service>));
        Self { issuer, server, certificate_pem: certificate.pem() }
    }

    /// Lets a user in.
    pub fn user(&self, name: &str, password: &str) -> &Self {
        self.issuer.state().users.insert(name.to_owned(), password.to_owned());
        self
    }

    pub fn policy(&self, change: impl FnOnce(&mut Policy)) -> &Self {
        change(&mut self.issuer.state().policy);
        self
    }

    pub fn realm(&self) -> String {
        format!("http://{}/token", self.server.address)
    }

    /// Every request for a token so far.
    pub fn requests(&self) -> Vec<TokenRequest> {
        self.issuer.state().requests.clone()
    }

    /// A refresh token of a user, as `docker login` would have got it.
    pub fn refresh_token(&self, user: &str) -> String {
        let mut state = self.issuer.state();
        state.serial += 1;
        let token = format!("refresh-{}", state.serial);
        state.refresh_tokens.insert(token.clone(), user.to_owned());
        token
    }

    /// Ends every token issued so far, for the scripted registry.
    pub fn revoke_all(&self) {
        self.issuer.state().issued.clear();
    }

    /// A token for the harness itself: everything, on one repository.
    pub fn mint(&self, repository: &str) -> String {
        let actions = ["pull", "push", "delete", "*"].map(str::to_owned).to_vec();
        let access = vec![
            ("repository".to_owned(), repository.to_owned(), actions.clone()),
            ("registry".to_owned(), "catalog".to_owned(), actions),
        ];
        self.issuer.issue("harness", access, Duration::from_secs(3600)).0
    }

    /// Whether the scripted registry should take this token for all of these (type, name,
    /// action). Counts as one use.
    pub fn allows(&self, token: &str, wanted: &[(&str, &str, &str)]) -> bool {
        let mut state = self.issuer.state();
        let limit = state.policy.requests_per_token.unwrap_or(usize::MAX);
        let Some(issued) = state.issued.get_mut(token) else { return false };
        issued.uses += 1;
        let granted = |(kind, name, action): &(&str, &str, &str)| {
            issued.access.iter().any(|(k, n, actions)| {
                k == kind && n == name && actions.iter().any(|a| a == action || a == "*")
            })
        };
        issued.uses <= limit && SystemTime::now() < issued.until && wanted.iter().all(granted)
    }
}

impl Issuer {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Signs a token for `lifetime`; gives it with its answer's body.
    fn issue(
        &self,
        subject: &str,
        access: Vec<(String, String, Vec<String>)>,
        lifetime: Duration,
    ) -> (String, Value) {
        let now = SystemTime::now();
        let seconds = now.duration_since(UNIX_EPOCH).unwrap().as_secs();
        let mut state = self.state();
        state.serial += 1;
        let claims = json!({
            "iss": ISSUER, "aud": SERVICE, "sub": subject,
            "iat": seconds, "nbf": seconds - 10, "exp": seconds + lifetime.as_secs() - LEEWAY,
            "jti": state.serial.to_string(),
            "access": access.iter().map(|(kind, name, actions)| {
                json!({ "type": kind, "name": name, "actions": actions })
            }).collect::<Vec<_>>(),
        });
        let header = json!({ "typ": "JWT", "alg": "ES256", "x5c": [self.certificate] });
        let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
        state.issued.insert(token.clone(), Issued { access, until: now + lifetime, uses: 0 });
        let mut answer = json!({ "token": token, "access_token": token });
        if state.policy.states_lifetime {
            answer["expires_in"] = lifetime.as_secs().into();
        }
        (token, answer)
    }

    /// Who asks. `Err`: wrong credentials.
    fn user(&self, head: &Head, form: &HashMap<String, String>) -> Result<Option<String>, ()> {
        let state = self.state();
        let known = |name: &str, password: &str| {
            let right = state.users.get(name).is_some_and(|known| known == password);
            if right { Ok(Some(name.to_owned())) } else { Err(()) }
        };
        match form.get("grant_type").map(String::as_str) {
            Some("refresh_token") => {
                let token = form.get("refresh_token").ok_or(())?;
                return state.refresh_tokens.get(token).cloned().map(Some).ok_or(());
            }
            Some("password") => {
                return known(form.get("username").ok_or(())?, form.get("password").ok_or(())?);
            }
            _ => {}
        }
        let Some(header) = head.header("authorization") else { return Ok(None) };
        let basic = header.strip_prefix("Basic ").ok_or(())?;
        let text = String::from_utf8(STANDARD.decode(basic).map_err(drop)?).map_err(drop)?;
        let (name, password) = text.split_once(':').ok_or(())?;
        known(name, password)
    }

    fn answer(&self, head: &Head, form: &HashMap<String, String>) -> Response {
        let user = self.user(head, form);
        let scopes = scopes(head, form);
        let policy = self.state().policy.clone();
        let response = match &user {
            _ if policy.failure.is_some() => Response::new(policy.failure.unwrap_or(500)),
            _ if scopes.len() > 1 && policy.several.is_some() => {
                Response::new(policy.several.unwrap_or(500))
            }
            _ if head.method == "POST" && !policy.oauth2 => Response::new(405),
            Err(()) => Response::json(
                401,
                &json!({ "errors": [{ "code": "UNAUTHORIZED", "message": "wrong credentials" }] }),
            ),
            Ok(user) => {
                let may = |action: &str| match user {
                    None => policy.anonymous_pull && action == "pull",
                    Some(user) => action == "pull" || !policy.readers.contains(user),
                };
                let access = scopes.iter().filter_map(|scope| granted(scope, may)).collect();
                let subject = user.clone().unwrap_or_default();
                let (_, mut answer) = self.issue(&subject, access, policy.lifetime);
                let offline = head.parameter("offline_token").is_some()
                    || form.get("access_type").is_some_and(|kind| kind == "offline");
                if let (true, Some(user)) = (offline, user) {
                    let mut state = self.state();
                    let token = format!("refresh-of-{user}-{}", state.serial);
                    state.refresh_tokens.insert(token.clone(), user.clone());
                    answer["refresh_token"] = token.into();
                }
                Response::json(200, &answer)
            }
        };
        self.state().requests.push(TokenRequest {
            method: head.method.clone(),
            user: user.ok().flatten(),
            scopes,
            grant: form.get("grant_type").cloned(),
            headers: head.headers.clone(),
            status: response.status,
        });
        response
    }
}

#[async_trait]
impl Service for Issuer {
    async fn serve(&self, head: &Head, exchange: &mut Exchange) -> Next {
        let body = exchange.read_body(None).await;
        let form = match head.method.as_str() {
            "POST" => url::form_urlencoded::parse(&body.bytes).into_owned().collect(),
            _ => HashMap::new(),
        };
        exchange.respond(&self.answer(head, &form), Delivery::Whole).await
    }
}

/// Every scope asked for: one parameter each in a GET, separated by spaces in a POST.
fn scopes(head: &Head, form: &HashMap<String, String>) -> Vec<String> {
    let in_query = url::form_urlencoded::parse(head.query.as_bytes())
        .filter(|(key, _)| key == "scope")
        .map(|(_, value)| value.into_owned());
    let all: Vec<String> = in_query.chain(form.get("scope").cloned()).collect();
    all.iter().flat_map(|scope| scope.split(' ')).map(str::to_owned).collect()
}

/// The part of a scope (`repository:acme/app:pull,push`) that is granted.
fn granted(scope: &str, may: impl Fn(&str) -> bool) -> Option<(String, String, Vec<String>)> {
    let (kind, rest) = scope.split_once(':')?;
    let (name, actions) = rest.rsplit_once(':')?;
    let actions = actions.split(',').filter(|action| may(action)).map(str::to_owned).collect();
    Some((kind.to_owned(), name.to_owned(), actions))
}
