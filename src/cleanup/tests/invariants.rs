//! What must hold of every plan, of whatever repository and policy. The names are those of the
//! invariants in docs/cleanup.md.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::Index;

use super::generate::{delete_rule, digest, in_use, keep_rule, policy, world};
use super::world::{World, days_ago, now};
use crate::cleanup::plan::clock::Reading;
use crate::cleanup::plan::snapshot::{Kind, NO_TIME, TagKind};
use crate::cleanup::{
    Builder, Fate, InUse, Node, Plan, PlannedStep, Refusal, Snapshot, TagFate, plan,
};
use crate::config::policy::{ClockSource, Doomed, KeepRule, MaxDelete, Per, Policy};
use crate::oci::{Digest, Tag, derived, version};

/// What goes by the verdicts, before limits.
fn doomed(plan: &Plan<'_>) -> (BTreeSet<Tag>, BTreeSet<Digest>) {
    let rows = plan.snapshot.tags().iter().zip(plan.tags());
    let tags = rows.filter(|(_, verdict)| verdict.fate != TagFate::Keep);
    let tags = tags.map(|(row, _)| row.name.clone()).collect();
    let fate = |node: &Node| {
        let verdicts = plan.verdicts.as_ref();
        verdicts.is_some_and(|verdicts| verdicts.manifests[node.at()].fate != Fate::Keep)
    };
    let manifests = plan.snapshot.manifests().filter(fate);
    (tags, manifests.map(|node| plan.snapshot.digest(node).clone()).collect())
}

fn doomed_in(world: &World, policy: &Policy, in_use: &InUse) -> (BTreeSet<Tag>, BTreeSet<Digest>) {
    doomed(&plan(&world.snapshot(), policy, in_use, now()))
}

fn json(snapshot: &Snapshot, policy: &Policy, in_use: &InUse) -> String {
    serde_json::to_string(&plan(snapshot, policy, in_use, now())).unwrap()
}

fn within(
    smaller: &(BTreeSet<Tag>, BTreeSet<Digest>),
    larger: &(BTreeSet<Tag>, BTreeSet<Digest>),
) -> bool {
    smaller.0.is_subset(&larger.0) && smaller.1.is_subset(&larger.1)
}

/// Group and manifest of the tags that a keep rule selects, found in the simplest way.
fn groups(world: &World, rule: &KeepRule) -> BTreeMap<String, BTreeSet<Digest>> {
    let mut groups: BTreeMap<String, BTreeSet<Digest>> = BTreeMap::new();
    for (tag, (digest, _)) in &world.tags {
        if !rule.selector.matches(tag) || derived::parse(tag).is_some() {
            continue;
        }
        let version = version::parse(tag);
        let group = match (&rule.selector.per, version) {
            (None, _) => Some(String::new()),
            (Some(Per::Major), version) => version.map(|v| v.major.to_string()),
            (Some(Per::Minor), version) => version.map(|v| format!("{}.{}", v.major, v.minor)),
            (Some(Per::Capture { .. }), _) => {
                // The only pattern that is generated: the letters in front.
                let letters: String =
                    tag.as_str().chars().take_while(char::is_ascii_lowercase).collect();
                (!letters.is_empty()).then_some(letters)
            }
        };
        if let Some(group) = group {
            groups.entry(group).or_default().insert(digest.clone());
        }
    }
    groups
}

/// The newest time that a manifest or anything below it says that it was created, found in the
/// simplest way.
fn newest(world: &World, digest: &Digest) -> Option<i64> {
    let item = world.items.get(digest)?;
    let own = item.times.iter().filter(|(source, _)| *source == ClockSource::Created);
    let own = own.map(|(_, at)| at.as_microsecond()).max();
    own.max(item.found.children.iter().filter_map(|child| newest(world, child)).max())
}

