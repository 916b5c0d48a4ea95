//! Work that many want at once and one does: the others wait for it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

/// One lock per key, which exists only while somebody wants it. First come, first served.
#[derive(Debug)]
pub struct KeyedLocks<K> {
    held: Mutex<HashMap<K, Weak<tokio::sync::Mutex<()>>>>,
}

impl<K> Default for KeyedLocks<K> {
    fn default() -> Self {
        Self { held: Mutex::default() }
    }
}

impl<K: Hash + Eq + Clone> KeyedLocks<K> {
    /// Waits until nobody else holds the lock of this key.
    pub async fn lock(&self, key: &K) -> OwnedMutexGuard<()> {
        self.of(key).lock_owned().await
    }

    /// The lock of this key, unless somebody else holds it.
    pub fn try_lock(&self, key: &K) -> Option<OwnedMutexGuard<()>> {
        self.of(key).try_lock_owned().ok()
    }

    fn of(&self, key: &K) -> Arc<tokio::sync::Mutex<()>> {
        let mut held = self.held.lock();
        if let Some(lock) = held.get(key).and_then(Weak::upgrade) {
            return lock;
        }
        // Released locks are swept out when the map would grow, so that it stays as small as what
        // is held.
        if held.len() == held.capacity() {
            held.retain(|_, lock| lock.strong_count() > 0);
        }
        let lock = Arc::default();
        held.insert(key.clone(), Arc::downgrade(&lock));
        lock
    }
}

/// Values by key. Each is fetched by the first who wants it; those who come meanwhile wait and get
/// the same value. If the one who fetches gives up, the next in line fetches.
#[derive(Debug)]
pub struct SingleFlight<K, V> {
    known: Mutex<HashMap<K, V>>,
    fetching: KeyedLocks<K>,
}

impl<K, V> Default for SingleFlight<K, V> {
    fn default() -> Self {
        Self { known: Mutex::default(), fetching: KeyedLocks::default() }
    }
}

impl<K: Hash + Eq + Clone, V: Clone> SingleFlight<K, V> {
    /// The known value of this key if it is `good`, else what `fetch` gives, which is known from
    /// then on. An error goes to the one who fetched and is not remembered.
    pub async fn get<E, F>(
        &self,
        key: &K,
        good: impl Fn(&V) -> bool,
        fetch: impl FnOnce() -> F,
    ) -> Result<V, E>
    where
        F: Future<Output = Result<V, E>>,
    {
        let known = || self.known.lock().get(key).filter(|value| good(value)).cloned();
        if let Some(value) = known() {
            return Ok(value);
        }
        let _fetching = self.fetching.lock(key).await;
        if let Some(value) = known() {
            return Ok(value);
        }
        let value = fetch().await?;
        self.known.lock().insert(key.clone(), value.clone());
        Ok(value)
    }

    /// Forgets the values that `keep` does not want.
    pub fn retain(&self, mut keep: impl FnMut(&K, &V) -> bool) {
        self.known.lock().retain(|key, value| keep(key, value));
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn one_at_a_time_for_each_key_and_nothing_is_kept() {
        let locks = KeyedLocks::default();
        let one = locks.lock(&1).await;
        let other = locks.lock(&2).await;
        let waiting = tokio::time::timeout(Duration::from_millis(20), locks.lock(&1));
        assert!(waiting.await.is_err());
        assert!(locks.try_lock(&1).is_none());
        drop(one);
        drop(locks.lock(&1).await);
        assert!(locks.try_lock(&1).is_some());
        drop(other);
        for key in 0..1000 {
            drop(locks.lock(&key).await);
        }
        assert!(locks.held.lock().len() < 50);
    }

    #[tokio::test]
    async fn many_who_want_the_same_share_one_fetch() {
        let (flights, fetched) = (SingleFlight::default(), AtomicU32::new(0));
        let get = |key: &'static str, least: u32| {
            let (flights, fetched) = (&flights, &fetched);
            async move {
                let fetch = || async {
                    tokio::task::yield_now().await;
                    Ok::<_, Infallible>(fetched.fetch_add(1, Ordering::Relaxed))
                };
                let Ok(value) = flights.get(&key, |value| *value >= least, fetch).await;
                value
            }
        };
        let all = futures_util::future::join_all((0..20).map(|_| get("a", 0))).await;
        assert_eq!(all, [0; 20]);
        assert_eq!(get("b", 0).await, 1);
        assert_eq!(get("a", 1).await, 2, "what is known was not good enough");
        assert_eq!(get("a", 0).await, 2);
        flights.retain(|key, _| *key == "b");
        assert_eq!((get("a", 0).await, get("b", 0).await), (3, 1));
    }

    #[tokio::test]
    async fn an_error_or_a_fetcher_that_is_gone_leaves_the_work_to_the_next() {
        let flights = SingleFlight::<u8, u8>::default();
        let failing = flights.get(&1, |_| true, || async { Err("away") });
        assert_eq!(failing.await, Err("away"));
        let good = || flights.get(&1, |_| true, || async { Ok::<_, Infallible>(7) });
        let mut stuck =
            Box::pin(flights.get(&1, |_| true, std::future::pending::<Result<u8, Infallible>>));
        assert!(futures_util::poll!(&mut stuck).is_pending());
        let mut waiting = Box::pin(good());
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(stuck);
        assert_eq!(waiting.await, Ok(7));
    }
}
