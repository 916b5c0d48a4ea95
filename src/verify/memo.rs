//! Each thing is looked at once, by the first who wants to know; the rest wait for what it finds.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::OnceCell;

use super::report::Problem;
use crate::oci::Digest;

/// What is wrong with something; `None`: nothing. Boxed, because there may be a million of them
/// and few problems.
type Finding = Option<Box<Problem>>;
/// A repository's or store's name, and what in it.
type Key = (String, Digest);

/// Findings by what they are about.
#[derive(Debug, Default)]
pub(super) struct Memo(Mutex<HashMap<Key, Arc<OnceCell<Finding>>>>);

impl Memo {
    /// What is known of something, after having looked at it where nothing is.
    pub async fn finding(
        &self,
        place: &str,
        digest: &Digest,
        look: impl Future<Output = Option<Problem>>,
    ) -> Option<Problem> {
        let cell = {
            let mut known = self.0.lock();
            known.entry((place.to_owned(), digest.clone())).or_default().clone()
        };
        let finding = cell.get_or_init(|| async { look.await.map(Box::new) }).await;
        finding.as_deref().cloned()
    }

    /// Drops what was found wrong, so that it is looked at again.
    pub fn forget_problems(&self) {
        let mut known = self.0.lock();
        known.retain(|_, cell| matches!(cell.get(), Some(None)));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::super::report::Kind;
    use super::*;

    #[tokio::test]
    async fn each_is_looked_at_once_and_problems_again() {
        let (memo, looks) = (Memo::default(), AtomicU32::new(0));
        let look = |wrong: bool| {
            looks.fetch_add(1, Ordering::Relaxed);
            async move {
                wrong.then(|| Problem::new(Kind::BlobMissing, "a".to_owned(), "it is not there"))
            }
        };
        let (good, bad) = (Digest::of(b"good"), Digest::of(b"bad"));
        let counted = |wrong| async move { look(wrong).await };
        for _ in 0..2 {
            assert!(memo.finding("r", &good, counted(false)).await.is_none());
            assert!(memo.finding("r", &bad, counted(true)).await.is_some());
        }
        assert_eq!(looks.load(Ordering::Relaxed), 2);
        memo.forget_problems();
        assert!(memo.finding("r", &good, counted(true)).await.is_none());
        assert!(memo.finding("r", &bad, counted(false)).await.is_none());
        assert!(memo.finding("other", &bad, counted(true)).await.is_some());
        assert_eq!(looks.load(Ordering::Relaxed), 4);
    }
}
