//! Whose turn it is to bring a blob into a store: one transfer brings it, the others wait, and mount it
//! then. They do not wait for one whose source gives nothing: then the next one brings the blob too.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

use crate::fair::{Flow, Pulses};
use crate::oci::Digest;
use crate::repository::Repository;
use crate::single_flight::KeyedLocks;

/// A source that gives nothing for so long is not waited for by others.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often those who wait look at the one that they wait for.
const LOOK: Duration = Duration::from_millis(500);

/// A store, a blob, and how many transfers that starve have been passed by.
type Key = (String, Digest, usize);

/// The turns, of all transfers of a process.
#[derive(Debug)]
pub(super) struct BlobTurns {
    turns: KeyedLocks<Key>,
    holders: Mutex<HashMap<Key, Arc<SourceWait>>>,
    /// By repository and blob. Whoever is passed by still uploads, and the journal has one upload of a
    /// blob to a repository: this is never passed by.
    uploads: KeyedLocks<(String, Digest)>,
    pulses: Pulses,
}

/// The right to bring a blob into a store, until dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    // Dropped in this order: the next holder comes after this one has left.
    _holder: Holder<'a>,
    _turn: OwnedMutexGuard<()>,
    _upload: OwnedMutexGuard<()>,
}

/// Keeps a holder known until it is dropped.
#[derive(Debug)]
struct Holder<'a> {
    turns: &'a BlobTurns,
    key: Key,
}

/// Whether a transfer that has turns waits for something that those who wait for it do not need.
#[derive(Debug, Default)]
pub(super) struct SourceWait(Mutex<Option<Waiting>>);

#[derive(Debug, Clone, Copy)]
struct Waiting {
    since: Instant,
    /// It waits for a permit, which counts only if this flow has stalled: it gets none then.
    permit_of: Option<Flow>,
}

impl SourceWait {
    /// It waits for bytes of the source, if it does not already.
    pub fn begin(&self) {
        self.0.lock().get_or_insert_with(|| Waiting { since: Instant::now(), permit_of: None });
    }

    /// The source has given something.
    pub fn end(&self) {
        *self.0.lock() = None;
    }

    /// Waits for a permit of this flow.
    pub async fn for_permit<T>(&self, flow: Flow, permit: impl Future<Output = T>) -> T {
        *self.0.lock() = Some(Waiting { since: Instant::now(), permit_of: Some(flow) });
        let permit = permit.await;
        self.end();
        permit
    }

    fn is_long(&self, pulses: &Pulses) -> bool {
        self.0.lock().is_some_and(|waiting| {
            waiting.since.elapsed() >= PATIENCE
                && waiting.permit_of.is_none_or(|flow| pulses.has_stalled(flow))
        })
    }
}

impl BlobTurns {
    /// `pulses` tell which flows have stalled.
    pub fn new(pulses: Pulses) -> Self {
        let (turns, uploads) = (KeyedLocks::default(), KeyedLocks::default());
        Self { turns, holders: Mutex::default(), uploads, pulses }
    }

    /// Waits for the turn to bring a blob into a store. `wait` is what the transfer says of itself from
    /// then on.
    pub async fn take(
        &self,
        target: &dyn Repository,
        blob: &Digest,
        wait: &Arc<SourceWait>,
    ) -> Turn<'_> {
        self.take_for(target.store(), target.name(), blob, wait).await
    }

    async fn take_for(
        &self,
        store: &str,
        repository: &str,
        blob: &Digest,
        wait: &Arc<SourceWait>,
    ) -> Turn<'_> {
        let mut key = (store.to_owned(), blob.clone(), 0);
        let turn = loop {
            tokio::select! {
                biased;
                turn = self.turns.lock(&key) => break turn,
                () = self.until_holder_starves(&key) => {
                    tracing::debug!(%blob, store, "another source of the blob gives nothing, not waiting for it");
                    key.2 += 1;
                }
            }
        };
        self.holders.lock().insert(key.clone(), Arc::clone(wait));
        let holder = Holder { turns: self, key };
        // One that was passed by may be at it, and starve.
        wait.begin();
        let upload = self.uploads.lock(&(repository.to_owned(), blob.clone())).await;
        wait.end();
        Turn { _holder: holder, _turn: turn, _upload: upload }
    }

    async fn until_holder_starves(&self, key: &Key) {
        loop {
            tokio::time::sleep(LOOK).await;
            let holder = self.holders.lock().get(key).cloned();
            if holder.is_some_and(|wait| wait.is_long(&self.pulses)) {
                return;
            }
        }
    }
}

