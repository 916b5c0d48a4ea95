//! Repositories, policies and what is in use, at random: small enough to shrink, and full of what
//! real ones have (shared digests, nested indexes, referrers of referrers, equal and impossible
//! times, dangling children, fallback and cosign tags, locks).

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::world::{Item, World, days_ago, nothing};
use crate::cleanup::{Abilities, InUse, Untag};
use crate::config::policy::{
    ClockSource, DeleteRule, Doomed, KeepRule, MaxDelete, Per, Policy, TagSelector,
};
use crate::oci::selection::TagPatterns;
use crate::oci::{Digest, derived};
use crate::state::ManifestSummary;

const NAMES: [&str; 14] = [
    "latest", "main", "v1.0", "v1.1", "v1.1.0", "1.2.3", "v2.0", "v2.1-rc1", "pr-1", "pr-2",
    "pr-30", "sha-a", "sha-b", "dev",
];

/// Days ago: with equal times, the grace period's both sides, the future and 1970.
const DAYS: [i64; 15] = [0, 1, 5, 10, 10, 15, 20, 40, 40, 60, 60, 400, 400, -1, 20_605];

const DAY: u64 = 86_400;

pub fn digest(number: usize) -> Digest {
    Digest::of(&number.to_be_bytes())
}

fn item(number: usize) -> impl Strategy<Value = Item> {
    let earlier = vec(0..number.max(1), 0..3);
    let subject = option::weighted(0.25, 0..number + 1);
    let time = || option::weighted(0.9, select(&DAYS[..]));
    (
        any::<bool>(),
        earlier,
        subject,
        time(),
        time(),
        time(),
        prop::bool::weighted(0.04),
        vec(0..4_u8, 0..3),
    )
        .prop_map(
            move |(is_index, children, subject, pushed, seen, created, locked, blobs)| {
                // Numbers that are never items stand for what is gone.
                let earlier = |at: usize| match at < number {
                    true => digest(at),
                    false => digest(at + 1000),
                };
                let children =
                    if is_index { children.into_iter().map(earlier).collect() } else { Vec::new() };
                let found = ManifestSummary {
                    is_index,
                    children,
                    subject: subject.map(earlier),
                    blobs: blobs
                        .into_iter()
                        .map(|b| vec![b; usize::from(b) + 1])
                        .map(|content| (Digest::of(&content), content.len() as u64))
                        .collect(),
                    ..nothing()
                };
                let times = [
                    (ClockSource::Pushed, pushed),
                    (ClockSource::FirstSeen, seen),
                    // An index has no configuration that could say it.
                    (ClockSource::Created, created.filter(|_| !is_index)),
                ];
                let times =
                    times.into_iter().filter_map(|(s, days)| Some((s, days_ago(days?)))).collect();
                Item { found, times, locked }
            },
        )
}

pub fn world() -> impl Strategy<Value = World> {
    (1..12_usize)
        .prop_flat_map(|count| {
            let items: Vec<_> = (0..count).map(item).collect();
            let tags = vec((select(&NAMES[..]), 0..count, prop::bool::weighted(0.04)), 0..10);
            // Subject, ending, and the manifest that the tag points at.
            let of = vec((0..count + 2, 0..4_usize, 0..count), 0..4);
            (items, tags, of, prop::bool::weighted(0.7), prop::bool::weighted(0.8))
        })
        .prop_map(|(items, tags, of, untag, lists_untagged)| {
            let mut world = World::new();
            let untag = if untag { Untag::Yes } else { Untag::No };
            world.abilities = Abilities { untag, lists_untagged };
            world.items =
                items.into_iter().enumerate().map(|(n, item)| (digest(n), item)).collect();
            for (name, at, locked) in tags {
                world.tags.insert(name.parse().unwrap(), (digest(at), locked));
            }
            for (subject, ending, at) in of {
                let subject = digest(subject);
                let tag = match derived::COSIGN_SUFFIXES.get(ending) {
                    Some(suffix) => derived::cosign_tag(&subject, suffix),
                    None => derived::fallback_tag(&subject),
                };
                world.tags.insert(tag, (digest(at), false));
            }
            world
        })
}

fn patterns(texts: &[&str]) -> Option<TagPatterns> {
    Some(TagPatterns::new(texts.iter().map(|t| t.parse().unwrap()).collect()).unwrap())
}

fn selector() -> impl Strategy<Value = TagSelector> {
    let tags = select(vec![
        &["*"][..],
        &["*"],
        &["*"],
        &["v*"],
        &["latest", "main"],
        &["pr-*"],
        &["sha-*", "dev"],
        &["/v?\\d.*/"],
    ]);
    let per = select(vec![None, Some("major"), Some("minor"), Some("/([a-z]+).*/")]);
    (tags, option::weighted(0.3, select(vec![">=1", "<2", ">=1.1"])), per).prop_map(
        |(tags, semver, per)| TagSelector {
            tags: patterns(tags),
            semver: semver.map(|range| range.parse().unwrap()),
            per: per.map(|per| per.parse::<Per>().unwrap()),
        },
    )
}

fn count() -> impl Strategy<Value = Option<NonZeroU32>> {
    option::of((1..4_u32).prop_map(|n| NonZeroU32::new(n).unwrap()))
}

fn age() -> impl Strategy<Value = Option<Duration>> {
    option::of(select(vec![3_u64, 10, 30]).prop_map(|days| Duration::from_secs(days * DAY)))
}

pub fn keep_rule() -> impl Strategy<Value = KeepRule> {
    (selector(), count()).prop_map(|(selector, newest)| KeepRule {
        id: String::new(),
        selector,
        newest,
    })
}

pub fn delete_rule() -> impl Strategy<Value = DeleteRule> {
    let tags = (selector(), count()).prop_map(|(selector, beyond_newest)| Doomed::Tags {
        selector: Box::new(selector),
        beyond_newest,
    });
    let what = prop_oneof![5 => tags, 2 => Just(Doomed::Untagged), 1 => Just(Doomed::Orphans)];
    (what, age()).prop_map(|(what, older_than)| DeleteRule { id: String::new(), what, older_than })
}

/// A policy without a limit.
pub fn policy() -> impl Strategy<Value = Policy> {
    let clock = subsequence(ClockSource::ALL.to_vec(), 1..=3);
    (vec(keep_rule(), 0..2), vec(delete_rule(), 1..5), clock, select(vec![0, 0, 2 * DAY])).prop_map(
        |(mut keep, mut delete, clock, grace)| {
            for (at, rule) in keep.iter_mut().enumerate() {
                rule.id = format!("k{at}");
            }
            for (at, rule) in delete.iter_mut().enumerate() {
                rule.id = format!("d{at}");
            }
            let grace = Duration::from_secs(grace);
            Policy {
                keep,
                delete,
                clock,
                grace,
                max_delete: MaxDelete::default(),
                untag_by_overwriting: false,
            }
        },
    )
}

pub fn in_use() -> impl Strategy<Value = InUse> {
    let source = || vec!["k8s".to_owned()];
    let number = || option::weighted(0.2, 0..12_usize);
    let digests = move |number: Option<usize>| -> BTreeMap<_, _> {
        number.into_iter().map(|n| (digest(n), source())).collect()
    };
    (option::weighted(0.2, select(&NAMES[..])), number(), number()).prop_map(
        move |(tags, named, elsewhere)| InUse {
            tags: tags.into_iter().map(|tag| (tag.parse().unwrap(), source())).collect(),
            digests: digests(named),
            elsewhere: digests(elsewhere),
        },
    )
}
