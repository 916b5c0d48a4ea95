//! A sync rule and a cleanup rule at one target: whatever they are, they come to rest. Both
//! registries are maps here; what is to be done is decided by the real code.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;

use super::decide::{AtTarget, Known, Verdict, decide};
use super::retention::Retention;
use crate::cleanup::{Abilities, Builder, InUse, PlannedStep, Untag, plan};
use crate::config::policy::ClockSource;
use crate::config::{CleanupRule, OnConflict, sample};
use crate::oci::{Digest, ImageAddress, Tag};
use crate::state::{ManifestSummary, State, TagState, Withdrawn};

const TAGS: [&str; 8] = ["latest", "v1.0", "v1.1", "v2.0", "v2.1", "pr-1", "pr-2", "pr-3"];
/// Ages of what is at the target before, in days.
const DAYS: [i64; 4] = [0, 3, 10, 40];

/// Everything that a round changes, and what it is about.
#[derive(Debug, Clone, Default)]
struct World {
    source: BTreeMap<Tag, Digest>,
    target: BTreeMap<Tag, Digest>,
    /// When the manifests at the target were seen first.
    seen: BTreeMap<Digest, Timestamp>,
    records: BTreeMap<Tag, TagState>,
    withdrawn: BTreeMap<Tag, Withdrawn>,
    /// The rule leaves platforms out, so that what it puts has another digest.
    rewrites: bool,
    on_conflict: OnConflict,
    untag: bool,
}

/// A tag and what it pointed at.
type Images = BTreeSet<(Tag, Digest)>;

fn now() -> Timestamp {
    "2026-06-01T03:00:00Z".parse().unwrap()
}

fn digest(number: u8) -> Digest {
    Digest::of(&[number])
}

impl World {
    /// What becomes of an image on its way.
    fn put(&self, source: &Digest) -> Digest {
        if self.rewrites { Digest::of(source.as_bytes()) } else { source.clone() }
    }

    /// What was copied.
    fn sync(&mut self, rules: &[CleanupRule]) -> Images {
        let retention = Retention::new(rules);
        let policies =
            retention.policies(&"t.example/acme/app".parse::<ImageAddress>().unwrap().repository);
        let former = State::in_memory().withdrawn;
        let mut copied = Images::new();
        for (tag, source) in self.source.clone() {
            let withdrawn =
                self.withdrawn.get(&tag).filter(|known| policies.uphold(&tag, known, &*former));
            let known = Known {
                source: &source,
                record: self.records.get(&tag),
                same_options: self.records.contains_key(&tag),
                filtered: self.rewrites,
                withdrawn: withdrawn.map(|known| &known.digest),
            };
            let at_target = self.target.get(&tag).cloned().map_or(AtTarget::Lacks, AtTarget::Has);
            if let Verdict::Copy(_) = decide(&known, &at_target, self.on_conflict) {
                let put = self.put(&source);
                self.records.insert(tag.clone(), TagState::sample(&source, &put));
                self.withdrawn.remove(&tag);
                self.seen.entry(put.clone()).or_insert_with(now);
                if self.target.insert(tag.clone(), put.clone()).as_ref() != Some(&put) {
                    copied.insert((tag, put));
                }
            }
        }
        copied
    }

    /// What was deleted.
    fn clean(&mut self, rules: &[CleanupRule]) -> Images {
        let mut deleted = Images::new();
        for rule in rules {
            let untag = if self.untag { Untag::Yes } else { Untag::No };
            let abilities = Abilities { untag, lists_untagged: true };
            let mut builder = Builder::new("t.example/acme/app", abilities);
            for (digest, seen) in &self.seen {
                builder.manifest(digest, ManifestSummary { size: 1, ..ManifestSummary::default() });
                builder.time(digest, ClockSource::FirstSeen, *seen);
            }
            for (tag, digest) in &self.target {
                builder.tag(tag.clone(), digest, false);
            }
            let (snapshot, in_use) = (builder.finish(), InUse::default());
            let plan = plan(&snapshot, &rule.policy, &in_use, now());
            assert_eq!(plan.refusals, []);
            let mut gone = Images::new();
            for step in &plan.steps {
                match step {
                    PlannedStep::Untag { tag } => {
                        let name = &snapshot.tags()[*tag as usize].name;
                        gone.extend(self.target.remove_entry(name));
                    }
                    PlannedStep::Delete { manifest, .. } => {
                        let digest = snapshot.digest(*manifest);
                        self.seen.remove(digest);
                        gone.extend(self.target.extract_if(.., |_, at| at == digest));
                    }
                }
            }
            for (tag, digest) in &gone {
                let (digest, policy) = (digest.clone(), rule.mark());
                self.withdrawn.insert(tag.clone(), Withdrawn { digest, policy, at: 0 });
            }
            deleted.extend(gone);
        }
        deleted
    }
}

fn tags() -> impl Strategy<Value = BTreeMap<Tag, u8>> {
    btree_map(select(&TAGS[..]).prop_map(|tag| tag.parse().unwrap()), 0..6_u8, 0..TAGS.len())
}

