//! The `Authorization` header of each request to one registry.
//!
//! Which scheme a registry wants is unknown until it was asked: the first request goes out without
//! credentials and probes, while the others wait for what it learns. After that, headers are
//! attached and tokens fetched beforehand, without a 401 for each repository.
//!
//! A registry that lets anybody in, and shows them less, asks for nothing. Where there are credentials,
//! it is asked at `/v2/`, which wants them if anything does: before its catalog, and when a request
//! without credentials was answered 403 or 404.

use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, header};
use parking_lot::Mutex;
use reqwest::Client;
use tokio::sync::OwnedMutexGuard;
use url::Url;

use super::api::Authentication;
use super::challenge::{self, Challenge};
use super::clock::Clock;
use super::credential::{self, Credential, Login};
use super::credentials::CredentialStore;
use super::error::AuthError;
use super::learned::{HOLD_BACK, Learned, Scheme, TokenServer};
use super::realm;
use super::scope::{Access, Scope};
use super::token::{self, Exchange, Token, TokenClient, TokenRequest};
use super::token_cache::{Issued, TokenCache};
use crate::metrics::{RegistryMetrics, TokenOutcome};
use crate::oci::{RegistryHost, RepositoryName};
use crate::registry::transport::TokenClients;

/// What an [`Authenticator`] is made of.
pub struct Parts {
    /// Whose credentials are sent.
    pub registry: RegistryHost,
    pub authentication: Authentication,
    /// Scheme, host and port that the origin is spoken to at.
    pub base: Url,
    pub credentials: Arc<CredentialStore>,
    /// For the registry. It must not follow redirects and must have a connect time-out.
    pub client: Client,
    /// Entries as `realm::judge` reads them.
    pub allowed_realms: Vec<String>,
    pub clock: Clock,
    /// Random numbers from 0 to 1 that spread retries.
    pub jitter: fn() -> f64,
    pub metrics: Arc<RegistryMetrics>,
}

/// Authorizes the requests to one origin. See the module's description.
pub struct Authenticator {
    pub(super) parts: Parts,
    tokens: TokenClient,
    pub(super) cache: TokenCache,
    /// Held by the request that probes.
    gate: Arc<tokio::sync::Mutex<()>>,
    learned: Mutex<Learned>,
}

/// What one request carries. To be returned to [`Authenticator::accepted`] or shown to
/// [`Authenticator::unauthorized`]; if it is dropped instead, the next request probes.
pub struct Authorization {
    header: Option<HeaderValue>,
    pub(super) proof: Proof,
}

pub(super) enum Proof {
    Nothing,
    /// Nothing, and this request probes. The gate opens when the guard is taken out or dropped.
    Probe(Mutex<Option<OwnedMutexGuard<()>>>),
    Credential(Credential),
    Token(Arc<Issued>),
}

impl Authorization {
    /// The one that carries this token.
    pub(super) fn of(issued: Arc<Issued>) -> Self {
        let header = credential::bearer(&issued.token.secret);
        Self { header, proof: Proof::Token(issued) }
    }

    /// The value of the `Authorization` header, marked as sensitive, if there is to be one.
    /// Only for requests to the registry's own scheme, host and port.
    pub fn header(&self) -> Option<&HeaderValue> {
        self.header.as_ref()
    }

    /// Whether it is a token that a token server has given.
    pub fn is_token(&self) -> bool {
        matches!(self.proof, Proof::Token(_))
    }
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.proof {
            Proof::Nothing => f.write_str("Authorization(none)"),
            Proof::Probe(_) => f.write_str("Authorization(none, probing)"),
            Proof::Credential(_) => f.write_str("Authorization(credential)"),
            Proof::Token(issued) => write!(f, "Authorization({issued:?})"),
        }
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator")
            .field("registry", &self.parts.registry)
            .field("base", &self.parts.base.as_str())
            .finish_non_exhaustive()
    }
}

/// A token server, and the scope that its challenge names.
type ServerAndScope = (Arc<TokenServer>, Option<String>);

