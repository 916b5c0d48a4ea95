//! The images of a source repository, each looked at and moved to all targets at once. A target that
//! has stalled is left behind, and gets its images when the other targets have theirs.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

use super::{Goal, Item, Need, Pair, SourceList, TAGS};
use crate::fair::Lent;
use crate::oci::Digest;
use crate::repository::{Cause, Error, Result, Traffic, unless_stalled};
use crate::sync::Mode;
use crate::sync::progress::Progress;
use crate::sync::report::{Action, ImageReport};

/// A target that was left behind is not tried for so long, unless nobody else waits any more.
const REST: Duration = Duration::from_secs(30);

/// One pass over the images of a pair.
pub(super) struct ItemPass<'a, 'r> {
    pub pair: &'a Pair<'r>,
    pub source: &'a SourceList,
    /// So few images that the target's tag list is not worth its request.
    pub few: bool,
    pub progress: &'a Progress<'r>,
}

/// The images that a target gets later than others.
#[derive(Default)]
pub(super) struct Deferred {
    items: Mutex<Vec<Item>>,
    /// When the target was last left behind.
    since: Mutex<Option<Instant>>,
}

/// An image that is to be moved now.
struct Ready<'g> {
    digest: Option<Digest>,
    needs: Vec<Need<'g>>,
    _alone: Vec<OwnedMutexGuard<()>>,
    _permit: Lent,
}

impl ItemPass<'_, '_> {
    pub async fn run(&self, items: impl Iterator<Item = Item>) {
        let goals: Vec<&Goal> = self.pair.goals.iter().collect();
        futures_util::stream::iter(items)
            .for_each_concurrent(TAGS, |item| self.item(item, &goals))
            .await;
        // Each by itself: one that still stalls does not hold up one that goes on.
        join_all(goals.into_iter().map(async |goal| {
            let items = std::mem::take(&mut *goal.deferred.items.lock());
            futures_util::stream::iter(items)
                .for_each_concurrent(TAGS, async |item| self.item(item, &[goal]).await)
                .await;
        }))
        .await;
    }

    /// Brings an image to these targets, but for those that are left behind.
    async fn item(&self, item: Item, goals: &[&Goal]) {
        let (goals, resting): (Vec<&Goal>, Vec<&Goal>) =
            goals.iter().partition(|goal| goals.len() == 1 || !goal.deferred.rests());
        for goal in resting {
            goal.deferred.items.lock().push(item.clone());
        }
        if goals.is_empty() {
            return;
        }
        let (pair, progress) = (self.pair, self.progress);
        let begin = Instant::now();
        let ready = match progress.soon().run_until_cancelled(self.ready(&item, &goals)).await {
            Some(Some(ready)) => ready,
            Some(None) => return,
            None => return progress.left_out(),
        };
        let job = pair.job(&item, ready.digest, &ready.needs, &self.source.derived);
        let result = pair.syncer.carrier.transfer(&job).await;
        let seconds = begin.elapsed().as_secs_f64();
        match result {
            Ok(outcome) => pair.settle(&item, &outcome, ready.needs, seconds, progress),
            Err(error) if *error.cause() == Cause::Interrupted => progress.left_out(),
            Err(error) => {
                for need in ready.needs {
                    progress.image(pair.failed(&item, need.goal, need.reason, &error, seconds));
                }
            }
        }
    }

    /// Looks at an image, and waits until it may be moved. `None`: there is nothing to move.
    async fn ready<'g>(&self, item: &Item, goals: &[&'g Goal]) -> Option<Ready<'g>> {
        let (pair, progress) = (self.pair, self.progress);
        let _alone = pair.alone_with(item, goals, progress).await;
        let (digest, needs) = pair.needs(item, goals, self.source, self.few, progress).await;
        if needs.is_empty() {
            return None;
        }
        if pair.mode == Mode::DryRun {
            for need in needs {
                progress.image(ImageReport {
                    action: Action::WouldCopy,
                    source_digest: digest.as_ref().map(Digest::to_string),
                    ..pair.blank(item, need.goal, need.reason)
                });
            }
            return None;
        }
        let _permit = progress.waiting(pair.syncer.common.images.acquire(pair.flow)).await;
        let lists = needs.iter().filter(|need| need.lacks && pair.only.is_none());
        // The list tells whether the repository is empty, which saves a look-up of each blob. If it
        // cannot be had, they are looked up.
        join_all(lists.map(|need| need.goal.answer(goals.len(), need.goal.tags()))).await;
        Some(Ready { digest, needs, _alone, _permit })
    }
}

impl Deferred {
    /// The target has stalled: this image is brought there when the other targets have theirs.
    pub fn leave(&self, item: &Item) {
        self.items.lock().push(item.clone());
        *self.since.lock() = Some(Instant::now());
    }

    /// The target was left behind a moment ago.
    fn rests(&self) -> bool {
        self.since.lock().is_some_and(|since| since.elapsed() < REST)
    }
}

impl Goal {
    /// Waits for an answer of the target, one of so many. If it stalls while others can go on, it
    /// is left behind.
    pub(super) async fn answer<T>(
        &self,
        goals: usize,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        if goals == 1 {
            return work.await;
        }
        let answer = unless_stalled(&*self.repository, Traffic::Read, work).await;
        let left = || Error::new("look at", self.repository.name(), Cause::LeftBehind);
        answer.unwrap_or_else(|| Err(left()))
    }
}
