//! Deletions of chosen tags on behalf of others than cleanup rules: a sync rule removes what its
//! source no longer has, and what has expired in a quarantine is removed. They are planned, limited
//! and audited like all deletions, by the implementation of [`RemoveTags`].

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use super::step::StepReport;
use crate::config::policy::MaxDelete;
use crate::fair::MemoryBudget;
use crate::oci::{Digest, Tag};
use crate::repository::{Failure, Repository};
use crate::state::State;
use crate::stop::StopSignal;

/// Removes tags, with what belongs to their images.
#[async_trait]
pub trait RemoveTags: Send + Sync {
    /// Observes the repository, plans and, if asked to, deletes. The caller holds the lease to write to
    /// the repository. `None`: there is no such repository, or nothing was chosen.
    ///
    /// # Errors
    /// What an earlier process was cut off in cannot be settled.
    async fn remove(&self, removal: TagRemoval<'_>) -> Result<Option<RemovedTags>, Vec<Failure>>;
}

/// Which tags of a repository are to go, and on whose behalf.
pub struct TagRemoval<'a> {
    pub repository: Arc<dyn Repository>,
    /// On behalf of which rule.
    pub rule: &'a str,
    /// The line of the rule, as plans and the audit name it.
    pub line: &'a str,
    pub choose: &'a ChooseTags<'a>,
    pub max_delete: MaxDelete,
    /// Deletes; otherwise it is only planned.
    pub applies: bool,
    pub state: &'a State,
    /// For manifests.
    pub memory: &'a MemoryBudget,
    pub stop: &'a StopSignal,
    pub now: Timestamp,
}

/// Chooses among all tags of a repository, each with its digest. `None`: the repository could not be
/// read as a whole; whatever is chosen then stays, and the report says why. No age matters.
pub type ChooseTags<'a> = dyn Fn(Option<&[(&Tag, &Digest)]>) -> Vec<Tag> + Send + Sync + 'a;

/// What became of the chosen tags.
#[derive(Debug, Default)]
pub struct RemovedTags {
    /// Why nothing was deleted at all.
    pub refused: Vec<String>,
    /// Those reasons are the limits of the rule.
    pub limited: bool,
    /// Of a plan that is not carried out: all steps, not done.
    pub steps: Vec<StepReport>,
    pub notes: Vec<String>,
    /// Tags that were chosen and cannot go, with the reason.
    pub stays: Vec<(Tag, Digest, String)>,
    /// It was stopped before its end.
    pub interrupted: bool,
}
