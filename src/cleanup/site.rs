//! A repository that a rule is about, and how it is looked at: the same way for who plans and,
//! again and again, for who carries a plan out.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use jiff::Timestamp;

use super::gather::Gathering;
use super::plan::InUse;
use super::plan::snapshot::{Abilities, Snapshot, Untag};
use crate::config::policy::{ClockSource, Policy};
use crate::layout::Layout;
use crate::oci::{Digest, Tag};
use crate::repository::{Failure, Repository};
use crate::state::{Ability, State};

/// Reads what is in use in the repository now.
pub(super) type ReadInUse<'a> =
    dyn Fn() -> BoxFuture<'a, Result<InUse, Vec<Failure>>> + Send + Sync + 'a;

/// One repository.
pub(super) struct Site<'a> {
    pub repository: Arc<dyn Repository>,
    /// What it is, if it is on disk.
    pub layout: Option<Layout>,
    pub state: &'a State,
    pub policy: &'a Policy,
    /// The time that ages are reckoned from.
    pub now: Timestamp,
    pub in_use: &'a ReadInUse<'a>,
}

/// How a repository is looked at.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Look<'a> {
    /// Every list of referrers is asked for, however lately that was done.
    pub all_referrers: bool,
    /// Manifests that are looked for, whether anything leads to them or not.
    pub roots: &'a [Digest],
    /// All tags that there were have been deleted: where there is no list of tags, it is empty.
    pub emptied: bool,
}

/// A repository at one moment, and what of it is in use.
pub(super) struct Sight {
    pub snapshot: Snapshot,
    pub in_use: InUse,
}

impl Site<'_> {
    /// The repository as it is now. `None`: there is none.
    ///
    /// # Errors
    /// What is in use cannot be told.
    pub async fn look(&self, look: Look<'_>) -> Result<Option<Sight>, Vec<Failure>> {
        let Look { all_referrers, roots, emptied } = look;
        let in_use = (self.in_use)().await?;
        let roots: Vec<Digest> = in_use.digests.keys().chain(roots).cloned().collect();
        let tags: Vec<Tag> = in_use.tags.keys().cloned().collect();
        let gathering = Gathering {
            repository: &*self.repository,
            abilities: self.abilities(),
            state: self.state,
            now: self.now,
            roots: &roots,
            in_use: &tags,
            emptied,
            layout: self.layout.as_ref(),
            created: self.policy.clock.contains(&ClockSource::Created),
            all_referrers,
        };
        let snapshot = gathering.run().await;
        Ok(snapshot.map(|snapshot| Sight { snapshot, in_use }))
    }

    /// What can be relied upon. The protocol has no list of manifests without a tag.
    fn abilities(&self) -> Abilities {
        if self.layout.is_some() {
            return Abilities { untag: Untag::Yes, lists_untagged: true };
        }
        let able = self.state.ability(self.repository.name(), Ability::Untag, self.now);
        let untag = match able {
            Some(true) => Untag::Yes,
            _ if self.policy.untag_by_overwriting => Untag::Yes,
            Some(false) => Untag::No,
            None => Untag::Unknown,
        };
        Abilities { untag, lists_untagged: false }
    }
}
