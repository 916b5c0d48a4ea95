//! One lock for each key, which exists only while somebody holds it or waits for it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

/// Locks by key. The first to come is the first to get it.
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
        let lock = {
            let mut held = self.held.lock();
            match held.get(key).and_then(Weak::upgrade) {
                Some(lock) => lock,
                None => {
                    // Unused locks are removed when the map would grow, so that it stays as small
                    // as the number of locks in use.
                    if held.len() == held.capacity() {
                        held.retain(|_, lock| lock.strong_count() > 0);
                    }
                    let lock = Arc::new(tokio::sync::Mutex::new(()));
                    held.insert(key.clone(), Arc::downgrade(&lock));
                    lock
                }
            }
        };
        lock.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_key_has_one_holder_and_unused_locks_are_removed() {
        let locks = KeyedLocks::default();
        let one = locks.lock(&1).await;
        let other = locks.lock(&2).await;
        let waiting = tokio::time::timeout(std::time::Duration::from_millis(20), locks.lock(&1));
        assert!(waiting.await.is_err());
        drop(one);
        drop(locks.lock(&1).await);
        drop(other);
        for key in 0..1000 {
            drop(locks.lock(&key).await);
        }
        assert!(locks.held.lock().len() < 50);
    }
}
