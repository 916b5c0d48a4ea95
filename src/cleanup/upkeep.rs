//! What is due besides deleting: copies in quarantines that were kept for long enough, blobs of
//! layouts that no image has any more, and what registries must be told to do.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::afterwards::advice;
use super::apply::expire::{self, Copies};
use super::apply::quarantine::{Space, called};
use super::cleaner::{Cleaner, CleanupSpec};
use super::removal::Removal;
use super::report::{CleanupReport, Outcome};
use super::{Place, Selected};
use crate::config::cleanup::Mode;
use crate::layout::{Garbage, Layout};
use crate::oci::RegistryHost;
use crate::repository::{Failure, Result};

/// Blobs of a layout are garbage when nobody has touched them for so long: somebody may be bringing
/// the image that they belong to.
const GARBAGE_AGE: Duration = Duration::from_secs(60 * 60);

impl Cleaner {
    /// Takes out of a selection what is a quarantine, of this rule or another: what is kept there
    /// is kept until it expires. Gives how many that were.
    pub(super) fn spare_quarantines(
        &self,
        spec: &CleanupSpec<'_>,
        selected: &mut Selected,
    ) -> usize {
        let mut quarantines = self.state().all_quarantines();
        quarantines.extend(own_quarantines(spec, selected));
        let before = selected.repositories.len();
        selected.repositories.retain(|place, _| !quarantines.contains(&place.to_string()));
        before - selected.repositories.len()
    }

    /// Lets go what the quarantines of a rule have kept for long enough, also those of repositories
    /// that are gone by now.
    pub(super) async fn empty_quarantines(
        &self,
        spec: &CleanupSpec<'_>,
        selected: &Selected,
        report: &mut CleanupReport,
    ) {
        let rule = &spec.rule.name;
        let mut names = self.state().quarantines(rule);
        names.extend(own_quarantines(spec, selected));
        for name in names {
            if spec.stop.soon.is_cancelled() {
                report.interrupted = true;
                return;
            }
            match self.empty(spec, &name).await {
                Ok(None) => self.state().forget_quarantine(rule, &name),
                Ok(Some(0)) => {}
                Ok(Some(gone)) => {
                    report.notes.push(format!("{gone} copies in {name} had expired and are gone"));
                }
                Err(failures) => report.failures.extend(failures),
            }
        }
    }

    /// How many copies went. `None`: none are left.
    async fn empty(
        &self,
        spec: &CleanupSpec<'_>,
        name: &str,
    ) -> std::result::Result<Option<usize>, Vec<Failure>> {
        let CleanupSpec { rule, actor, stop, now, .. } = *spec;
        let space = self.spaces(spec).reopen(name).await;
        let Some(space) = space.map_err(|error| vec![Failure::of(&error)])? else {
            return Ok(None);
        };
        let Space { repository, layout, .. } = &space;
        let copies = expire::copies(&**repository, now).await;
        let Copies { policy, kept } = copies.map_err(|failure| vec![failure])?;
        let Some(policy) = policy else { return Ok((kept > 0).then_some(0)) };
        let _lease = self.leases().take(repository.name(), &rule.name).await;
        let removal = Removal {
            repository: Arc::clone(repository),
            layout: layout.clone(),
            rule: &rule.name,
            choose: &|_| Some(policy.clone()),
            mode: Mode::Apply,
            state: self.state(),
            audit: self.audit(),
            actor,
            stop,
            now,
        };
        let removed = expire::remove(removal).await?;
        if let Some(layout) = layout {
            collect(layout, now).await.map_err(|error| vec![Failure::of(&error)])?;
        }
        Ok(Some(removed))
    }
}

/// What the quarantines of the selected repositories are called.
fn own_quarantines(spec: &CleanupSpec<'_>, selected: &Selected) -> BTreeSet<String> {
    let Some(quarantine) = &spec.rule.quarantine else { return BTreeSet::new() };
    let places = selected.repositories.keys();
    places.filter_map(|place| called(&quarantine.to, place)).collect()
}

/// Removes the blobs of a layout that no listed image has any more; a note if there were some.
pub(super) async fn collect(layout: &Layout, now: Timestamp) -> Result<Option<String>> {
    let Garbage { blobs, bytes, .. } = layout.collect_garbage(now, GARBAGE_AGE, false).await?;
    let size = bytesize::ByteSize(bytes).display().iec();
    Ok((blobs > 0).then(|| format!("{blobs} blobs that no image has any more are gone: {size}")))
}

/// What has to be done at the registries where something was deleted.
pub(super) fn advise(selected: &Selected, report: &mut CleanupReport) {
    let cleaned: BTreeSet<&str> = report
        .repositories
        .iter()
        .filter(|repository| repository.count(Outcome::Deleted) > 0)
        .map(|repository| repository.repository.as_str())
        .collect();
    let host = |place: &Place| match place {
        Place::Registry(host, _) if cleaned.contains(place.to_string().as_str()) => {
            Some(host.clone())
        }
        _ => None,
    };
    let hosts: BTreeSet<RegistryHost> = selected.repositories.keys().filter_map(host).collect();
    report.notes.extend(hosts.iter().filter_map(advice));
}