impl Drop for Holder<'_> {
    fn drop(&mut self) {
        self.turns.holders.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fair::Pulse;

    const LONG: Duration = Duration::from_secs(60);

    struct Bench {
        turns: BlobTurns,
        blob: Digest,
    }

    impl Bench {
        fn new() -> Self {
            Self { turns: BlobTurns::new(Pulses::default()), blob: Digest::of(b"blob") }
        }

        async fn take(&self, repository: &str, wait: &Arc<SourceWait>) -> Turn<'_> {
            self.turns.take_for("t", repository, &self.blob, wait).await
        }

        /// Whether another transfer gets a turn before long.
        async fn is_taken(&self, repository: &str) -> bool {
            let wait = Arc::default();
            tokio::time::timeout(LONG, self.take(repository, &wait)).await.is_ok()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_one_whose_source_gives_nothing_is_passed_by() {
        let (bench, wait) = (Bench::new(), Arc::default());
        let held = bench.take("t/a", &wait).await;
        assert!(!bench.is_taken("t/b").await, "it is busy with the target");
        wait.begin();
        tokio::time::sleep(PATIENCE / 2).await;
        wait.end();
        assert!(!bench.is_taken("t/b").await, "its source goes on");
        wait.begin();
        assert!(bench.is_taken("t/b").await);
        drop(held);
        assert!(bench.turns.holders.lock().is_empty());
    }

    /// Those who pass one by do not all go on at once, but one after the other as well.
    #[tokio::test(start_paused = true)]
    async fn those_who_pass_by_take_turns() {
        let (bench, first, second) = (Bench::new(), Arc::default(), Arc::default());
        let _first = bench.take("t/a", &first).await;
        first.begin();
        let second_turn = bench.take("t/b", &second).await;
        assert!(!bench.is_taken("t/c").await);
        second.begin();
        assert!(bench.is_taken("t/c").await);
        drop(second_turn);
        assert!(bench.is_taken("t/c").await);
    }

    #[tokio::test(start_paused = true)]
    async fn two_never_upload_to_one_repository() {
        let (bench, wait) = (Bench::new(), Arc::default());
        let held = bench.take("t/a", &wait).await;
        wait.begin();
        assert!(!bench.is_taken("t/a").await);
        // One that waits for that keeps nobody else waiting.
        let other = Arc::default();
        let mut waiting = std::pin::pin!(bench.take("t/a", &other));
        assert!(tokio::time::timeout(LONG, &mut waiting).await.is_err());
        assert!(bench.is_taken("t/b").await);
        drop(held);
        waiting.await;
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_waits_for_a_permit_is_passed_by_if_its_flow_has_stalled() {
        let (bench, wait, flow) = (Bench::new(), Arc::<SourceWait>::default(), Flow::new(7));
        let pulse = Pulse::default();
        let _watched = bench.turns.pulses.watch(flow, &pulse);
        let _held = bench.take("t/a", &wait).await;
        let never = wait.for_permit(flow, std::future::pending::<()>());
        let busy = async {
            loop {
                pulse.progress();
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let mut never = std::pin::pin!(never);
        tokio::select! {
            () = &mut never => unreachable!("it never gets one"),
            () = busy => {}
            taken = bench.is_taken("t/b") => assert!(!taken, "its turn will come"),
        }
        tokio::select! {
            () = &mut never => unreachable!("it never gets one"),
            taken = bench.is_taken("t/b") => assert!(taken),
        }
    }
}
