//! What it costs to look at a repository, in questions to its registry.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::applying::{block_on, registry_world};
use super::registry::Registry;
use super::rules::policy;
use super::world::{World, now};
use crate::cleanup::gather::Gathering;
use crate::cleanup::{Abilities, CleanupProgress, InUse, Snapshot, Untag, plan};
use crate::oci::{Digest, Tag};
use crate::state::State;
use crate::transfer::manifest_memory;

type Asked = BTreeMap<&'static str, usize>;

/// The repository at some time, and what was asked for it. Every list of referrers is asked for
/// anew by who is going to delete.
async fn look(
    registry: &Registry,
    state: &State,
    now: Timestamp,
    deletes: bool,
) -> (Snapshot, Asked) {
    let gathering = Gathering {
        in_use: &[],
        emptied: false,
        repository: registry,
        memory: &manifest_memory(),
        progress: &CleanupProgress::default(),
        abilities: Abilities { untag: Untag::Unknown, lists_untagged: false },
        known: &state.manifests,
        now,
        roots: &[],
        created: false,
        all_referrers: deletes,
    };
    let snapshot = gathering.run().await.expect("there is such a repository");
    (snapshot, registry.take_asked())
}

fn asked(counts: [(&'static str, usize); 4]) -> Asked {
    counts.into_iter().filter(|(_, count)| *count > 0).collect()
}

/// Whether the registry shows that a manifest is there without being asked for it: by a tag, an
/// index that lists it, or as a referrer, of what else was found.
fn is_shown(world: &World, snapshot: &Snapshot, digest: &Digest) -> bool {
    let is_found =
        |digest: &Digest| snapshot.find(digest).is_some_and(|node| snapshot.is_present(node));
    let mut found = world.items.iter().filter(|(parent, _)| is_found(parent));
    let subject = world.items[digest].found.subject.as_ref();
    world.tags.values().any(|(tagged, _)| tagged == digest)
        || found.any(|(_, item)| item.found.children.contains(digest))
        || subject.is_some_and(is_found)
}

/// CI pushes the same image again, weeks after somebody deleted it and left its signature: it is new.
#[test]
fn what_comes_back_counts_as_new() {
    block_on(async {
        let mut world = World::new();
        let (image, signature) = (world.index("image", 0, &[]), world.index("signature", 0, &[]));
        world.cosign(&image, &signature);
        world.tag("pr-1", &image);
        let registry = Registry::new("registry.example.com/acme/app", world.clone());
        let state = State::in_memory();
        let day = SignedDuration::from_hours(24);
        let fate = async |when: Timestamp| {
            let (snapshot, _) = look(&registry, &state, when, true).await;
            let policy = policy(
                "",
                "{ id = \"pr\", tags = [\"pr-*\"], older_than = \"7d\" }",
                "grace = \"48h\"",
            );
            plan(&snapshot, &policy, &InUse::default(), when).steps.len()
        };
        assert_eq!(fate(now()).await, 0);
        registry.change(|world| {
            world.tags.remove(&"pr-1".parse::<Tag>().unwrap());
            world.items.remove(&image);
        });
        for weeks in 1..4 {
            assert_eq!(fate(now() + day * (7 * weeks)).await, 0);
        }
        registry.change(|changed| *changed = world.clone());
        assert_eq!(fate(now() + day * 30).await, 0, "it came back a moment ago");
        assert_eq!(fate(now() + day * 38).await, 2, "it has been there for eight days");
    });
}

/// The image is gone, and its signature is left: rules about orphans delete it, although the state
/// has seen the image alive.
#[test]
fn what_was_left_by_something_that_is_gone_is_an_orphan() {
    block_on(async {
        let mut world = World::new();
        let (image, signature) = (world.index("image", 0, &[]), world.index("signature", 0, &[]));
        world.cosign(&image, &signature);
        world.tag("pr-1", &image);
        let registry = Registry::new("registry.example.com/acme/app", world);
        let state = State::in_memory();
        look(&registry, &state, now(), true).await;
        registry.change(|world| {
            world.tags.remove(&"pr-1".parse::<Tag>().unwrap());
            world.items.remove(&image);
        });
        let policy = policy("", "{ id = \"left\", orphans = true }", "");
        let (snapshot, _) = look(&registry, &state, now(), true).await;
        let in_use = InUse::default();
        let plan = plan(&snapshot, &policy, &in_use, now());
        assert_eq!(plan.steps.len(), 1, "{:?}", plan.refusals);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Each manifest is read once and never again. What refers to it can change, so that is asked
    /// for again: after a day, where the clock was set back, and before anything is deleted.
    #[test]
    fn what_was_seen_is_not_read_again(world in registry_world()) {
        block_on(async {
            let registry = Registry::new("registry.example.com/acme/app", world.clone());
            let state = State::in_memory();
            let (first, cost) = look(&registry, &state, now(), false).await;
            prop_assert_eq!(first.incomplete(), &[]);
            let (tags, there) = (world.tags.len(), first.manifests().count());
            // What an index lists and is not there may be there the next time.
            let absent = first.len() - there;
            // What nothing shows to be there is asked for. So may be what is shown too late: by
            // something that had to be asked for itself.
            let digests = || first.manifests().map(|node| first.digest(node));
            let is_tagged = |digest: &&Digest| world.tags.values().any(|(it, _)| it == *digest);
            let least = digests().filter(|digest| !is_shown(&world, &first, digest)).count();
            let most = there - digests().filter(is_tagged).count();
            let expected = |manifests, named, referrers| {
                asked([
                    ("tags", 1),
                    ("resolve", tags + named),
                    ("manifest", manifests),
                    ("referrers", referrers),
                ])
            };
            prop_assert_eq!(cost, expected(there + absent, 0, there));
            let second = SignedDuration::from_secs(1);
            let day = SignedDuration::from_hours(24);
            let cases = [
                (SignedDuration::ZERO, false, 0),
                (day - second, false, 0),
                (day, false, there),
                (day, true, there),
                (day + day - second, false, 0),
                (-second, false, there),
            ];
            for (later, deletes, referrers) in cases {
                let (again, cost) = look(&registry, &state, now() + later, deletes).await;
                let named = cost.get("resolve").copied().unwrap_or_default() - tags;
                prop_assert!((least..=most).contains(&named), "{cost:?} {least} {most}");
                prop_assert_eq!(cost, expected(absent, named, referrers), "{} {}", later, deletes);
                prop_assert_eq!(&again, &first);
            }
            Ok(())
        })?;
    }
}

/// Who saw an image by a clock that was wrong knows nothing of its age.
#[test]
fn what_was_seen_by_a_wrong_clock_is_of_unknown_age() {
    block_on(async {
        for (first, goes) in [
            ("1970-01-01T00:00:01Z", false),
            ("2040-01-01T00:00:00Z", false),
            ("2026-05-01T00:00:00Z", true),
        ] {
            let mut world = World::new();
            let image = world.index("image", 0, &[]);
            world.tag("pr-1", &image);
            let registry = Registry::new("registry.example.com/acme/app", world);
            let state = State::in_memory();
            look(&registry, &state, first.parse().unwrap(), false).await;
            let (snapshot, _) = look(&registry, &state, now(), true).await;
            for lines in ["older_than = \"7d\" }", "beyond_newest = 1, older_than = \"1d\" }"] {
                let delete = format!("{{ id = \"pr\", tags = [\"pr-*\"], {lines}");
                let policy = policy("", &delete, "");
                let in_use = InUse::default();
                let plan = plan(&snapshot, &policy, &in_use, now());
                let expected = usize::from(goes && !lines.contains("newest"));
                assert_eq!((plan.refusals.len(), plan.steps.len()), (0, expected), "{first}");
            }
            // A grace period holds what may be younger.
            let policy = policy("", "{ id = \"pr\", tags = [\"pr-*\"] }", "grace = \"1d\"");
            let plan = plan(&snapshot, &policy, &InUse::default(), now()).steps.len();
            assert_eq!(plan, usize::from(goes), "{first}");
        }
    });
}
