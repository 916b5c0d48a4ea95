//! One lock a key, made when wanted and gone when not: who holds it works, the rest wait.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

/// Locks by key. First come, first served.
#[derive(Debug)]
pub struct Locks<K> {
    held: Mutex<HashMap<K, Weak<tokio::sync::Mutex<()>>>>,
}

impl<K> Default for Locks<K> {
    fn default() -> Self {
        Self { held: Mutex::default() }
    }
}

impl<K: Hash + Eq + Clone> Locks<K> {
    /// Waits until this key is nobody else's.
    pub async fn lock(&self, key: &K) -> OwnedMutexGuard<()> {
        let lock = {
            let mut held = self.held.lock();
            match held.get(key).and_then(Weak::upgrade) {
                Some(lock) => lock,
                None => {
                    // Forgotten locks are swept out when the map would grow, so that it stays
                    // as small as what is under way.
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
    async fn one_at_a_time_for_each_key_and_nothing_is_kept() {
        let locks = Locks::default();
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
