//! What an observation of a repository is good for: the steps that it allows, for how long, and the last
//! look directly before a manifest is deleted.
//!
//! An observation resolves every tag, which takes long where there are many. A list of the tags takes a
//! request for a thousand of them, and shows what was tagged since.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::execute::{Checked, Rechecked};
use crate::oci::{Digest, Tag};
use crate::repository::{Reference, Repository, Result};

/// How long an observation is good enough to delete on the strength of it, unless it took longer
/// itself.
const OBSERVATION_LASTS: Duration = Duration::from_secs(30);

/// How long a list of tags is good enough, where it has many pages.
const LIST_LASTS: Duration = Duration::from_secs(5);

/// Tags in one page of the list: so many are read for each deletion at most.
const PAGE: usize = 1000;

/// A repository as it was observed.
pub trait Observed: Send + Sync {
    fn tags(&self) -> usize;

    fn has_tag(&self, tag: &Tag) -> bool;

    /// Whether a manifest is there. `None`: it is not, and nothing names it.
    fn has_manifest(&self, digest: &Digest) -> Option<bool>;
}

/// The observation by which steps are carried out.
pub(super) struct Current {
    rechecked: Rechecked,
    /// How many of its steps are done with.
    done: usize,
    /// Tags that came later and lead to nothing that is to go.
    harmless: HashSet<Tag>,
    /// When the tags were listed last, and before how many deletions, with the next one, they were not.
    listed: Instant,
    unlisted: usize,
}

impl Current {
    pub fn new(rechecked: Rechecked) -> Self {
        let listed = rechecked.began;
        Self { rechecked, done: 0, harmless: HashSet::new(), listed, unlisted: 1 }
    }

    /// Whether the repository has to be observed again before the next step. `steps`: how many are
    /// allowed on the strength of one observation.
    pub fn is_outdated(&self, steps: usize) -> bool {
        let Rechecked { began, ended, .. } = self.rechecked;
        let took = ended.saturating_duration_since(began);
        self.done >= steps || ended.elapsed() > OBSERVATION_LASTS.max(took)
    }

    /// What was found out about the next step.
    pub fn checked(&self) -> &Checked {
        &self.rechecked.steps[self.done]
    }

    /// The next step is done with.
    pub fn advance(&mut self) {
        self.done += 1;
    }

    /// The last look before a manifest is deleted: a tag that the observation did not find and that
    /// may lead to one of the manifests in `doomed`.
    ///
    /// Where the tags fill one page they are listed each time. Otherwise, a page is read for each
    /// deletion on average, and all are read again after some seconds.
    pub async fn new_tag(
        &mut self,
        repository: &dyn Repository,
        doomed: &HashSet<&Digest>,
    ) -> Result<Option<Tag>> {
        let is_due = self.unlisted * PAGE >= self.rechecked.observed.tags();
        self.unlisted += 1;
        if !is_due && self.listed.elapsed() < LIST_LASTS {
            return Ok(None);
        }
        (self.listed, self.unlisted) = (Instant::now(), 1);
        for tag in repository.tags().await?.unwrap_or_default() {
            if self.rechecked.observed.has_tag(&tag) || self.harmless.contains(&tag) {
                continue;
            }
            if self.may_lead_to(doomed, repository, &tag).await? {
                return Ok(Some(tag));
            }
            self.harmless.insert(tag);
        }
        Ok(None)
    }

    async fn may_lead_to(
        &self,
        doomed: &HashSet<&Digest>,
        repository: &dyn Repository,
        tag: &Tag,
    ) -> Result<bool> {
        let Some(resolved) = repository.resolve(&Reference::Tag(tag.clone())).await? else {
            return Ok(false);
        };
        let digest = resolved.digest;
        match self.rechecked.observed.has_manifest(&digest) {
            // Whatever it lists was seen to belong to it.
            Some(true) => return Ok(doomed.contains(&digest)),
            // It has come to what names it, such as its signatures.
            Some(false) => return Ok(true),
            None => {}
        }
        let Some(manifest) = repository.manifest(&Reference::Digest(digest)).await? else {
            return Ok(false);
        };
        let mut children = manifest.children().iter();
        Ok(children.any(|child| doomed.contains(&child.digest) || child.may_be_index()))
    }
}
