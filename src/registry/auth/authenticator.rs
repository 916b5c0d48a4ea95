//! The `Authorization` header of each request to one registry.
//!
//! How a registry wants to be asked is not known before it was asked: the first request goes out
//! bare and is the probe, while the others wait for what it learns. After that, headers are
//! attached and tokens fetched beforehand, without a 401 for each repository.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, Method};
use parking_lot::Mutex;
use reqwest::Client;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::OwnedMutexGuard;
use url::Url;

use super::Clock;
use super::cache::{Issued, TokenCache};
use super::challenge::{self, Challenge};
use super::credentials::{Credential, CredentialSource};
use super::error::AuthError;
use super::learned::{Bearer, HOLD_BACK, Learned, Way};
use super::realm;
use super::scope::{Access, Scope};
use super::token::{Request, Token, TokenClient, shown};
use crate::metrics::{RegistryMetrics, TokenOutcome};
use crate::oci::{RegistryHost, RepositoryName};

/// Authorizes the requests to one registry. See the module's description.
pub struct Authenticator {
    registry: RegistryHost,
    /// Scheme, host and port that the registry is spoken to at.
    base: Url,
    credentials: Arc<dyn CredentialSource>,
    /// Follows no redirects.
    http: Client,
    tokens: TokenClient,
    allowed_realms: Vec<String>,
    clock: Clock,
    cache: TokenCache,
    /// Held by the one that probes.
    gate: Arc<tokio::sync::Mutex<()>>,
    learned: Mutex<Learned>,
    metrics: Arc<RegistryMetrics>,
}

/// Where to get tokens, and the scope that the challenge named.
type Followed = (Arc<Bearer>, Option<String>);

/// What one request carries. To be handed back as [`Authenticator::accepted`] or shown to
/// [`Authenticator::unauthorized`]; if it is dropped instead, the next request probes.
pub struct Authorization {
    header: Option<HeaderValue>,
    proof: Proof,
}

enum Proof {
    Nothing,
    /// Nothing, and whoever has this finds out. The gate opens when it is taken out or dropped.
    Probe(Mutex<Option<OwnedMutexGuard<()>>>),
    Basic(Credential),
    Token(Arc<Issued>),
}

impl Authorization {
    /// The value of the `Authorization` header, marked as sensitive; none if there is to be none.
    /// Only for requests to the registry's own scheme, host and port.
    pub fn header(&self) -> Option<&HeaderValue> {
        self.header.as_ref()
    }

    fn bare(proof: Proof) -> Self {
        Self { header: None, proof }
    }
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.proof {
            Proof::Nothing => f.write_str("Authorization(none)"),
            Proof::Probe(_) => f.write_str("Authorization(none, probing)"),
            Proof::Basic(_) => f.write_str("Authorization(basic)"),
            Proof::Token(issued) => write!(f, "Authorization({issued:?})"),
        }
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator")
            .field("registry", &self.registry)
            .field("base", &self.base.as_str())
            .finish_non_exhaustive()
    }
}

impl Authenticator {
    /// `base` is the scheme, host and port that the registry is spoken to at. `client` is for token
    /// servers: it must follow no redirects and have a connect time-out. `allowed_realms` are
    /// entries as [`realm::judge`] reads them.
    pub fn new(
        registry: RegistryHost,
        base: Url,
        credentials: Arc<dyn CredentialSource>,
        client: Client,
        allowed_realms: Vec<String>,
        clock: Clock,
        metrics: Arc<RegistryMetrics>,
    ) -> Self {
        Self {
            registry,
            base,
            credentials,
            tokens: TokenClient::new(client.clone(), clock.clone()),
            http: client,
            allowed_realms,
            cache: TokenCache::new(clock.clone()),
            clock,
            gate: Arc::default(),
            learned: Mutex::default(),
            metrics,
        }
    }

    /// What to send with a request that needs `scope`.
    ///
    /// While it is not known how this registry wants to be asked, one caller at a time gets an
    /// authorization without header and with it the duty to find out; the others wait, as long as
    /// the time-outs of its request allow.
    pub async fn authorize(&self, scope: &Scope) -> Result<Authorization, AuthError> {
        let way = match self.way(scope) {
            Some(way) => way,
            None => {
                let gate = self.gate.clone().lock_owned().await;
                match self.way(scope) {
                    Some(way) => way,
                    None => return Ok(Authorization::bare(Proof::Probe(Mutex::new(Some(gate))))),
                }
            }
        };
        match way {
            Way::Open => Ok(Authorization::bare(Proof::Nothing)),
            Way::Basic => self.with_password(scope).await,
            Way::Bearer(bearer) => {
                let issued = self.cache.get(scope, || self.fetch(&bearer, scope)).await?;
                let value = format!("Bearer {}", issued.token.secret.expose_secret());
                let header = sensitive(&value);
                Ok(Authorization { header, proof: Proof::Token(issued) })
            }
        }
    }

