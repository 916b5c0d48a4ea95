//! Checks everything once: the first that asks does the check, the others wait for its finding.

use std::convert::Infallible;

use super::report::Problem;
use crate::oci::Digest;
use crate::single_flight::SingleFlight;

/// What is wrong with something; `None`: nothing. Boxed, because there may be a million findings
/// with few problems among them.
type Finding = Option<Box<Problem>>;
/// The name of a repository or store, and a digest in it.
type Key = (String, Digest);

/// Findings by what was checked.
#[derive(Debug, Default)]
pub(super) struct Memo(SingleFlight<Key, Finding>);

impl Memo {
    /// The finding about something. `check` is run if there is none yet.
    pub async fn finding(
        &self,
        store: &str,
        digest: &Digest,
        check: impl Future<Output = Option<Problem>>,
    ) -> Option<Problem> {
        let key = (store.to_owned(), digest.clone());
        let check = async { Ok::<_, Infallible>(check.await.map(Box::new)) };
        let Ok(finding) = self.0.get(&key, |_| true, || check).await;
        finding.as_deref().cloned()
    }

    /// Forgets what was found wrong, so that it is checked again.
    pub fn forget_problems(&self) {
        self.0.retain(|_, finding| finding.is_none());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::super::report::ProblemKind;
    use super::*;

    #[tokio::test]
    async fn each_is_checked_once_and_problems_again() {
        let (memo, looks) = (Memo::default(), AtomicU32::new(0));
        let look = |wrong: bool| {
            looks.fetch_add(1, Ordering::Relaxed);
            async move {
                wrong.then(|| {
                    Problem::new(ProblemKind::BlobMissing, "a".to_owned(), "it is not there")
                })
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
