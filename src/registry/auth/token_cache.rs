//! Tokens that were fetched: one for each scope, fetched once however many want it, replaced before
//! it expires.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::clock::Clock;
use super::error::AuthError;
use super::scope::Scope;
use super::token::Token;
use crate::single_flight::KeyedLocks;

/// How long a refusal of the token server holds before it is asked again.
const REFUSAL_HOLDS: Duration = Duration::from_secs(60);

/// The same for other failures: long enough for those that waited for the same token.
const FAILURE_HOLDS: Duration = Duration::from_secs(2);

/// Above this many scopes, those whose tokens have expired are forgotten.
const MANY: usize = 1024;

/// A token in use.
pub(super) struct Issued {
    pub token: Token,
    /// What it was fetched for; it may serve other scopes as well.
    pub scope: Scope,
    number: u64,
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "token {} for {:?}", self.number, self.scope)
    }
}

impl Issued {
    /// A token is replaced when a fifth of its life is left, so that it lasts for the request.
    fn is_fresh(&self, now: Instant) -> bool {
        self.age(now) < self.token.lifetime.mul_f32(0.8)
    }

    fn is_valid(&self, now: Instant) -> bool {
        self.age(now) < self.token.lifetime
    }

    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.token.since)
    }
}

pub(super) struct TokenCache {
    known: Mutex<HashMap<Scope, Known>>,
    fetching: KeyedLocks<Scope>,
    clock: Clock,
    issued: AtomicU64,
}

/// What is known for one scope.
#[derive(Default)]
struct Known {
    token: Option<Arc<Issued>>,
    failure: Option<(Instant, AuthError)>,
    /// The registry refused a token for this scope, and none was accepted since.
    refused: bool,
}

impl Known {
    fn valid(&self, now: Instant) -> Option<Arc<Issued>> {
        self.token.clone().filter(|token| token.is_valid(now))
    }

    fn failure(&self, now: Instant) -> Option<AuthError> {
        let (at, error) = self.failure.as_ref()?;
        let holds = if error.is_refusal() { REFUSAL_HOLDS } else { FAILURE_HOLDS };
        (now.saturating_duration_since(*at) < holds).then(|| error.clone())
    }
}

impl TokenCache {
    pub fn new(clock: Clock) -> Self {
        let (known, fetching) = (Mutex::default(), KeyedLocks::default());
        Self { known, fetching, clock, issued: AtomicU64::new(0) }
    }

    /// The token for a scope, by `fetch` if there is none that lasts.
    pub async fn get<F>(
        &self,
        scope: &Scope,
        fetch: impl FnOnce() -> F,
    ) -> Result<Arc<Issued>, AuthError>
    where
        F: Future<Output = Result<Token, AuthError>>,
    {
        if let Some(fresh) = self.fresh(scope) {
            return Ok(fresh);
        }
        let _fetching = match self.fetching.try_lock(scope) {
            Some(fetching) => fetching,
            None => match self.with(scope, Known::valid) {
                // Somebody is replacing it; until then it is good.
                Some(valid) => return Ok(valid),
                None => self.fetching.lock(scope).await,
            },
        };
        if let Some(fresh) = self.fresh(scope) {
            return Ok(fresh);
        }
        if let Some(failure) = self.with(scope, Known::failure) {
            return self.with(scope, Known::valid).ok_or(failure);
        }
        match fetch().await {
            Ok(token) => {
                let number = self.issued.fetch_add(1, Ordering::Relaxed);
                let issued = Arc::new(Issued { token, scope: scope.clone(), number });
                self.change(scope, |known| {
                    (known.token, known.failure) = (Some(issued.clone()), None);
                });
                Ok(issued)
            }
            Err(error) => {
                let now = (self.clock)();
                self.change(scope, |known| {
                    known.failure = Some((now, error.clone()));
                    known.valid(now).ok_or(error)
                })
            }
        }
    }

    /// The registry did not accept `issued` for `scope`. Returns whether another token may help: it
    /// cannot if this one was already fetched because of such a refusal.
    pub fn refuse(&self, scope: &Scope, issued: &Issued) -> bool {
        self.change(scope, |known| {
            if issued.scope != *scope {
                // A token for more that turned out to be good for less: fetch one of its own.
                return !std::mem::replace(&mut known.refused, true);
            }
            match &known.token {
                Some(token) if token.number != issued.number => true,
                Some(_) if known.refused => false,
                _ => {
                    *known = Known { refused: true, ..Known::default() };
                    true
                }
            }
        })
    }