impl Authenticator {
    /// `clients`: for token servers.
    pub fn new(parts: Parts, clients: TokenClients) -> Self {
        let Parts { clock, jitter, .. } = &parts;
        Self {
            tokens: TokenClient::new(clients, clock.clone(), *jitter),
            cache: TokenCache::new(clock.clone()),
            gate: Arc::default(),
            learned: Mutex::default(),
            parts,
        }
    }

    /// What to send with a request that needs `scope`.
    ///
    /// While the registry's scheme is unknown, one caller at a time gets an authorization without a
    /// header and the duty to find out; the others wait, as long as the time-outs of its request
    /// allow.
    pub async fn authorize(&self, scope: &Scope) -> Result<Authorization, AuthError> {
        if self.parts.authentication != Authentication::Negotiated {
            return self.authorize_api(scope).await;
        }
        let known = || self.learned.lock().scheme(scope);
        let scheme = match known() {
            Some(scheme) => scheme,
            None => {
                let gate = self.gate.clone().lock_owned().await;
                if known().is_none() && scope.access == Access::Catalog {
                    self.learn_at_base(scope, &Proof::Nothing).await?;
                }
                let Some(scheme) = known() else {
                    let proof = Proof::Probe(Mutex::new(Some(gate)));
                    return Ok(Authorization { header: None, proof });
                };
                scheme
            }
        };
        // What was learnt with other requests may be that it lets anybody in.
        let scheme = match scheme {
            Scheme::Open if scope.access == Access::Catalog => {
                self.learn_at_base(scope, &Proof::Nothing).await?;
                known().unwrap_or(Scheme::Open)
            }
            scheme => scheme,
        };
        match scheme {
            Scheme::Open => Ok(Authorization { header: None, proof: Proof::Nothing }),
            Scheme::Basic => self.with_password(scope).await,
            Scheme::Bearer(server) => {
                let issued = self.cache.get(scope, || self.fetch(&server, scope)).await?;
                Ok(Authorization::of(issued))
            }
        }
    }

    /// Takes note of a 401 with these headers to a request for `scope` that carried `used`. Returns
    /// whether the request is worth sending once more with a new [`Authenticator::authorize`]. If
    /// not, there are no credentials, or they lack the right.
    pub async fn unauthorized(
        &self,
        scope: &Scope,
        used: &Authorization,
        headers: &HeaderMap,
    ) -> Result<bool, AuthError> {
        if self.parts.authentication != Authentication::Negotiated {
            return self.unauthorized_api(scope, used).await;
        }
        let mut challenges = challenge::parse(headers);
        if challenges.is_empty() && matches!(used.proof, Proof::Nothing | Proof::Probe(_)) {
            // gcr.io answers some requests with a 401 without a challenge, but never this one.
            challenges = self.ask_base().await;
        }
        let again = self.learn(scope, &used.proof, &challenges).await;
        // Whether anything was learned or not: the others need not wait any more.
        if let Proof::Probe(gate) = &used.proof {
            gate.lock().take();
        }
        again
    }

    /// Whether a request for `scope` that was answered 403 or 404, and carried `used`, is worth
    /// sending once more with a new [`Authenticator::authorize`]: it had no credentials, there are
    /// some, and the registry turns out to want them.
    pub async fn is_hidden(&self, scope: &Scope, used: &Authorization) -> Result<bool, AuthError> {
        let is_negotiated = self.parts.authentication == Authentication::Negotiated;
        if !(is_negotiated && matches!(used.proof, Proof::Nothing | Proof::Probe(_))) {
            return Ok(false);
        }
        let wants = self.learn_at_base(scope, &used.proof).await?;
        if wants && let Proof::Probe(gate) = &used.proof {
            gate.lock().take();
        }
        Ok(wants)
    }