    /// Takes note of a 401 with these headers to a request for `scope` that carried `used`. Gives
    /// whether the request is worth sending once more, with what [`Authenticator::authorize`] gives
    /// then. If not, the credentials lack the right, or there are none.
    pub async fn unauthorized(
        &self,
        scope: &Scope,
        used: &Authorization,
        headers: &HeaderMap,
    ) -> Result<bool, AuthError> {
        let mut challenges = challenge::parse(headers);
        if challenges.is_empty() && matches!(used.proof, Proof::Nothing | Proof::Probe(_)) {
            // gcr.io has answers 401 without a challenge, but not to this.
            challenges = self.ask_base().await;
        }
        let again = self.learn(scope, used, &challenges).await;
        // Whether it was learned or not: the others need not wait any more.
        if let Proof::Probe(gate) = &used.proof {
            gate.lock().take();
        }
        again
    }

    /// Takes note of any other answer: the way in is known.
    pub fn accepted(&self, used: Authorization) {
        match &used.proof {
            Proof::Probe(gate) if gate.lock().is_some() => {
                self.learned.lock().is_open();
            }
            Proof::Token(issued) => self.cache.accept(issued),
            _ => {}
        }
    }

    async fn learn(
        &self,
        scope: &Scope,
        used: &Authorization,
        challenges: &[Challenge],
    ) -> Result<bool, AuthError> {
        let basic = challenges.contains(&Challenge::Basic);
        let bearer = match self.bearer(challenges) {
            // A foreign realm gives tokens to nobodies only: those who have a password, and may
            // show it to the registry itself, do that.
            Some(Ok((bearer, _)))
                if basic && !bearer.standing.trusted() && self.find(scope).await?.is_some() =>
            {
                None
            }
            followed => followed,
        };
        match (&used.proof, bearer) {
            // The token was refused.
            (Proof::Token(issued), Some(Ok((bearer, words)))) => {
                self.learned.lock().set_way(scope, Way::Bearer(bearer));
                if self.learned.lock().set_words(scope, words.as_deref()) {
                    self.cache.forget(scope);
                    return Ok(true);
                }
                Ok(self.cache.refuse(scope, issued))
            }
            // Harbor's catalog, even if the token is good.
            (Proof::Token(_), _) if basic && scope.access == Access::Catalog => {
                self.learned.lock().set_way(scope, Way::Basic);
                Ok(self.renew(scope, None).await?.is_some())
            }
            (Proof::Token(issued), _) => Ok(self.cache.refuse(scope, issued)),
            (_, Some(Ok((bearer, words)))) => {
                self.learned.lock().set_way(scope, Way::Bearer(bearer));
                self.learned.lock().set_words(scope, words.as_deref());
                Ok(true)
            }
            (Proof::Basic(refused), _) => Ok(self.renew(scope, Some(refused)).await?.is_some()),
            (Proof::Nothing | Proof::Probe(_), _) if basic => {
                self.learned.lock().set_way(scope, Way::Basic);
                Ok(self.renew(scope, None).await?.is_some())
            }
            (_, Some(Err(error))) => Err(error),
            _ => Ok(false),
        }
    }

    /// The first Bearer challenge that can be followed, with the scope it names; else why the
    /// first one cannot.
    fn bearer(&self, challenges: &[Challenge]) -> Option<Result<Followed, AuthError>> {
        let mut judged: Vec<_> = challenges
            .iter()
            .filter_map(|challenge| match challenge {
                Challenge::Bearer { realm, service, scope } => {
                    // A realm may be relative; one that is no address at all cannot be followed.
                    let realm = self.base.join(realm).ok()?;
                    let bearer = self.judge(realm, service.clone());
                    Some(bearer.map(|bearer| (Arc::new(bearer), scope.clone())))
                }
                Challenge::Basic => None,
            })
            .collect();
        let usable = judged.iter().position(Result::is_ok).unwrap_or(0);
        (usable < judged.len()).then(|| judged.swap_remove(usable))
    }

    fn judge(&self, realm: Url, service: Option<String>) -> Result<Bearer, AuthError> {
        match realm::judge(&realm, &self.base, &self.allowed_realms) {
            Ok(standing) => Ok(Bearer { realm, service, standing }),
            Err(reason) => Err(self.distrust(&realm, reason)),
        }
    }

