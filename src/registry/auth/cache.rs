//! Tokens that were fetched: one for each scope, asked for once however many want it, replaced
//! before it expires.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Clock;
use super::error::AuthError;
use super::scope::Scope;
use super::token::Token;

/// A refusal of the token server is believed for so long before it is asked again.
const REFUSAL_HOLDS: Duration = Duration::from_secs(60);

/// Another failure: long enough for those that waited for the same token.
const FAILURE_HOLDS: Duration = Duration::from_secs(2);

/// Above so many scopes, those whose tokens have expired are forgotten.
const MANY: usize = 1024;

/// A token in use.
pub(super) struct Issued {
    pub token: Token,
    /// For what it was fetched; it may serve other scopes, too.
    pub scope: Scope,
    number: u64,
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "token {} for {:?}", self.number, self.scope)
    }
}

impl Issued {
    /// A fifth of its life before it expires, a token is replaced: so it lasts for the request.
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
    slots: Mutex<HashMap<Scope, Arc<Slot>>>,
    clock: Clock,
    issued: AtomicU64,
}

#[derive(Default)]
struct Slot {
    held: Mutex<Held>,
    /// Held by the one that fetches.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Held {
    token: Option<Arc<Issued>>,
    failure: Option<(Instant, AuthError)>,
    /// The registry refused a token for this scope, and none was accepted since.
    refused: bool,
}

impl TokenCache {
    pub fn new(clock: Clock) -> Self {
        Self { slots: Mutex::default(), clock, issued: AtomicU64::new(0) }
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
        let slot = self.slot(scope);
        if let Some(ready) = self.ready(scope, &slot) {
            return Ok(ready);
        }
        let _fetching = match slot.fetching.try_lock() {
            Ok(fetching) => fetching,
            Err(_) => match slot.valid((self.clock)()) {
                // Somebody is replacing it; until then it is good.
                Some(valid) => return Ok(valid),
                None => slot.fetching.lock().await,
            },
        };
        if let Some(ready) = self.ready(scope, &slot) {
            return Ok(ready);
        }
        if let Some(failure) = slot.failure((self.clock)()) {
            return slot.valid((self.clock)()).ok_or(failure);
        }
        let fetched = fetch().await;
        let mut held = slot.held.lock();
        match fetched {
            Ok(token) => {
                let number = self.issued.fetch_add(1, Ordering::Relaxed);
                let issued = Arc::new(Issued { token, scope: scope.clone(), number });
                held.token = Some(issued.clone());
                held.failure = None;
                Ok(issued)
            }
            Err(error) => {
                let now = (self.clock)();
                held.failure = Some((now, error.clone()));
                held.token.clone().filter(|token| token.is_valid(now)).ok_or(error)
            }
        }
    }

    /// The registry did not accept `issued` for `scope`. Gives whether another token may help: it
    /// cannot if this one already was fetched because of such a refusal.
    pub fn refuse(&self, scope: &Scope, issued: &Issued) -> bool {
        let slot = self.slot(scope);
        let mut held = slot.held.lock();
        if issued.scope != *scope {
            // A token for more that turned out to be good for less: fetch one of its own.
            return !std::mem::replace(&mut held.refused, true);
        }
        match &held.token {
            Some(token) if token.number != issued.number => true,
            Some(_) if held.refused => false,
            _ => {
                held.token = None;
                held.failure = None;
                held.refused = true;
                true
            }
        }
    }

    /// Another scope text will be asked for from now on: what is held is of no use.
    pub fn forget(&self, scope: &Scope) {
        let slot = self.slot(scope);
        let mut held = slot.held.lock();
        *held = Held { refused: true, ..Held::default() };
    }

    /// The registry accepted it: a refusal that comes later is another matter.
    pub fn accept(&self, issued: &Issued) {
        if let Some(slot) = self.slots.lock().get(&issued.scope).cloned() {
            slot.held.lock().refused = false;
        }
    }

    fn ready(&self, scope: &Scope, slot: &Slot) -> Option<Arc<Issued>> {
        let now = (self.clock)();
        let fresh = |slot: &Slot| slot.held.lock().token.clone().filter(|t| t.is_fresh(now));
        let own = fresh(slot);
        if own.is_some() || slot.held.lock().refused {
            return own;
        }
        let wider = self.slots.lock().get(&scope.served_by()?).cloned()?;
        fresh(&wider)
    }

    fn slot(&self, scope: &Scope) -> Arc<Slot> {
        let mut slots = self.slots.lock();
        if let Some(slot) = slots.get(scope) {
            return slot.clone();
        }
        if slots.len() >= MANY {
            let now = (self.clock)();
            slots.retain(|_, slot| Arc::strong_count(slot) > 1 || slot.matters(now));
        }
        slots.entry(scope.clone()).or_default().clone()
    }
}

impl Slot {
    fn valid(&self, now: Instant) -> Option<Arc<Issued>> {
        self.held.lock().token.clone().filter(|token| token.is_valid(now))
    }

    fn failure(&self, now: Instant) -> Option<AuthError> {
        let held = self.held.lock();
        let (at, error) = held.failure.as_ref()?;
        let holds = if error.is_refusal() { REFUSAL_HOLDS } else { FAILURE_HOLDS };
        (now.saturating_duration_since(*at) < holds).then(|| error.clone())
    }

    fn matters(&self, now: Instant) -> bool {
        self.valid(now).is_some() || self.failure(now).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::ManualClock;
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
        assert_eq!(cache.slots.lock().len(), 1);
    }

    #[tokio::test]
    async fn an_old_token_serves_while_the_server_fails() {
        let (cache, clock) = cache();
        let scope = pull("a");
        let failing = || async {
            Err(AuthError::TokenServer { server: "s".into(), problem: "is away".into() })
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