    /// Asks the registry at `/v2/` which scheme it wants, once, if there are credentials. Returns
    /// whether it wants one.
    async fn learn_at_base(&self, scope: &Scope, proof: &Proof) -> Result<bool, AuthError> {
        if self.learned.lock().base_was_asked {
            return Ok(false);
        }
        // A credential helper that does not work matters only where credentials are wanted.
        if let Ok(None) = self.find(scope).await {
            return Ok(false);
        }
        let challenges = self.ask_base().await;
        self.learned.lock().base_was_asked = true;
        self.learn(scope, proof, &challenges).await
    }

    /// Takes note of any other answer: the registry accepted what the request carried.
    pub fn accepted(&self, used: Authorization) {
        match &used.proof {
            Proof::Probe(gate) if gate.lock().is_some() => self.learned.lock().set_open(),
            Proof::Token(issued) => self.cache.accept(issued),
            Proof::Credential(credential) => {
                let mut learned = self.learned.lock();
                if !learned.is_proven(credential) {
                    learned.accepted(credential);
                }
            }
            _ => {}
        }
    }

    async fn learn(
        &self,
        scope: &Scope,
        used: &Proof,
        challenges: &[Challenge],
    ) -> Result<bool, AuthError> {
        let basic = challenges.contains(&Challenge::Basic);
        let server = match self.token_server(challenges) {
            // A foreign realm gives tokens to anonymous clients only. A password is sent to the
            // registry itself, if that accepts it.
            Some(Ok((server, _)))
                if basic && !server.standing.trusted() && self.find(scope).await?.is_some() =>
            {
                None
            }
            server => server,
        };
        match (used, server) {
            // The token was refused.
            (Proof::Token(issued), Some(Ok((server, demanded)))) => {
                let mut learned = self.learned.lock();
                learned.set_scheme(scope, Scheme::Bearer(server));
                if learned.set_demand(scope, demanded.as_deref()) {
                    self.cache.forget(scope);
                    return Ok(true);
                }
                Ok(self.cache.refuse(scope, issued))
            }
            // Harbor's catalog, even if the token is good.
            (Proof::Token(_), _) if basic && scope.access == Access::Catalog => {
                self.try_basic(scope).await
            }
            (Proof::Token(issued), _) => Ok(self.cache.refuse(scope, issued)),
            (_, Some(Ok((server, demanded)))) => {
                let mut learned = self.learned.lock();
                learned.set_scheme(scope, Scheme::Bearer(server));
                learned.set_demand(scope, demanded.as_deref());
                Ok(true)
            }
            (Proof::Credential(refused), _) => {
                if self.renew(scope, Some(refused)).await?.is_some() {
                    return Ok(true);
                }
                self.judge(scope, refused).await;
                Ok(false)
            }
            (Proof::Nothing | Proof::Probe(_), _) if basic => self.try_basic(scope).await,
            (_, Some(Err(error))) => Err(error),
            _ => Ok(false),
        }
    }

    /// A password was refused: finds out whether it is wrong, or only lacks a right.
    async fn judge(&self, scope: &Scope, refused: &Credential) {
        let Credential::Password { username, password } = refused else { return };
        if self.learned.lock().is_proven(refused) {
            return;
        }
        let Ok(Some(login)) = self.find_login(scope).await else { return };
        let Parts { registry, clock, .. } = &self.parts;
        if self.status_of_base(credential::basic(username, password)).await == Some(401) {
            let refusal =
                AuthError::Wrong { registry: registry.to_string(), login: login.to_string() };
            self.learned.lock().set_wrong(refused, clock(), refusal);
        }
    }

    async fn try_basic(&self, scope: &Scope) -> Result<bool, AuthError> {
        self.learned.lock().set_scheme(scope, Scheme::Basic);
        Ok(self.renew(scope, None).await?.is_some())
    }

