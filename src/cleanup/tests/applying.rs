//! What must hold while plans are carried out, wherever that is refused, cut off or overtaken. The
//! names are those of the invariants in docs/cleanup.md.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::Index;
use tempfile::TempDir;

use super::generate::{digest, in_use, policy, world};
use super::registry::{Registry, is_trial};
use super::world::{World, days_ago, now};
use crate::cleanup::observe::{Observation, ObserveOptions, RepositoryContext};
use crate::cleanup::quarantine::Quarantine;
use crate::cleanup::recheck::Rechecker;
use crate::cleanup::restore::{Wanted, choose, deleted};
use crate::cleanup::{CleanupProgress, InUse, PlannedStep, TagFate, TagRemover, plan};
use crate::config::policy::{ClockSource, Doomed, MaxDelete, Policy};
use crate::fair::Flow;
use crate::http::RetryPolicy as Retries;
use crate::oci::{Digest, Tag, derived};
use crate::removal::audit::{Intent, Line, folder};
use crate::removal::{
    Actor, Audit, Executed, KeepCopies, Order, RemoveTags, StepOutcome, TagRemoval, execute,
    recover,
};
use crate::repository::{Reference, Repository};
use crate::state::jsonl::NewestFirst;
use crate::state::{ManifestFacts, State};
use crate::stop::StopSignal;
use crate::transfer::{Carrier, manifest_memory};

/// A registry with a generated repository, the state that has seen it grow, and the audit.
struct Scene {
    registry: Arc<Registry>,
    state: State,
    policy: Policy,
    in_use: InUse,
    folder: TempDir,
    /// Steps between two looks.
    stretch: usize,
}

/// What was planned, by name.
#[derive(Debug, Default)]
struct Planned {
    tags: BTreeSet<Tag>,
    digests: BTreeSet<Digest>,
    /// Tags that stay.
    kept: BTreeSet<Tag>,
}

impl Scene {
    fn new(world: World, policy: Policy, in_use: InUse) -> Self {
        let state = State::in_memory();
        let name = "registry.example.com/acme/app";
        for (digest, item) in &world.items {
            let seen = item.times.iter().find(|(source, _)| *source == ClockSource::FirstSeen);
            let Some((_, first_seen)) = seen.filter(|(_, at)| at.as_second() >= 0) else {
                continue;
            };
            let seen = ManifestFacts {
                first_seen: *first_seen,
                summary: item.found.clone(),
                created: None,
                referrers: None,
            };
            state.manifests.set(name, digest, &seen);
        }
        let policy = Policy { clock: vec![ClockSource::FirstSeen], ..policy };
        // Layouts aside, no repository is listed without its tags.
        let registry = Registry::new(name, world);
        Self { registry, state, policy, in_use, folder: tempfile::tempdir().unwrap(), stretch: 500 }
    }

    fn audit(&self) -> Audit {
        Audit::open(self.folder.path(), now()).unwrap()
    }

    /// Plans, lets somebody change the registry, and applies, as a process that may die. `None`:
    /// it died, or nothing could be planned.
    async fn run(
        &self,
        meddle: impl FnOnce(&Registry),
        quarantine: Option<&Arc<Registry>>,
    ) -> (Planned, Option<Executed>) {
        let repository: Arc<dyn Repository> = Arc::clone(&self.registry) as _;
        let memory = manifest_memory();
        let progress = CleanupProgress::default();
        let context = RepositoryContext {
            progress: &progress,
            repository: Arc::clone(&repository),
            state: &self.state,
            memory: &memory,
            policy: &self.policy,
            now: now(),
            in_use: &|| Box::pin(async { Ok(self.in_use.clone()) }),
        };
        self.registry.take_asked();
        let audit = self.audit();
        recover(&audit, &*repository, now()).await.unwrap();
        let options = ObserveOptions { all_referrers: true, ..ObserveOptions::default() };
        let Some(Observation { snapshot, in_use }) = context.observe(options).await.unwrap() else {
            return Default::default();
        };
        let plan = plan(&snapshot, &self.policy, &in_use, now());
        let mut planned = Planned::default();
        for (row, verdict) in snapshot.tags().iter().zip(plan.tags()) {
            match verdict.fate {
                TagFate::Keep => planned.kept.insert(row.name.clone()),
                _ => planned.tags.insert(row.name.clone()),
            };
        }
        for step in &plan.steps {
            if let PlannedStep::Delete { manifest, .. } = step {
                planned.digests.insert(snapshot.digest(*manifest).clone());
            }
        }
        if !plan.refusals.is_empty() {
            planned.tags.clear();
            return (planned, None);
        }
        let asked = self.registry.take_asked();
        assert!(!asked.contains_key("write"), "nothing is done yet: {asked:?}");
        meddle(&self.registry);
        let carrier = Carrier::new(self.state.clone(), Retries::default(), || 0.0);
        let actor = Actor::of_process("run", "command");
        let stop = StopSignal::default();
        let mut quarantine = quarantine.map(|target| Quarantine {
            carrier: &carrier,
            flow: Flow::ALONE,
            source: Arc::clone(&repository),
            snapshot: &snapshot,
            target: Arc::clone(target) as Arc<dyn Repository>,
            until: "2026-07-01T00:00:00Z".parse().unwrap(),
            copies: Default::default(),
        });
        let order = Order {
            repository: &*repository,
            state: &self.state,
            rule: "r",
            audit: &audit,
            actor: &actor,
            recheck: &Rechecker { context: &context, planned: &plan },
            quarantine: quarantine.as_mut().map(|copies| copies as &mut dyn KeepCopies),
            stop: &stop,
            now: now(),
            withdraws: None,
            untag_by_overwriting: self.policy.untag_by_overwriting,
            stretch: self.stretch,
            tried: progress.steps_done(),
        };
        let steps: Vec<_> = plan.to_steps().collect();
        let applied = tokio::select! {
            biased;
            () = self.registry.died.notified() => None,
            executed = execute(&steps, order) => Some(executed),
        };
        (planned, applied)
    }