    /// The scope will be asked for in another form from now on: what is known is of no use.
    pub fn forget(&self, scope: &Scope) {
        self.change(scope, |known| *known = Known { refused: true, ..Known::default() });
    }

    /// The registry accepted it: a later refusal has another reason.
    pub fn accept(&self, issued: &Issued) {
        if let Some(known) = self.known.lock().get_mut(&issued.scope) {
            known.refused = false;
        }
    }

    /// A token for this scope, or for one that includes it, which need not be replaced yet.
    fn fresh(&self, scope: &Scope) -> Option<Arc<Issued>> {
        let now = (self.clock)();
        let known = self.known.lock();
        let fresh = |of: &Known| of.token.clone().filter(|token| token.is_fresh(now));
        let own = known.get(scope);
        own.and_then(fresh).or_else(|| {
            let may_share = !own.is_some_and(|own| own.refused);
            known.get(&scope.served_by().filter(|_| may_share)?).and_then(fresh)
        })
    }

    fn with<T>(&self, scope: &Scope, read: impl FnOnce(&Known, Instant) -> Option<T>) -> Option<T> {
        read(self.known.lock().get(scope)?, (self.clock)())
    }

    fn change<T>(&self, scope: &Scope, change: impl FnOnce(&mut Known) -> T) -> T {
        let mut known = self.known.lock();
        if known.len() >= MANY && !known.contains_key(scope) {
            let now = (self.clock)();
            known.retain(|scope, known| {
                known.valid(now).is_some()
                    || known.failure(now).is_some()
                    || self.fetching.try_lock(scope).is_none()
            });
        }
        change(known.entry(scope.clone()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::super::clock::ManualClock;
    use super::*;

    fn cache() -> (TokenCache, ManualClock) {
        let clock = ManualClock::new();
        (TokenCache::new(clock.clock()), clock)
    }

    fn pull(name: &str) -> Scope {
        Scope::pull(name.parse().unwrap())
    }

    fn token(clock: &ManualClock, seconds: u64) -> Token {
        let lifetime = Duration::from_secs(seconds);
        Token { secret: "t".into(), since: clock.clock()(), lifetime }
    }

    #[tokio::test]
    async fn expired_scopes_are_forgotten_when_there_are_many() {
        let (cache, clock) = cache();
        for number in 0..MANY {
            let scope = pull(&format!("a/{number}"));
            cache.get(&scope, || async { Ok(token(&clock, 60)) }).await.unwrap();
        }
        clock.advance(Duration::from_secs(61));
        cache.get(&pull("b"), || async { Ok(token(&clock, 60)) }).await.unwrap();
        assert_eq!(cache.known.lock().len(), 1);
    }

    #[tokio::test]
    async fn an_old_token_serves_while_the_server_fails() {
        let (cache, clock) = cache();
        let scope = pull("a");
        let failing = || async {
            let kind = crate::repository::ErrorKind::Credentials;
            Err(AuthError::TokenServer { server: "s".into(), problem: "is away".into(), kind })
        };
        let first = cache.get(&scope, || async { Ok(token(&clock, 100)) }).await.unwrap();
        clock.advance(Duration::from_secs(85));
        let second = cache.get(&scope, failing).await.unwrap();
        assert_eq!(first.number, second.number);
        clock.advance(Duration::from_secs(16));
        assert!(cache.get(&scope, failing).await.is_err());
        let third = cache.get(&scope, || async { Ok(token(&clock, 100)) }).await;
        assert!(third.is_err(), "the failure is shared for a moment");
        clock.advance(FAILURE_HOLDS);
        assert!(cache.get(&scope, || async { Ok(token(&clock, 100)) }).await.is_ok());
    }

    /// While one replaces a token, the others go on with the old one.
    #[tokio::test]
    async fn replacing_a_token_holds_nobody_up() {
        let (cache, clock) = cache();
        let scope = pull("a");
        let first = cache.get(&scope, || async { Ok(token(&clock, 100)) }).await.unwrap();
        clock.advance(Duration::from_secs(85));
        let (started, go) = tokio::sync::oneshot::channel::<()>();
        let replaced = cache.get(&scope, || async {
            go.await.unwrap();
            Ok(token(&clock, 100))
        });
        let other = async {
            let other = cache.get(&scope, || async { panic!("fetched twice") }).await.unwrap();
            started.send(()).unwrap();
            other
        };
        let (replaced, other) = tokio::join!(replaced, other);
        assert_eq!(other.number, first.number);
        assert_ne!(replaced.unwrap().number, first.number);
    }
}