    /// The first token server among the challenges that may be asked, with the scope that its
    /// challenge names; else why the first one may not.
    fn token_server(&self, challenges: &[Challenge]) -> Option<Result<ServerAndScope, AuthError>> {
        let mut distrusted = None;
        for challenge in challenges {
            let Challenge::Bearer { realm, service, scope } = challenge else { continue };
            // A realm may be relative; one that is no address at all cannot be followed.
            let Ok(realm) = self.parts.base.join(realm) else { continue };
            match realm::judge(&realm, &self.parts.base, &self.parts.allowed_realms) {
                Ok(standing) => {
                    let server = TokenServer {
                        realm,
                        service: service.clone(),
                        standing,
                        exchange: Exchange::Token,
                    };
                    return Some(Ok((Arc::new(server), scope.clone())));
                }
                Err(reason) => {
                    distrusted.get_or_insert_with(|| Err(self.distrust(&realm, reason)));
                }
            }
        }
        distrusted
    }

    fn distrust(&self, realm: &Url, reason: &'static str) -> AuthError {
        AuthError::Realm {
            registry: self.parts.registry.to_string(),
            realm: token::shown(realm),
            reason,
            origin: realm::origin(realm),
        }
    }

    /// The credentials for this scope and where they are from, for people; `None`: there are none.
    pub async fn login(&self, scope: &Scope) -> Option<String> {
        self.find_login(scope).await.ok()?.as_ref().map(Login::to_string)
    }

    pub(super) async fn find(&self, scope: &Scope) -> Result<Option<Credential>, AuthError> {
        Ok(self.find_login(scope).await?.map(|login| login.credential))
    }

    async fn find_login(&self, scope: &Scope) -> Result<Option<Login>, AuthError> {
        let repository = scope.repository.as_ref().map(RepositoryName::as_str);
        self.parts.credentials.find(&self.parts.registry, repository).await
    }

    /// Another credential than the refused one, if there is one by now.
    pub(super) async fn renew(
        &self,
        scope: &Scope,
        refused: Option<&Credential>,
    ) -> Result<Option<Login>, AuthError> {
        let repository = scope.repository.as_ref().map(RepositoryName::as_str);
        self.parts.credentials.renew(&self.parts.registry, repository, refused).await
    }

    async fn with_password(&self, scope: &Scope) -> Result<Authorization, AuthError> {
        let credential = self.find(scope).await?;
        if let Some(Credential::RefreshToken(_)) = credential {
            return Err(AuthError::IdentityToken { registry: self.parts.registry.to_string() });
        }
        let wrong = |known| self.learned.lock().wrong(known, (self.parts.clock)());
        if let Some(refusal) = credential.as_ref().and_then(wrong) {
            return Err(refusal);
        }
        Ok(carrying(credential, |credential| match credential {
            Credential::Password { username, password } => credential::basic(username, password),
            Credential::RefreshToken(_) => None,
        }))
    }

    /// Fetches a token; once more if the credentials turn out to have been replaced meanwhile.
    pub(super) async fn fetch(
        &self,
        server: &TokenServer,
        scope: &Scope,
    ) -> Result<Token, AuthError> {
        let login = self.find_login(scope).await?;
        let refused = match self.fetch_with(server, scope, login.as_ref()).await {
            Err(error) if error.may_differ_for_others() => error,
            fetched => return fetched,
        };
        match self.renew(scope, login.as_ref().map(|login| &login.credential)).await? {
            Some(renewed) => self.fetch_with(server, scope, Some(&renewed)).await,
            None => Err(refused),
        }
    }

