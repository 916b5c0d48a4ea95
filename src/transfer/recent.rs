//! Which blobs targets were lately seen to have, as hashes. It saves reads of the state, and holds
//! more locations of a blob than the state keeps. Entries expire: targets are cleaned up, and a
//! process may live for months.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

/// An entry is kept for this long at least, and twice as long at most …
const LIFETIME: Duration = Duration::from_secs(10 * 60);
/// … or until this many more were added: two megabytes.
const CAPACITY: usize = 100_000;

/// A set of 64-bit hashes of (repository, blob). Two entries that collide cost a refused manifest
/// and a second look.
#[derive(Debug)]
pub struct RecentBlobs {
    young: HashSet<u64>,
    old: HashSet<u64>,
    /// When `young` was begun.
    since: Instant,
}

impl Default for RecentBlobs {
    fn default() -> Self {
        Self { young: HashSet::new(), old: HashSet::new(), since: Instant::now() }
    }
}

impl RecentBlobs {
    pub fn contains(&mut self, hash: u64) -> bool {
        self.age();
        self.young.contains(&hash) || self.old.contains(&hash)
    }

    pub fn insert(&mut self, hash: u64) {
        self.age();
        self.young.insert(hash);
    }

    pub fn remove(&mut self, hash: u64) {
        self.young.remove(&hash);
        self.old.remove(&hash);
    }

    fn age(&mut self) {
        let now = Instant::now();
        let age = now.saturating_duration_since(self.since);
        if age < LIFETIME && self.young.len() < CAPACITY {
            return;
        }
        // Nobody asked for so long that the young entries are too old as well.
        if age >= 2 * LIFETIME {
            self.young = HashSet::new();
        }
        self.old = std::mem::take(&mut self.young);
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn entries_are_kept_for_a_while() {
        let mut recent = RecentBlobs::default();
        recent.insert(1);
        tokio::time::advance(LIFETIME - Duration::from_secs(1)).await;
        recent.insert(2);
        assert!(recent.contains(1));
        tokio::time::advance(LIFETIME / 2).await;
        assert!(recent.contains(1) && recent.contains(2));
        recent.remove(2);
        assert!(!recent.contains(2));
        tokio::time::advance(LIFETIME).await;
        assert!(!recent.contains(1));
        recent.insert(3);
        tokio::time::advance(3 * LIFETIME).await;
        assert!(!recent.contains(3), "however seldom it is asked");
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded() {
        let mut recent = RecentBlobs::default();
        for hash in 0..5 * CAPACITY as u64 {
            recent.insert(hash);
        }
        assert!(recent.young.len() + recent.old.len() <= 2 * CAPACITY);
        assert!(recent.contains(5 * CAPACITY as u64 - 1));
    }
}