    /// Intents and outcomes in the audit, by id.
    fn lines(&self) -> (BTreeMap<String, Intent>, BTreeMap<String, StepOutcome>) {
        let mut lines = NewestFirst::open(&folder(self.folder.path())).unwrap();
        let (mut intents, mut outcomes) = (BTreeMap::new(), BTreeMap::new());
        while let Some(line) = lines.next::<Line>(|_| true).unwrap() {
            match line {
                Line::Intent(intent) => _ = intents.insert(intent.id.clone(), *intent),
                Line::Outcome { id, outcome, .. } => _ = outcomes.insert(id, outcome),
                _ => {}
            }
        }
        (intents, outcomes)
    }
}

/// Every tag that stays has its digest and all that it had; so has every other that is there.
fn assert_whole(before: &World, after: &World, kept: &BTreeSet<Tag>) {
    for tag in kept {
        assert_eq!(after.tags.get(tag), before.tags.get(tag), "{tag}");
    }
    for (tag, (digest, _)) in after.tags.iter().filter(|(tag, _)| !is_trial(tag)) {
        assert!(after.items.contains_key(digest), "{tag} points at nothing");
        assert_eq!(after.closure(tag), before.closure(tag), "{tag}");
    }
}

/// i04, i09: what went was planned, and no digest went while a tag on it stayed.
fn assert_planned(scene: &Scene, planned: &Planned) {
    for reference in scene.registry.deleted() {
        match reference {
            Reference::Tag(tag) => assert!(planned.tags.contains(&tag), "{tag}"),
            Reference::Digest(digest) => assert!(planned.digests.contains(&digest), "{digest}"),
        }
    }
}

pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// Worlds without what registries do not have: locks are refusals there.
pub fn registry_world() -> impl Strategy<Value = World> {
    world().prop_map(|mut world| {
        world.items.values_mut().for_each(|item| item.locked = false);
        world.tags.values_mut().for_each(|(_, locked)| *locked = false);
        world.tags.retain(|_, (digest, _)| world.items.contains_key(digest));
        world
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Refused where the registry likes, cut off anywhere, and taken up again.
    #[test]
    fn i01_whatever_is_refused_or_cut_off_what_stays_is_whole(
        world in registry_world(), policy in policy(), used in in_use(),
        refused in proptest::collection::btree_set(0..12_usize, 0..3),
        lives in 0..6_usize, dies_after in any::<bool>(), able in any::<bool>(),
        stretch in 1..4_usize,
    ) {
        block_on(async {
            let mut scene = Scene::new(world.clone(), policy.clone(), used.clone());
            scene.stretch = stretch;
            if !able {
                scene.registry.only_by_digest();
            }
            scene.registry.refuse(refused.iter().map(|n| digest(*n)).collect());
            scene.registry.die_at(lives, dies_after);
            let (planned, applied) = scene.run(|_| {}, None).await;
            assert_planned(&scene, &planned);
            assert_whole(&world, &scene.registry.world(), &planned.kept);
            if applied.is_none() {
                // The next process finds out what became of the last intent, and goes on.
                scene.registry.die_at(usize::MAX, false);
                scene.run(|_| {}, None).await;
                assert_whole(&world, &scene.registry.world(), &planned.kept);
                let (intents, outcomes) = scene.lines();
                assert_eq!(
                    intents.keys().collect::<Vec<_>>(),
                    outcomes.keys().collect::<Vec<_>>()
                );
            }
            // Cut off or not, no tag goes that an undisturbed run does not plan to delete. Less may
            // go: what belonged to something that is gone by then is for rules about orphans.
            let undisturbed = Scene::new(world.clone(), policy.clone(), used.clone());
            if !able {
                undisturbed.registry.only_by_digest();
            }
            undisturbed.registry.refuse(refused.iter().map(|n| digest(*n)).collect());
            let (planned, _) = undisturbed.run(|_| {}, None).await;
            let (left, undisturbed) = (scene.registry.world(), undisturbed.registry.world());
            let stays = |tag: &&Tag| !planned.tags.contains(*tag);
            assert!(world.tags.keys().filter(stays).all(|tag| left.tags.contains_key(tag)));
            // Nor is anything lost that its tags lead to. What no tag leads to may go: the second
            // process cannot see it. And where a digest is refused, its tags may be deleted one by one
            // after the interruption: once its owner is gone, a tag of that owner keeps the manifest.
            if refused.is_empty() {
                for tag in undisturbed.tags.keys().filter(|tag| !is_trial(tag)) {
                    assert_eq!(undisturbed.closure(tag), left.closure(tag), "{tag}");
                }
            }
        });
    }

    /// Who only plans asks, changes nothing, and has nothing to write down.
    #[test]
    fn i04_a_plan_changes_nothing(world in registry_world(), policy in policy(), used in in_use()) {
        block_on(async {
            let scene = Scene::new(world.clone(), policy, used);
            let (audit, actor) = (scene.audit(), Actor::of_process("run", "command"));
            let memory = manifest_memory();
            let context = RepositoryContext {
                progress: &CleanupProgress::default(),
                repository: Arc::clone(&scene.registry) as _,
                state: &scene.state,
                memory: &memory,
                policy: &scene.policy,
                now: now(),
                in_use: &|| Box::pin(async { Ok(InUse::default()) }),
            };
            let observed = context.observe(ObserveOptions::default()).await.unwrap();
            let Observation { snapshot, in_use } = observed.expect("there is such a repository");
            let planned = plan(&snapshot, &scene.policy, &in_use, now());
            assert_eq!(planned.to_steps().count(), planned.steps.len());
            // All tags at once.
            let removal = TagRemoval {
                repository: Arc::clone(&scene.registry) as _,
                rule: "r",
                line: "all",
                choose: &|tags| tags.unwrap().iter().map(|(tag, _)| (*tag).clone()).collect(),
                max_delete: MaxDelete::default(),
                applies: false,
                state: &scene.state,
                memory: &memory,
                stop: &StopSignal::default(),
                now: now(),
            };
            let remover = TagRemover { audit: &audit, actor: &actor };
            let planned = remover.remove(removal).await.unwrap();
            let mut tags = world.tags.keys();
            assert_eq!(planned.is_some(), tags.any(|tag| derived::parse(tag).is_none()));
            let mut steps = planned.iter().flat_map(|planned| &planned.steps);
            assert!(steps.all(|step| step.outcome == StepOutcome::NotDone));
            let asked = scene.registry.take_asked();
            assert!(asked.contains_key("tags") && !asked.contains_key("write"), "{asked:?}");
            assert_eq!(scene.registry.world().tags, world.tags);
            assert!(scene.lines().0.is_empty());
        });
    }

    /// Somebody pushes, moves and tags between the plan and its first step.
    #[test]
    fn i09_what_came_meanwhile_is_whole(
        world in registry_world(), policy in policy(), used in in_use(),
        at in any::<Index>(), moved in any::<Index>(), listed in any::<Index>(),
    ) {
        block_on(async {
            let scene = Scene::new(world.clone(), policy, used);
            let pick = |at: &Index| world.items.keys().nth(at.index(world.items.len())).unwrap();
            let (tagged, child) = (pick(&at).clone(), pick(&listed).clone());
            let mut changed = world.clone();
            changed.tag("keep-me", &tagged);
            if !world.tags.is_empty() {
                let tag = world.tags.keys().nth(moved.index(world.tags.len())).unwrap();
                changed.tags.insert(tag.clone(), (tagged, false));
            }
            let index = Digest::of(b"an index that is pushed meanwhile");
            changed.index("an index that is pushed meanwhile", 0, &[&child]);
            changed.tag("keep-this-too", &index);
            let (planned, _) = scene.run(|registry| registry.change(|world| *world = changed.clone()), None).await;
            assert_planned(&scene, &planned);
            let after = scene.registry.world();
            let new: BTreeSet<Tag> = ["keep-me", "keep-this-too"].map(|tag| tag.parse().unwrap()).into();
            // Unless nothing was planned, and so nobody meddled.
            if after.tags.contains_key(&"keep-me".parse::<Tag>().unwrap()) {
                assert_whole(&changed, &after, &new);
            }
        });
    }

    /// However often the repository is observed in between, nothing else is deleted, and nothing is
    /// left, unless a line counts the newest. Then an image may stay that had just too many newer
    /// ones: the count is made anew, without those that are deleted by now.
    #[test]
    fn i11_observations_in_between_delete_nothing_else(
        world in registry_world(), policy in policy(), used in in_use(),
    ) {
        block_on(async {
            let scene = Scene::new(world.clone(), policy.clone(), used.clone());
            scene.run(|_| {}, None).await;
            let counts = policy.delete.iter().any(|line| {
                matches!(&line.what, Doomed::Tags { beyond_newest: Some(_), .. })
            });
            let mut often = Scene::new(world, policy, used);
            often.stretch = 1;
            often.run(|_| {}, None).await;
            let (once, often) = (scene.registry.deleted(), often.registry.deleted());
            match counts {
                true => prop_assert!(often.iter().all(|it| once.contains(it)), "{often:?} {once:?}"),
                false => prop_assert_eq!(once, often),
            }
            Ok(())
        })?;
    }

    /// What is done twice at one time is done once.
    #[test]
    fn i11_a_second_run_does_nothing(world in registry_world(), policy in policy(), used in in_use()) {
        block_on(async {
            let scene = Scene::new(world, policy, used);
            scene.run(|_| {}, None).await;
            let done = scene.registry.deleted().len();
            scene.run(|_| {}, None).await;
            let again = scene.registry.deleted().split_off(done);
            prop_assert!(again.is_empty(), "{again:?}");
            Ok(())
        })?;
    }

    /// Everything that went is in the quarantine, and comes back as it was.
    #[test]
    fn i12_what_went_comes_back(world in registry_world(), policy in policy(), used in in_use()) {
        block_on(async {
            let scene = Scene::new(world.clone(), policy, used);
            // Whose ability is known: a tag that stays untaken is none of this test's business.
            scene.state.abilities.set_can_untag(scene.registry.name(), false, now());
            let quarantine = Registry::new("quarantine.example.com/acme/app", World::new());
            scene.run(|_| {}, Some(&quarantine)).await;
            let after = scene.registry.world();
            let all = deleted(&folder(scene.folder.path()), now(), &Wanted::default()).unwrap().restorable;
            let chosen = choose(&all, &Wanted::default());
            let kept = quarantine.world();
            for (digest, item) in &world.items {
                if after.items.contains_key(digest) {
                    continue;
                }
                let intent = chosen.iter().find(|intent| intent.digest == *digest);
                let intent = intent.unwrap_or_else(|| panic!("{digest} went without a copy"));
                let tags: BTreeSet<&Tag> = world
                    .tags
                    .iter()
                    .filter(|(_, (target, _))| target == digest)
                    .map(|(tag, _)| tag)
                    .collect();
                prop_assert_eq!(intent.tags.iter().collect::<BTreeSet<_>>(), tags);
                let copy = kept.items.get(digest).expect("it is in the quarantine");
                prop_assert_eq!(&copy.found.children, &item.found.children);
                prop_assert_eq!(&copy.found.subject, &item.found.subject);
                let holder = &intent.quarantine.as_ref().unwrap().tag;
                prop_assert!(kept.closure(holder).unwrap().contains(digest));
            }
            Ok(())
        })?;
    }
}

/// A repository of images that a rule deletes.
fn doomed(images: usize) -> (World, Policy) {
    let mut world = World::new();
    for number in 0..images {
        let image = world.index(&number.to_string(), 90, &[]);
        world.tag(&format!("pr-{number}"), &image);
    }
    (world, super::rules::policy("", "{ id = \"pr\", tags = [\"pr-*\"] }", ""))
}

/// Deleting thousands of images takes a while, in which the repository is observed again.
#[test]
fn i09_what_gets_a_tag_while_thousands_go_stays() {
    block_on(async {
        let (world, policy) = doomed(1_700);
        let last = world.items.keys().next_back().unwrap().clone();
        let scene = Scene::new(world, policy, InUse::default());
        let image = last.clone();
        scene.registry.change_after(900, move |world| world.tag("released", &image));
        let (_, applied) = scene.run(|_| {}, None).await;
        let steps = applied.unwrap().steps;
        let outcomes = steps.iter().map(|step| step.outcome);
        assert_eq!(outcomes.filter(|outcome| *outcome == StepOutcome::Deleted).count(), 1_699);
        assert_eq!((steps[1_699].outcome, &steps[1_699].digest), (StepOutcome::Skipped, &last));
        let after = scene.registry.world();
        assert!(after.items.contains_key(&last) && after.tags.len() == 2);
        // Each observation resolves all tags: at first, after each 500 steps, and when the new tag is
        // seen. While the list has two pages, it is read before every second deletion.
        let asked = scene.registry.take_asked();
        let new_tag = 1;
        assert_eq!(asked["resolve"], 1_700 + 1_200 + new_tag + (799 + 1) + (299 + 1));
        assert!(asked["tags"] < 1_300, "{asked:?}");
    });
}

/// Whatever somebody tags directly before it would be deleted.
#[test]
fn i09_a_tag_that_comes_between_two_deletions_saves_its_image() {
    for images in 1..4 {
        for after in 0..images {
            for by_index in [false, true] {
                let (world, policy) = doomed(images);
                let next = world.items.keys().nth(after).unwrap().clone();
                let scene = Scene::new(world, policy, InUse::default());
                let saved = next.clone();
                let tag = move |world: &mut World| {
                    let image = match by_index {
                        true => world.index("an index that is pushed meanwhile", 0, &[&saved]),
                        false => saved,
                    };
                    world.tag("released", &image);
                };
                // Before the first deletion: after the plan, and so before the first observation.
                let meddle = |registry: &Registry| match after {
                    0 => registry.change(tag),
                    _ => registry.change_after(after, tag),
                };
                let (_, applied) = block_on(scene.run(meddle, None));
                let steps = applied.unwrap().steps;
                let skipped = steps.iter().filter(|step| step.outcome == StepOutcome::Skipped);
                let skipped: Vec<_> = skipped.map(|step| &step.digest).collect();
                assert_eq!(skipped, [&next], "{images} {after} {by_index}");
                let closure = scene.registry.world().closure(&"released".parse().unwrap());
                assert!(closure.unwrap().contains(&next), "{images} {after} {by_index}");
            }
        }
    }
}

/// Other pushes do not matter: nothing is observed again.
#[test]
fn i09_pushes_of_other_images_change_nothing() {
    let (world, policy) = doomed(3);
    let scene = Scene::new(world, policy, InUse::default());
    scene.registry.change_after(1, |world| {
        let image = world.index("another", 0, &[]);
        world.tag("pr-4", &image);
    });
    let (_, applied) = block_on(scene.run(|_| {}, None));
    let outcomes: Vec<_> = applied.unwrap().steps.iter().map(|step| step.outcome).collect();
    assert_eq!(outcomes, [StepOutcome::Deleted; 3]);
    let asked = scene.registry.take_asked();
    // The observation's three tags, and the new one. The list: observed, and before each deletion.
    assert_eq!((asked["resolve"], asked["tags"]), (4, 4), "{asked:?}");
}

/// A signature of unknown age goes with its image, also where the repository is observed between the
/// two deletions.
#[test]
fn i11_what_is_attached_goes_whatever_its_age() {
    let policy = super::rules::policy(
        "",
        "{ id = \"pr\", tags = [\"pr-*\"], older_than = \"30d\" }",
        "grace = \"48h\"",
    );
    let mut world = World::new();
    let image = world.index("image", 90, &[]);
    let old = (ClockSource::FirstSeen, days_ago(90));
    world.items.get_mut(&image).unwrap().times = vec![old];
    world.tag("pr-1", &image);
    let signature = world.index("signature", 0, &[]);
    world.items.get_mut(&signature).unwrap().times.clear();
    world.cosign(&image, &signature);
    let mut scene = Scene::new(world, policy, InUse::default());
    scene.stretch = 1;
    let (_, applied) = block_on(scene.run(|_| {}, None));
    assert!(scene.registry.world().items.is_empty(), "{:?}", applied.unwrap().steps);
}