proptest! {
    /// Whatever part of the steps is done, every tag that stays has all it had; what remains at
    /// all has all it owned.
    #[test]
    fn i01_every_prefix_leaves_what_is_kept_whole(world in world(), policy in policy(), in_use in in_use()) {
        let snapshot = world.snapshot();
        let plan = plan(&snapshot, &policy, &in_use, now());
        let (going, _) = doomed(&plan);
        let mut registry = world.clone();
        for done in 0..=plan.steps.len() {
            if done > 0 {
                registry.apply(&plan, &plan.steps[done - 1]);
            }
            for tag in world.tags.keys() {
                if !going.contains(tag) {
                    prop_assert_eq!(registry.closure(tag), world.closure(tag), "{} after {}", tag, done);
                }
            }
            // Also what is still to go is whole as long as it is there.
            for (tag, (digest, _)) in &registry.tags {
                prop_assert!(registry.items.contains_key(digest));
                prop_assert_eq!(registry.closure(tag), world.closure(tag), "{} after {}", tag, done);
            }
        }
    }

    #[test]
    fn i02_protection_never_deletes_more(
        world in world(), policy in policy(), used in in_use(),
        keep in keep_rule(), delete in delete_rule(), at in any::<Index>(), more in in_use(),
    ) {
        let before = doomed_in(&world, &policy, &used);
        let mut changed = policy.clone();
        changed.keep.push(keep);
        prop_assert!(within(&doomed_in(&world, &changed, &used), &before), "a keep rule");

        let mut locked = world.clone();
        let count = locked.items.len();
        locked.items.get_mut(&digest(at.index(count))).unwrap().locked = true;
        prop_assert!(within(&doomed_in(&locked, &policy, &used), &before), "a lock");
        let mut locked = world.clone();
        if let Some((_, is_locked)) = locked.tags.values_mut().next() {
            *is_locked = true;
        }
        prop_assert!(within(&doomed_in(&locked, &policy, &used), &before), "a locked tag");

        let mut more_used = used.clone();
        more_used.tags.extend(more.tags);
        more_used.digests.extend(more.digests);
        more_used.elsewhere.extend(more.elsewhere);
        prop_assert!(within(&doomed_in(&world, &policy, &more_used), &before), "in use");

        let mut changed = policy.clone();
        changed.delete.push(delete);
        let after = plan(&world.snapshot(), &changed, &used, now()).refusals.is_empty();
        if after {
            prop_assert!(within(&before, &doomed_in(&world, &changed, &used)), "a delete rule");
        }
    }

    #[test]
    fn i03_the_order_of_input_means_nothing(world in world(), policy in policy(), in_use in in_use()) {
        let mut turned = policy.clone();
        turned.keep.reverse();
        turned.delete.reverse();
        let straight = json(&world.snapshot(), &policy, &in_use);
        prop_assert_eq!(&straight, &json(&world.snapshot_backwards(), &policy, &in_use));
        prop_assert_eq!(&straight, &json(&world.snapshot(), &turned, &in_use));
    }

    #[test]
    fn i05_unknown_never_deletes(world in world(), policy in policy(), in_use in in_use()) {
        let snapshot = world.snapshot();
        let plan = plan(&snapshot, &policy, &in_use, now());
        let Some(verdicts) = &plan.verdicts else { return Ok(()) };
        for node in snapshot.manifests() {
            let unknown = verdicts.ages[node.at()].known().is_none();
            let verdict = &verdicts.manifests[node.at()];
            if unknown && !policy.grace.is_zero() && !verdicts.owners.is_attached(node) {
                prop_assert_eq!(verdict.fate, Fate::Keep);
            }
            if unknown && let Some(rule) = verdict.condemned_by {
                prop_assert_eq!(policy.delete[rule as usize].older_than, None);
            }
        }
        for (row, verdict) in snapshot.tags().iter().zip(&verdicts.tags) {
            let unknown = verdicts.ages[row.node.at()].known().is_none();
            if unknown && let Some(rule) = verdict.condemned_by {
                prop_assert_eq!(policy.delete[rule as usize].older_than, None);
            }
        }
    }

    #[test]
    fn i05_what_is_incomplete_deletes_nothing(world in world(), policy in policy()) {
        let mut builder = Builder::new("r", world.abilities);
        for (digest, item) in &world.items {
            builder.manifest(digest, item.found.clone());
        }
        for (tag, (digest, locked)) in &world.tags {
            builder.tag(tag.clone(), digest, *locked);
        }
        builder.cut_short("page 2 was not valid");
        let snapshot = builder.finish();
        let in_use = InUse::default();
        let plan = plan(&snapshot, &policy, &in_use, now());
        prop_assert!(plan.steps.is_empty() && plan.tags().is_empty());
        prop_assert!(!plan.refusals.is_empty());
    }

    #[test]
    fn i06_within_the_limits_or_nothing(
        world in world(), policy in policy(),
        count in proptest::option::of(0..4_u32), percent in proptest::option::of(0..=100_u8),
    ) {
        let mut policy = policy;
        policy.max_delete = MaxDelete { count, percent };
        let (snapshot, in_use) = (world.snapshot(), InUse::default());
        let plan = plan(&snapshot, &policy, &in_use, now());
        let after = world.after(&plan);
        let own = |world: &World| {
            world.tags.keys().filter(|tag| derived::parse(tag).is_none()).count()
        };
        for (before, after) in [(own(&world), own(&after)), (world.items.len(), after.items.len())] {
            let gone = before - after;
            prop_assert!(count.is_none_or(|count| gone <= count as usize));
            prop_assert!(percent.is_none_or(|percent| gone * 100 <= before * usize::from(percent)));
        }
        // And no refusal without need.
        let unlimited = Policy { max_delete: MaxDelete::default(), ..policy.clone() };
        let (tags, manifests) = doomed_in(&world, &unlimited, &in_use);
        let own_tags = tags.iter().filter(|tag| derived::parse(tag).is_none()).count();
        let too_many = [(own_tags, own(&world)), (manifests.len(), world.items.len())];
        let too_many = too_many.iter().any(|(gone, total)| {
            count.is_some_and(|count| *gone > count as usize)
                || percent.is_some_and(|percent| gone * 100 > total * usize::from(percent))
        });
        let exceeded = plan.refusals.iter().any(|r| matches!(r, Refusal::TooMany { .. }));
        prop_assert_eq!(exceeded, too_many);
        prop_assert!(plan.refusals.is_empty() || plan.steps.is_empty());
    }

    #[test]
    fn i07_the_newest_remain(world in world(), policy in policy(), in_use in in_use()) {
        let snapshot = world.snapshot();
        let plan = plan(&snapshot, &policy, &in_use, now());
        let after = world.after(&plan);
        for rule in &policy.keep {
            let wanted = rule.newest.map_or(usize::MAX, |n| n.get() as usize);
            let remaining = groups(&after, rule);
            for (group, images) in groups(&world, rule) {
                let remaining = remaining.get(&group).map_or(0, BTreeSet::len);
                prop_assert!(remaining >= wanted.min(images.len()), "{:?} {}", rule, group);
            }
        }
    }

    /// Nor does a line that spares the newest take them.
    #[test]
    fn i07_the_newest_are_spared(world in world(), delete in delete_rule(), in_use in in_use(), policy in policy()) {
        let Doomed::Tags { selector, beyond_newest: Some(newest) } = &delete.what else {
            return Ok(());
        };
        let rule = KeepRule { id: String::new(), selector: (**selector).clone(), newest: Some(*newest) };
        let policy = Policy { keep: Vec::new(), delete: vec![delete.clone()], ..policy };
        let snapshot = world.snapshot();
        let plan = plan(&snapshot, &policy, &in_use, now());
        let after = world.after(&plan);
        let remaining = groups(&after, &rule);
        for (group, images) in groups(&world, &rule) {
            let remaining = remaining.get(&group).map_or(0, BTreeSet::len);
            prop_assert!(remaining >= images.len().min(newest.get() as usize), "{:?} {}", delete, group);
        }
    }

    /// As long as the age was known before: a first known age can make something old enough.
    #[test]
    fn i08_a_newer_date_never_condemns(
        world in world(), policy in policy(), in_use in in_use(),
        at in any::<Index>(), days in 0..30_i64,
    ) {
        let snapshot = world.snapshot();
        let before = plan(&snapshot, &policy, &in_use, now());
        let digest = digest(at.index(world.items.len()));
        let node = snapshot.find(&digest).unwrap();
        let Some(known) = before.verdicts.as_ref().and_then(|v| v.ages[node.at()].known()) else {
            return Ok(());
        };
        let time = days_ago(days);
        if time.as_microsecond() < known {
            return Ok(());
        }
        // This one alone: an index that is dated by it would be another one, too.
        let mut redated = snapshot.clone();
        for old in redated.facts[node.at()].times.iter_mut().filter(|old| **old != NO_TIME) {
            *old = time.as_microsecond();
        }
        let (tags, manifests) = doomed(&before);
        let (tags_after, manifests_after) = doomed(&plan(&redated, &policy, &in_use, now()));
        prop_assert!(manifests.contains(&digest) || !manifests_after.contains(&digest));
        for (tag, (target, _)) in &world.tags {
            if *target == digest && snapshot.tags().iter().any(|r| r.name == *tag && r.kind == TagKind::Own) {
                prop_assert!(tags.contains(tag) || !tags_after.contains(tag), "{}", tag);
            }
        }
    }

    /// It protects for `grace`, and never makes anything go that would stay without it.
    #[test]
    fn a_restoration_only_protects(
        world in world(), policy in policy(), in_use in in_use(),
        at in any::<Index>(), days in -2..30_i64,
    ) {
        let mut snapshot = world.snapshot();
        let before = doomed_in(&world, &policy, &in_use);
        let digest = digest(at.index(world.items.len()));
        let node = snapshot.find(&digest).unwrap();
        snapshot.facts[node.at()].restored = days_ago(days).as_microsecond();
        let after = plan(&snapshot, &policy, &in_use, now());
        prop_assert!(within(&doomed(&after), &before));
        let is_attached = after.verdicts.as_ref().is_some_and(|it| it.owners.is_attached(node));
        if policy.grace > std::time::Duration::from_hours(24 * days.max(0).unsigned_abs()) && !is_attached {
            prop_assert!(!doomed(&after).1.contains(&digest));
        }
    }

    #[test]
    fn an_index_is_as_new_as_the_newest_of_its_children(world in world()) {
        let snapshot = world.snapshot();
        for node in snapshot.manifests() {
            let created = snapshot.time(node, ClockSource::Created);
            prop_assert_eq!(created, newest(&world, snapshot.digest(node)));
        }
    }

    #[test]
    fn i09_a_manifest_goes_only_with_all_its_tags(world in world(), policy in policy(), in_use in in_use()) {
        let snapshot = world.snapshot();
        let plan = plan(&snapshot, &policy, &in_use, now());
        for step in &plan.steps {
            let PlannedStep::Delete { manifest, .. } = step else { continue };
            for (row, verdict) in snapshot.tags().iter().zip(plan.tags()) {
                if row.node == *manifest {
                    prop_assert_eq!(verdict.fate, TagFate::Delete);
                    if row.kind == TagKind::Own {
                        prop_assert!(verdict.condemned_by.is_some() && verdict.kept_by.is_none());
                    }
                }
            }
        }
    }

    #[test]
    fn i10_referrers_live_with_their_subject(world in world(), policy in policy(), in_use in in_use()) {
        let (_, manifests) = doomed_in(&world, &policy, &in_use);
        for (referrer, item) in &world.items {
            if let Some(subject) = &item.found.subject
                && world.items.contains_key(subject)
                && !manifests.contains(subject)
            {
                prop_assert!(!manifests.contains(referrer));
            }
        }
        for (tag, (digest, _)) in &world.tags {
            let subject = derived::parse(tag).and_then(|derived| derived.subject());
            if let Some(subject) = subject
                && world.items.contains_key(&subject)
                && subject != *digest
                && !manifests.contains(&subject)
            {
                prop_assert!(!manifests.contains(digest));
            }
        }
    }

    #[test]
    fn i11_a_second_plan_has_nothing_to_do(world in world(), policy in policy(), in_use in in_use()) {
        let snapshot = world.snapshot();
        let first = plan(&snapshot, &policy, &in_use, now());
        let snapshot = world.after(&first).snapshot();
        let second = plan(&snapshot, &policy, &in_use, now());
        // A digest in use that was never here stays unknown to a registry that lists nothing.
        prop_assert_eq!(&second.steps, &[]);
    }

    #[test]
    fn bytes_are_counted_once(world in world(), policy in policy(), in_use in in_use()) {
        let size = |world: &World| {
            let mut blobs = BTreeMap::new();
            let mut documents = 0;
            for item in world.items.values() {
                blobs.extend(item.found.blobs.iter().cloned());
                documents += item.found.size;
            }
            documents + blobs.values().sum::<u64>()
        };
        let snapshot = world.snapshot();
        let plan = plan(&snapshot, &policy, &in_use, now());
        let after = world.after(&plan);
        prop_assert_eq!(plan.bytes(), size(&world) - size(&after));
    }
}

