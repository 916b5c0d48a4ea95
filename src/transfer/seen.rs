//! What was seen at the targets lately, as hashes. It saves looks into the state, and knows more
//! locations of a blob than the state keeps. Forgotten after a while: targets are cleaned up, and
//! a process may live for months.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

/// What was seen is believed for this long at least, and twice as long at most …
const BELIEVED: Duration = Duration::from_secs(10 * 60);
/// … or until this many more were seen: two megabytes.
const MOST: usize = 100_000;

/// 64 bits of who holds what. Two that collide cost a refused manifest and a second look.
pub type Mark = u64;

#[derive(Debug)]
pub struct Seen {
    young: HashSet<Mark>,
    old: HashSet<Mark>,
    /// When the young ones began.
    since: Instant,
}

impl Default for Seen {
    fn default() -> Self {
        Self { young: HashSet::new(), old: HashSet::new(), since: Instant::now() }
    }
}

impl Seen {
    pub fn contains(&mut self, mark: Mark) -> bool {
        self.age();
        self.young.contains(&mark) || self.old.contains(&mark)
    }

    pub fn insert(&mut self, mark: Mark) {
        self.age();
        self.young.insert(mark);
    }

    pub fn remove(&mut self, mark: Mark) {
        self.young.remove(&mark);
        self.old.remove(&mark);
    }

    fn age(&mut self) {
        let now = Instant::now();
        let age = now.saturating_duration_since(self.since);
        if age < BELIEVED && self.young.len() < MOST {
            return;
        }
        // Nobody looked for so long that the young ones are too old as well.
        if age >= 2 * BELIEVED {
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
    async fn what_was_seen_is_believed_for_a_while() {
        let mut seen = Seen::default();
        seen.insert(1);
        tokio::time::advance(BELIEVED - Duration::from_secs(1)).await;
        seen.insert(2);
        assert!(seen.contains(1));
        tokio::time::advance(BELIEVED / 2).await;
        assert!(seen.contains(1) && seen.contains(2));
        seen.remove(2);
        assert!(!seen.contains(2));
        tokio::time::advance(BELIEVED).await;
        assert!(!seen.contains(1));
        seen.insert(3);
        tokio::time::advance(3 * BELIEVED).await;
        assert!(!seen.contains(3), "however seldom somebody looks");
    }

    #[tokio::test(start_paused = true)]
    async fn it_does_not_grow() {
        let mut seen = Seen::default();
        for mark in 0..5 * MOST as Mark {
            seen.insert(mark);
        }
        assert!(seen.young.len() + seen.old.len() <= 2 * MOST);
        assert!(seen.contains(5 * MOST as Mark - 1));
    }
}
