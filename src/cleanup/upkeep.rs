//! What is due besides the plan: copies in quarantines that have expired, and blobs that no image
//! needs any more where collecting them is ours to do.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::expire::{Copies, copies, remove};
use super::quarantine::{Spaces, called};
use super::report::CleanupReport;
use super::repositories::Selected;
use super::spec::CleanupSpec;
use super::tag_removal::TagRemover;
use crate::fair::WriteLeases;
use crate::removal::{Audit, TagRemoval};
use crate::repository::{Failure, Garbage, Repository, Result};
use crate::state::State;

/// Blobs are garbage when nobody has touched them for so long: until then, the image that they
/// belong to may be under way.
const GARBAGE_AGE: Duration = Duration::from_secs(60 * 60);

/// What upkeep needs of a run.
pub(super) struct Upkeep<'a> {
    pub spec: &'a CleanupSpec<'a>,
    pub spaces: Spaces<'a>,
    pub state: &'a State,
    pub audit: &'a Audit,
    pub leases: &'a WriteLeases,
}

impl Upkeep<'_> {
    /// Takes quarantines, of this rule or another, out of a selection: what is in them is kept until
    /// it expires. Gives how many that were.
    pub fn spare_quarantines(&self, selected: &mut Selected) -> usize {
        let mut quarantines = self.state.quarantines.all();
        quarantines.extend(own_quarantines(self.spec, selected));
        let before = selected.repositories.len();
        selected.repositories.retain(|place, _| !quarantines.contains(&place.to_string()));
        before - selected.repositories.len()
    }

    /// Removes what the quarantines of a rule have kept for long enough, also the quarantines of
    /// repositories that no longer exist.
    pub async fn empty_quarantines(&self, selected: &Selected, report: &mut CleanupReport) {
        let rule = &self.spec.rule.name;
        let mut names = self.state.quarantines.of_rule(rule);
        names.extend(own_quarantines(self.spec, selected));
        for name in names {
            if self.spec.stop.soon.is_cancelled() {
                report.interrupted = true;
                return;
            }
            match self.empty(&name).await {
                Ok(None) => self.state.quarantines.forget(rule, &name),
                Ok(Some(0)) => {}
                Ok(Some(gone)) => {
                    report.notes.push(format!("{gone} copies in {name} had expired and are gone"));
                }
                Err(failures) => report.failures.extend(failures),
            }
        }
    }

    /// How many copies were removed. `None`: none are left.
    async fn empty(&self, name: &str) -> std::result::Result<Option<usize>, Vec<Failure>> {
        let CleanupSpec { rule, actor, stop, now, .. } = *self.spec;
        let space = self.spaces.reopen(name).await;
        let Some(space) = space.map_err(|error| vec![Failure::of(&error)])? else {
            return Ok(None);
        };
        let repository = &space.repository;
        let copies = copies(&**repository, now).await;
        let Copies { expired, kept } = copies.map_err(|failure| vec![failure])?;
        if expired.is_empty() {
            return Ok((kept > 0).then_some(0));
        }
        let _lease = self.leases.take(repository.name(), &rule.name).await;
        let removal = TagRemoval {
            repository: Arc::clone(repository),
            rule: &rule.name,
            line: "expired",
            choose: &|_| expired.clone(),
            max_delete: Default::default(),
            applies: true,
            state: self.state,
            stop,
            now,
        };
        let removed = remove(&TagRemover { audit: self.audit, actor }, removal).await?;
        collect(&**repository, now).await.map_err(|error| vec![Failure::of(&error)])?;
        Ok(Some(removed))
    }
}

/// What the quarantines of the selected repositories are called.
fn own_quarantines(spec: &CleanupSpec<'_>, selected: &Selected) -> BTreeSet<String> {
    let Some(quarantine) = &spec.rule.quarantine else { return BTreeSet::new() };
    let places = selected.repositories.keys();
    places.filter_map(|place| called(&quarantine.to, place)).collect()
}

/// Removes the blobs that no image needs any more, where that is ours to do; a note if there were
/// some.
pub(super) async fn collect(repository: &dyn Repository, now: Timestamp) -> Result<Option<String>> {
    let Garbage { blobs, bytes, .. } = repository.collect_garbage(now, GARBAGE_AGE, false).await?;
    let size = bytesize::ByteSize(bytes).display().iec();
    Ok((blobs > 0).then(|| format!("{blobs} blobs that no image has any more are gone: {size}")))
}