    fn distrust(&self, realm: &Url, reason: &'static str) -> AuthError {
        AuthError::Realm {
            registry: self.registry.to_string(),
            realm: shown(realm),
            reason,
            origin: realm::origin(realm),
        }
    }

    fn way(&self, scope: &Scope) -> Option<Way> {
        self.learned.lock().way(scope)
    }

    async fn find(&self, scope: &Scope) -> Result<Option<Credential>, AuthError> {
        let repository = scope.repository.as_ref().map(RepositoryName::as_str);
        self.credentials.find(&self.registry, repository).await
    }

    /// Another credential than the one refused, if there is one by now.
    async fn renew(
        &self,
        scope: &Scope,
        refused: Option<&Credential>,
    ) -> Result<Option<Credential>, AuthError> {
        let repository = scope.repository.as_ref().map(RepositoryName::as_str);
        self.credentials.renew(&self.registry, repository, refused).await
    }

    async fn with_password(&self, scope: &Scope) -> Result<Authorization, AuthError> {
        let credential = self.find(scope).await?;
        let header = match &credential {
            None => None,
            Some(Credential::Password { username, password }) => basic(username, password),
            Some(Credential::RefreshToken(_)) => {
                return Err(AuthError::IdentityToken { registry: self.registry.to_string() });
            }
        };
        Ok(Authorization { header, proof: credential.map_or(Proof::Nothing, Proof::Basic) })
    }

    /// Fetches a token; once more where the credentials turn out to have been replaced meanwhile.
    async fn fetch(&self, bearer: &Bearer, scope: &Scope) -> Result<Token, AuthError> {
        let credential = self.find(scope).await?;
        let refused = match self.fetch_with(bearer, scope, credential.as_ref()).await {
            Err(error) if is_unknown(&error) => error,
            fetched => return fetched,
        };
        match self.renew(scope, credential.as_ref()).await? {
            Some(renewed) => self.fetch_with(bearer, scope, Some(&renewed)).await,
            None => Err(refused),
        }
    }

    async fn fetch_with(
        &self,
        bearer: &Bearer,
        scope: &Scope,
        credential: Option<&Credential>,
    ) -> Result<Token, AuthError> {
        if credential.is_some() && !bearer.standing.trusted() {
            let reason = "that is not where this registry's credentials may be sent";
            return Err(self.distrust(&bearer.realm, reason));
        }
        let held_back = |credential| self.learned.lock().held_back(credential, (self.clock)());
        if let Some(refusals) = credential.and_then(held_back) {
            let (registry, minutes) = (self.registry.to_string(), HOLD_BACK.as_secs() / 60);
            return Err(AuthError::HeldBack { registry, refusals, minutes });
        }
        let scopes = self.learned.lock().texts(scope);
        let request = Request {
            realm: &bearer.realm,
            compare_with: bearer.standing.suspect().then_some(&self.base),
            service: bearer.service.as_deref(),
            scopes: &scopes,
            credential,
        };
        let fetched = self.tokens.fetch(&request).await;
        self.metrics.token(match &fetched {
            Ok(_) => TokenOutcome::Granted,
            Err(AuthError::Refused { .. }) => TokenOutcome::Refused,
            Err(_) => TokenOutcome::Failed,
        });
        match (&fetched, credential) {
            (Ok(_), Some(_)) => self.learned.lock().known(),
            (Err(AuthError::Refused { status: 401, .. }), Some(credential)) => {
                self.learned.lock().refused(credential, (self.clock)());
            }
            _ => {}
        }
        fetched
    }

    /// The challenges of `GET /v2/`; none if that does not work.
    async fn ask_base(&self) -> Vec<Challenge> {
        let Ok(url) = self.base.join("/v2/") else { return Vec::new() };
        let answer = self.http.get(url).timeout(super::token::TIME_LIMIT).send().await;
        let Ok(answer) = answer else { return Vec::new() };
        self.metrics.answered(&Method::GET, answer.status());
        challenge::parse(answer.headers())
    }
}

/// Whether the token server does not know us: with other credentials it might.
fn is_unknown(error: &AuthError) -> bool {
    matches!(
        error,
        AuthError::Refused { status: 401, .. }
            | AuthError::Refused { status: 403, anonymous: true, .. }
            | AuthError::HeldBack { .. }
    )
}

/// The header of the Basic scheme (RFC 7617). There always is one: base64 is valid in a header.
pub(super) fn basic(username: &str, password: &SecretString) -> Option<HeaderValue> {
    let text = STANDARD.encode(format!("{username}:{}", password.expose_secret()));
    sensitive(&format!("Basic {text}"))
}

fn sensitive(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
impl Authenticator {
    pub(super) fn allow_realm(&mut self, entry: &str) {
        self.allowed_realms.push(entry.to_owned());
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