/// The repositories and policies that are generated would prove nothing if little of them went.
#[test]
fn what_is_generated_has_something_to_decide() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let strategy = (world(), policy(), in_use());
    let mut seen = BTreeMap::new();
    for _ in 0..300 {
        let (world, policy, in_use) = strategy.new_tree(&mut runner).unwrap().current();
        let snapshot = world.snapshot();
        let plan = plan(&snapshot, &policy, &in_use, now());
        let untags = plan.steps.iter().any(|step| matches!(step, PlannedStep::Untag { .. }));
        let along = plan.verdicts.iter().flat_map(|verdicts| &verdicts.manifests);
        let along = along.filter(|m| matches!(m.fate, Fate::Delete { depth: 1.. })).count() > 0;
        let stays = plan.tags().iter().any(|tag| !tag.blockers.is_empty());
        let clock = plan.verdicts.as_ref().map(|it| it.ages.as_slice()).unwrap_or_default();
        let known: Vec<i64> = clock.iter().filter_map(|reading| reading.known()).collect();
        let equal = known.iter().collect::<BTreeSet<_>>().len() < known.len();
        let unknown = |reading: &Reading| matches!(reading, Reading::Impossible { .. });
        let is_index =
            |node: &Node| snapshot.is_present(*node) && snapshot.kind(*node) == Kind::Index;
        let mut indexes = snapshot.manifests().filter(is_index);
        let nested = indexes.any(|index| snapshot.children(index).any(|child| is_index(&child)));
        for (what, is_so) in [
            ("an index lists an index", nested),
            ("two are of one time", equal),
            ("a clock says what cannot be", clock.iter().any(unknown)),
            ("no clock says anything", clock.contains(&Reading::Silent)),
            ("something goes", !plan.steps.is_empty()),
            ("a tag is taken away", untags),
            ("something goes with its owner", along),
            ("something stands in the way", stays),
        ] {
            *seen.entry(what).or_insert(0) += u32::from(is_so);
        }
    }
    assert!(seen["something goes"] >= 90, "{seen:?}");
    assert!(seen.values().all(|count| *count >= 20), "{seen:?}");
}
