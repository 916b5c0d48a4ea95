//! A repository that a rule is about, and how it is observed: in the same way before it is planned
//! and, again and again, while a plan is carried out.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use jiff::Timestamp;

use super::gather::Gathering;
use super::plan::{Abilities, InUse, Snapshot};
use super::progress::CleanupProgress;
use crate::config::policy::{ClockSource, Policy};
use crate::fair::MemoryBudget;
use crate::oci::{Digest, Tag};
use crate::repository::{Capabilities, Failure, Repository, Untag};
use crate::state::State;

/// Reads what is in use in the repository now.
pub(super) type ReadInUse<'a> =
    dyn Fn() -> BoxFuture<'a, Result<InUse, Vec<Failure>>> + Send + Sync + 'a;

/// One repository, with all that it takes to observe it.
pub(super) struct RepositoryContext<'a> {
    pub repository: Arc<dyn Repository>,
    pub state: &'a State,
    /// For manifests.
    pub memory: &'a MemoryBudget,
    pub progress: &'a CleanupProgress,
    pub policy: &'a Policy,
    /// The time that ages are reckoned from.
    pub now: Timestamp,
    pub in_use: &'a ReadInUse<'a>,
}

/// What is observed besides what tags lead to.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ObserveOptions<'a> {
    /// Every list of referrers is asked for, even if that was done a moment ago.
    pub all_referrers: bool,
    /// Manifests that are looked for, whether anything leads to them or not.
    pub roots: &'a [Digest],
    /// All tags have been deleted: if there is no list of tags, it is empty.
    pub emptied: bool,
}

/// A repository at one moment, and what of it is in use.
pub(super) struct Observation {
    pub snapshot: Snapshot,
    pub in_use: InUse,
}

impl RepositoryContext<'_> {
    /// The repository as it is now. `None`: there is none.
    ///
    /// # Errors
    /// What is in use cannot be told.
    pub async fn observe(
        &self,
        options: ObserveOptions<'_>,
    ) -> Result<Option<Observation>, Vec<Failure>> {
        let ObserveOptions { all_referrers, roots, emptied } = options;
        let in_use = (self.in_use)().await?;
        let roots: Vec<Digest> = in_use.digests.keys().chain(roots).cloned().collect();
        let tags: Vec<Tag> = in_use.tags.keys().cloned().collect();
        let gathering = Gathering {
            repository: &*self.repository,
            memory: self.memory,
            progress: self.progress,
            abilities: self.abilities(),
            known: &self.state.manifests,
            now: self.now,
            roots: &roots,
            in_use: &tags,
            emptied,
            created: self.policy.clock.contains(&ClockSource::Created),
            all_referrers,
        };
        let snapshot = gathering.run().await;
        Ok(snapshot.map(|snapshot| Observation { snapshot, in_use }))
    }

    /// What the repository can do by itself, by what was found out earlier, or by what the policy
    /// allows instead.
    fn abilities(&self) -> Abilities {
        let Capabilities { untag, lists_untagged, .. } = self.repository.capabilities();
        let known = || self.state.abilities.can_untag(self.repository.name(), self.now);
        let untag = match untag {
            Untag::Yes => Untag::Yes,
            _ if self.policy.untag_by_overwriting => Untag::Yes,
            Untag::No => Untag::No,
            Untag::Unknown => match known() {
                Some(true) => Untag::Yes,
                Some(false) => Untag::No,
                None => Untag::Unknown,
            },
        };
        Abilities { untag, lists_untagged }
    }
}
