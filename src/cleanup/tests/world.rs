//! A repository that can be changed as a registry changes it: snapshots come from it, and the
//! steps of plans are applied to it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::cleanup::{Abilities, Builder, Plan, PlannedStep, Snapshot, Untag};
use crate::config::policy::ClockSource;
use crate::oci::{Digest, Tag, derived};
use crate::state::ManifestSummary;

#[derive(Debug, Clone)]
pub struct Item {
    pub found: ManifestSummary,
    pub times: Vec<(ClockSource, Timestamp)>,
    pub locked: bool,
}

#[derive(Debug, Clone)]
pub struct World {
    pub items: BTreeMap<Digest, Item>,
    /// With whether it is locked.
    pub tags: BTreeMap<Tag, (Digest, bool)>,
    pub abilities: Abilities,
}

pub fn now() -> Timestamp {
    "2026-06-01T03:00:00Z".parse().unwrap()
}

pub fn days_ago(days: i64) -> Timestamp {
    now() - SignedDuration::from_hours(24 * days)
}

impl World {
    pub fn new() -> Self {
        let abilities = Abilities { untag: Untag::Yes, lists_untagged: true };
        Self { items: BTreeMap::new(), tags: BTreeMap::new(), abilities }
    }

    fn add(&mut self, name: &str, days: i64, found: ManifestSummary) -> Digest {
        let digest = Digest::of(name.as_bytes());
        let times = vec![(ClockSource::Pushed, days_ago(days))];
        self.items.insert(digest.clone(), Item { found, times, locked: false });
        digest
    }

    /// An image of 1000 bytes of its own, pushed so many days ago.
    pub fn image(&mut self, name: &str, days: i64) -> Digest {
        let blob = (Digest::of(format!("blob of {name}").as_bytes()), 1000);
        self.add(name, days, ManifestSummary { blobs: vec![blob], ..nothing() })
    }

    pub fn index(&mut self, name: &str, days: i64, children: &[&Digest]) -> Digest {
        let children = children.iter().map(|child| (*child).clone()).collect();
        self.add(name, days, ManifestSummary { is_index: true, children, ..nothing() })
    }

    pub fn referrer(&mut self, name: &str, days: i64, subject: &Digest) -> Digest {
        self.add(name, days, ManifestSummary { subject: Some(subject.clone()), ..nothing() })
    }

    pub fn tag(&mut self, tag: &str, digest: &Digest) {
        self.tags.insert(tag.parse().unwrap(), (digest.clone(), false));
    }

    /// cosign's tag of `subject`, at `digest`.
    pub fn cosign(&mut self, subject: &Digest, digest: &Digest) {
        self.tags.insert(derived::cosign_tag(subject, ".sig"), (digest.clone(), false));
    }

    pub fn fallback(&mut self, subject: &Digest, digest: &Digest) {
        self.tags.insert(derived::fallback_tag(subject), (digest.clone(), false));
    }

    pub fn snapshot(&self) -> Snapshot {
        self.gather(false)
    }

    /// A snapshot gathered in another order.
    pub fn snapshot_backwards(&self) -> Snapshot {
        self.gather(true)
    }

    /// What remains when a plan is carried out.
    pub fn after(&self, plan: &Plan<'_>) -> Self {
        let mut after = self.clone();
        plan.steps.iter().for_each(|step| after.apply(plan, step));
        after
    }

    fn gather(&self, backwards: bool) -> Snapshot {
        let mut builder = Builder::new("registry.example.com/acme/app", self.abilities);
        let mut items: Vec<_> = self.items.iter().collect();
        let mut tags: Vec<_> = self.tags.iter().collect();
        if backwards {
            items.reverse();
            tags.reverse();
            tags.iter().for_each(|(tag, (digest, locked))| {
                builder.tag((*tag).clone(), digest, *locked);
            });
        }
        for (digest, item) in items {
            let mut found = item.found.clone();
            if backwards {
                found.children.reverse();
                found.blobs.reverse();
            }
            for (source, time) in &item.times {
                builder.time(digest, *source, *time);
            }
            builder.manifest(digest, found);
            if item.locked {
                builder.locked(digest);
            }
            let mentioned = item.found.children.iter().chain(&item.found.subject);
            for gone in mentioned.filter(|digest| !self.items.contains_key(*digest)) {
                builder.absent(gone);
            }
        }
        for (tag, (digest, locked)) in tags {
            builder.tag(tag.clone(), digest, *locked);
            if let Some(subject) = derived::parse(tag).and_then(|derived| derived.subject())
                && !self.items.contains_key(&subject)
            {
                builder.absent(&subject);
            }
        }
        builder.finish()
    }

    /// What a registry makes of a step: deleting a manifest takes all its tags.
    pub fn apply(&mut self, plan: &Plan<'_>, step: &PlannedStep) {
        match step {
            PlannedStep::Untag { tag } => {
                let removed = self.tags.remove(&plan.snapshot.tags()[*tag as usize].name);
                assert!(removed.is_some(), "the tag is there");
            }
            PlannedStep::Delete { manifest, .. } => {
                let digest = plan.snapshot.digest(*manifest);
                assert!(self.items.remove(digest).is_some(), "the manifest is there");
                self.tags.retain(|_, (target, _)| target != digest);
            }
        }
    }

    /// A tag's manifest and all that is reachable from it and there.
    pub fn closure(&self, tag: &Tag) -> Option<BTreeSet<Digest>> {
        let (digest, _) = self.tags.get(tag)?;
        let mut closure = BTreeSet::new();
        let mut waiting = vec![digest];
        while let Some(digest) = waiting.pop() {
            if let Some(item) = self.items.get(digest)
                && closure.insert(digest.clone())
            {
                waiting.extend(&item.found.children);
            }
        }
        Some(closure)
    }
}

pub fn nothing() -> ManifestSummary {
    ManifestSummary { size: 100, ..ManifestSummary::default() }
}