fn world() -> impl Strategy<Value = World> {
    let target = (tags(), vec(select(&DAYS[..]), 12), vec(any::<bool>(), TAGS.len()));
    let conflict = select(vec![OnConflict::Overwrite, OnConflict::Keep]);
    (tags(), target, any::<bool>(), conflict, any::<bool>()).prop_map(
        |(source, (target, days, known), rewrites, on_conflict, untag)| {
            let source: BTreeMap<_, _> = source.into_iter().map(|(t, n)| (t, digest(n))).collect();
            let mut world = World { source, rewrites, on_conflict, untag, ..World::default() };
            for (at, (tag, number)) in target.into_iter().enumerate() {
                // As the source has it, or had it, or as somebody else has put it.
                let from = if known[at] { digest(number) } else { digest(number + 100) };
                let put = world.put(&from);
                let days = SignedDuration::from_hours(24 * days[usize::from(number)]);
                world.seen.insert(put.clone(), now() - days);
                if known[at] {
                    world.records.insert(tag.clone(), TagState::sample(&from, &put));
                }
                world.target.insert(tag, put);
            }
            world
        },
    )
}

fn rules() -> impl Strategy<Value = Vec<CleanupRule>> {
    let keep = select(vec![
        "",
        "{ id = \"k\", tags = [\"latest\"] }",
        "{ id = \"k\", semver = \">=1\", newest = 1, per = \"major\" }",
        "{ id = \"k\", tags = [\"*\"], newest = 2 }",
    ]);
    let delete = select(vec![
        "tags = [\"pr-*\"]",
        "tags = [\"pr-*\"], older_than = \"7d\"",
        "semver = \">=1\", beyond_newest = 1",
        "tags = [\"*\"], beyond_newest = 2",
        "tags = [\"v*\", \"pr-1\"], older_than = \"1d\", beyond_newest = 1",
    ]);
    let rule = (keep, delete, select(vec!["0s", "48h"]));
    vec(rule, 1..3).prop_map(|rules| {
        let text = |(at, (keep, delete, grace)): (usize, &(&str, &str, &str))| {
            format!(
                "[[cleanup]]\nname = \"c{at}\"\nmode = \"apply\"\ngrace = \"{grace}\"\n\
                 repositories = [\"t.example/acme/**\"]\nmax_delete = {{ percent = 100 }}\n\
                 keep = [{keep}]\ndelete = [{{ id = \"d\", {delete} }}]\n"
            )
        };
        let text: String = rules.iter().enumerate().map(text).collect();
        sample(&text).cleanup
    })
}

proptest! {
    /// I14. What somebody else put under a tag and the rule keeps may go before the source's image
    /// comes, and that may be what makes the next one go.
    #[test]
    fn sync_and_cleanup_come_to_rest(mut world in world(), rules in rules()) {
        let rounds = if world.on_conflict == OnConflict::Overwrite { 2 } else { 1 + TAGS.len() };
        for _ in 0..rounds {
            world.sync(&rules);
            world.clean(&rules);
        }
        let rest = world.clone();
        prop_assert_eq!(world.sync(&rules), Images::new());
        prop_assert_eq!(world.clean(&rules), Images::new());
        prop_assert_eq!(world.target, rest.target);
    }

    /// Where the target's tags are the rule's, nothing that went comes back at all.
    #[test]
    fn nothing_is_deleted_and_copied_again(mut world in world(), rules in rules()) {
        world.on_conflict = OnConflict::Overwrite;
        let mut gone = Images::new();
        for _ in 0..3 {
            let copied = world.sync(&rules);
            prop_assert!(copied.is_disjoint(&gone), "{:?} {:?}", copied, gone);
            gone.extend(world.clean(&rules));
        }
    }

    /// A tag whose image went comes back with another one.
    #[test]
    fn what_moves_at_the_source_is_copied(mut world in world(), rules in rules()) {
        world.on_conflict = OnConflict::Overwrite;
        world.sync(&rules);
        let gone = world.clean(&rules);
        for (number, (tag, _)) in (200..).zip(&gone) {
            if let Some(source) = world.source.get_mut(tag) {
                *source = digest(number);
            }
        }
        let copied = world.sync(&rules);
        for (tag, _) in gone.iter().filter(|(tag, _)| world.source.contains_key(tag)) {
            prop_assert!(copied.iter().any(|(copied, _)| copied == tag), "{}", tag);
        }
    }
}

/// What happens without the memory: the properties above are about something.
#[test]
fn without_a_memory_they_would_not_rest() {
    let text = "[[cleanup]]\nname = \"c\"\nmode = \"apply\"\ngrace = \"0s\"\n\
                repositories = [\"t.example/acme/app\"]\nmax_delete = { percent = 100 }\n\
                delete = [{ id = \"d\", tags = [\"pr-*\"] }]\n";
    let rules = sample(text).cleanup;
    let mut world = World {
        source: BTreeMap::from([("pr-1".parse().unwrap(), digest(1))]),
        on_conflict: OnConflict::Overwrite,
        ..World::default()
    };
    for _ in 0..3 {
        assert_eq!(world.sync(&rules).len(), 1);
        assert_eq!(world.clean(&rules).len(), 1);
        world.withdrawn.clear();
    }
}