    async fn fetch_with(
        &self,
        server: &TokenServer,
        scope: &Scope,
        login: Option<&Login>,
    ) -> Result<Token, AuthError> {
        let Parts { registry, base, clock, .. } = &self.parts;
        let credential = login.map(|login| &login.credential);
        if credential.is_some() && !server.standing.trusted() {
            let reason = "that is not where this registry's credentials may be sent";
            return Err(self.distrust(&server.realm, reason));
        }
        let wrong = |known| self.learned.lock().wrong(known, clock());
        if let Some(refusal) = credential.and_then(wrong) {
            return Err(refusal);
        }
        if let Some(login) = login
            && let Some(refusals) = self.learned.lock().held_back(&login.credential, clock())
        {
            let (registry, minutes) = (registry.to_string(), HOLD_BACK.as_secs() / 60);
            let login = login.to_string();
            return Err(AuthError::HeldBack { registry, login, refusals, minutes });
        }
        let scopes = self.learned.lock().texts(scope);
        let request = TokenRequest {
            realm: &server.realm,
            compare_with: server.standing.suspect().then_some(base),
            service: server.service.as_deref(),
            scopes: &scopes,
            login,
            exchange: server.exchange,
        };
        let fetched = self.fetch_counted(&request).await;
        match (&fetched, credential) {
            (Ok(_), Some(credential)) => self.learned.lock().accepted(credential),
            (Err(error @ AuthError::Refused { status: 401, .. }), Some(credential)) => {
                self.learned.lock().refused(credential, clock());
                // Wrong, or without rights for all scopes so far? Asked for no scope, the server
                // tells.
                let is_doubtful = self.learned.lock().is_doubtful(credential);
                if is_doubtful {
                    let any = if request.scopes.is_empty() {
                        Err(error.clone())
                    } else {
                        self.fetch_counted(&TokenRequest { scopes: &[], ..request }).await
                    };
                    match any {
                        Ok(_) => self.learned.lock().accepted(credential),
                        Err(AuthError::Refused { status: 401, .. }) => {
                            self.learned.lock().set_wrong(credential, clock(), error.clone());
                        }
                        Err(_) => {}
                    }
                }
            }
            _ => {}
        }
        fetched
    }

    async fn fetch_counted(&self, request: &TokenRequest<'_>) -> Result<Token, AuthError> {
        let fetched = self.tokens.fetch(request).await;
        self.parts.metrics.token(match &fetched {
            Ok(_) => TokenOutcome::Granted,
            Err(AuthError::Refused { .. }) => TokenOutcome::Refused,
            Err(_) => TokenOutcome::Failed,
        });
        fetched
    }

    /// The challenges of `GET /v2/`; none if that does not work.
    async fn ask_base(&self) -> Vec<Challenge> {
        let answer = self.get_base(None).await;
        answer.map(|answer| challenge::parse(answer.headers())).unwrap_or_default()
    }

    /// How `GET /v2/` is answered with this authorization.
    async fn status_of_base(&self, authorization: Option<HeaderValue>) -> Option<u16> {
        Some(self.get_base(authorization).await?.status().as_u16())
    }

    async fn get_base(&self, authorization: Option<HeaderValue>) -> Option<reqwest::Response> {
        let Parts { base, client, metrics, .. } = &self.parts;
        let mut request = client.get(base.join("/v2/").ok()?).timeout(token::TIME_LIMIT);
        if let Some(value) = authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        let answer = request.send().await.ok()?;
        metrics.answered(&Method::GET, answer.status());
        Some(answer)
    }
}

/// An authorization that carries the credential, if there is one that has such a header.
pub(super) fn carrying(
    credential: Option<Credential>,
    header: impl FnOnce(&Credential) -> Option<HeaderValue>,
) -> Authorization {
    let header = credential.as_ref().and_then(header);
    let carried = credential.filter(|_| header.is_some());
    Authorization { header, proof: carried.map_or(Proof::Nothing, Proof::Credential) }
}

#[cfg(test)]
impl Authenticator {
    pub(super) fn allow_realm(&mut self, entry: &str) {
        self.parts.allowed_realms.push(entry.to_owned());
    }

    /// Answers name look-ups from this table.
    pub(super) fn resolve(&mut self, known: &'static [(&'static str, [u8; 4])]) {
        self.tokens.lookup = Arc::new(move |host, _| {
            let of_host = known.iter().filter(move |(name, _)| *name == host);
            Box::pin(std::future::ready(of_host.map(|(_, ip)| (*ip).into()).collect()))
        });
    }

    pub(super) fn limit_time(&mut self, limit: std::time::Duration) {
        self.tokens.time_limit = limit;
    }
}
