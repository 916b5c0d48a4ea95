//! Checks everything once: the first that asks does the check, the others wait for its finding.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};

use super::report::Problem;
use crate::oci::Digest;
use crate::single_flight::SingleFlight;

/// What is wrong with something, and in which round that was found; `None`: nothing. Boxed, because
/// there may be a million findings with few problems among them.
type Finding = Option<Box<(u64, Problem)>>;
/// The name of a repository or store, and a digest in it.
type Key = (String, Digest);

/// Findings by what was checked.
#[derive(Debug, Default)]
pub(super) struct Memo {
    findings: SingleFlight<Key, Finding>,
    /// A new round begins whenever problems are forgotten. What a check finds wrong that began in an
    /// earlier round may have been repaired meanwhile.
    round: AtomicU64,
}

impl Memo {
    /// The finding about something. `check` is run if there is none yet.
    pub async fn finding(
        &self,
        store: &str,
        digest: &Digest,
        check: impl Future<Output = Option<Problem>>,
    ) -> Option<Problem> {
        let key = (store.to_owned(), digest.clone());
        let round = || self.round.load(Ordering::Relaxed);
        let asked_in = round();
        let is_good =
            |finding: &Finding| finding.as_ref().is_none_or(|problem| problem.0 >= asked_in);
        let check = async {
            let begun_in = round();
            Ok::<_, Infallible>(check.await.map(|problem| Box::new((begun_in, problem))))
        };
        let Ok(finding) = self.findings.get(&key, is_good, || check).await;
        finding.map(|problem| problem.1)
    }

    /// Forgets what was found wrong, so that it is checked again.
    pub fn forget_problems(&self) {
        self.round.fetch_add(1, Ordering::Relaxed);
        self.findings.retain(|_, finding| finding.is_none());
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

    /// Rules are compared side by side: what one finds wrong may be what another has just repaired.
    #[tokio::test]
    async fn what_was_found_before_a_repair_says_nothing_afterwards() {
        let (memo, digest) = (Memo::default(), Digest::of(b"blob"));
        let (answer, answered) = tokio::sync::oneshot::channel();
        let before = memo.finding("r", &digest, async { answered.await.unwrap() });
        let mut before = Box::pin(before);
        assert!(futures_util::poll!(&mut before).is_pending());
        memo.forget_problems();
        let mut after = Box::pin(memo.finding("r", &digest, async { None }));
        assert!(futures_util::poll!(&mut after).is_pending());
        let missing = Problem::new(ProblemKind::BlobMissing, "a".to_owned(), "it is not there");
        answer.send(Some(missing)).unwrap();
        assert!(before.await.is_some());
        assert!(after.await.is_none());
    }
}
