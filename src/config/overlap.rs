//! Rules that would write over each other: different repositories whose images meet under the same
//! tag of the same target repository.
//!
//! What the configuration alone proves is refused. What could happen, depending on the tags and on
//! the repositories that patterns find, is a warning.

use std::collections::HashMap;

use super::checker::Checker;
use super::document::Node;
use super::source::{SourceRepositories, Target};
use super::sync::SyncRule;
use crate::oci::pattern::RepositoryPattern;
use crate::oci::{Address, RepositoryName, Store};

/// A rule and one of its targets.
#[derive(Clone, Copy)]
struct Writer<'a> {
    rule: &'a SyncRule,
    target: &'a Target,
}

/// Reports each target at which a rule meets an earlier one. `nodes` are those of the rules.
pub fn check(rules: &[SyncRule], nodes: &[Node<'_>], checker: &mut Checker<'_>) {
    let mut earlier = Earlier::default();
    let parts = rules.iter().zip(nodes);
    let parts = parts.flat_map(|(rule, node)| rule.parts().map(move |part| (part, node)));
    for (rule, node) in parts {
        if !node.get("source").is_usable() || !node.get("tags").is_sound() {
            continue;
        }
        for (target, node) in rule.targets.iter().zip(node.get("target").items()) {
            let writer = Writer { rule, target };
            let Some(reach) = Reach::of(writer) else { continue };
            if let Some(meeting) = earlier.meeting(writer, &reach) {
                let message = meeting.message(rule);
                match meeting.is_sure {
                    true => checker.report_with_hint(node.span(), message, HINT),
                    false => checker.warn(node.span(), message, HINT),
                }
            }
            earlier.add(writer, reach);
        }
    }
}

/// An earlier rule that writes where another one does.
struct Meeting<'a> {
    earlier: &'a SyncRule,
    /// The configuration alone proves it.
    is_sure: bool,
}

impl Meeting<'_> {
    fn message(&self, rule: &SyncRule) -> String {
        let Self { earlier, is_sure } = self;
        let tags = "to the same tags of this target";
        if earlier.name == rule.name {
            let are = if *is_sure { "are" } else { "may be" };
            return format!(
                "the sources `{}` and `{}` {are} copied {tags}",
                earlier.source, rule.source
            );
        }
        let copies = if *is_sure { "copies" } else { "may copy" };
        format!("rule `{}` {copies} other images {tags}", earlier.name)
    }
}

/// The targets of the rules before, with what they write.
#[derive(Default)]
struct Earlier<'a> {
    /// Those that write a single repository, by its address.
    single: HashMap<Address, Vec<Writer<'a>>>,
    by_store: HashMap<&'a Store, Vec<(Writer<'a>, Reach)>>,
}

impl<'a> Earlier<'a> {
    fn add(&mut self, writer: Writer<'a>, reach: Reach) {
        if let Reach::One(address) = &reach {
            self.single.entry(address.clone()).or_default().push(writer);
        }
        self.by_store.entry(&writer.target.store).or_default().push((writer, reach));
    }

    fn meeting(&self, writer: Writer<'a>, reach: &Reach) -> Option<Meeting<'a>> {
        let same = match reach {
            Reach::One(address) => self.single.get(address).map_or(&[][..], Vec::as_slice),
            Reach::Below(_) => &[],
        };
        let sure = same.iter().find(|other| surely_collide(writer.rule, other.rule));
        if let Some(other) = sure {
            return Some(Meeting { earlier: other.rule, is_sure: true });
        }
        let there = self.by_store.get(&writer.target.store).map_or(&[][..], Vec::as_slice);
        // Two single repositories meet only at the same address, where they are looked for.
        let there = there
            .iter()
            .filter(|(_, other)| !matches!((reach, other), (Reach::One(_), Reach::One(_))));
        let there = there.map(|(other, other_reach)| (other, other_reach));
        let mut others = same.iter().map(|other| (other, reach)).chain(there);
        let (other, _) = others.find(|(other, other_reach)| {
            may_meet(writer, reach, **other, other_reach)
                && writer.rule.tags.may_overlap(&other.rule.tags)
        })?;
        Some(Meeting { earlier: other.rule, is_sure: false })
    }
}

const HINT: &str = "give each repository a target of its own, or tags that do not overlap";

fn surely_collide(one: &SyncRule, other: &SyncRule) -> bool {
    let repository =
        |rule: &SyncRule| (rule.source.store.clone(), rule.source.repository().cloned());
    // In one rule, the same repository is there twice only with different images.
    !std::ptr::eq(one, other)
        && (one.name == other.name || repository(one) != repository(other))
        && one.tags.surely_overlaps(&other.tags)
}

/// The repositories of a target's store to which a rule may write.
enum Reach {
    One(Address),
    /// Their paths begin like this.
    Below(String),
}

impl Reach {
    fn of(Writer { rule, target }: Writer<'_>) -> Option<Self> {
        let source = &rule.source;
        Some(match source.repository() {
            Some(repository) => Self::One(target.address(source, repository).ok()?),
            None => {
                let (registry, prefix) = (source.store.registry(), source.literal_prefix());
                Self::Below(target.template.literal_start(registry, prefix))
            }
        })
    }
}

/// Whether two rules may write different repositories to the same one.
fn may_meet(one: Writer<'_>, reach: &Reach, other: Writer<'_>, other_reach: &Reach) -> bool {
    match (reach, other_reach) {
        (Reach::One(a), Reach::One(b)) => {
            let (one, other) = (&one.rule.source, &other.rule.source);
            a == b && (one.store != other.store || one.repository() != other.repository())
        }
        (Reach::One(address), Reach::Below(start)) => pattern_meets(one, address, other, start),
        (Reach::Below(start), Reach::One(address)) => pattern_meets(other, address, one, start),
        (Reach::Below(a), Reach::Below(b)) => {
            let same_store = one.rule.source.store == other.rule.source.store;
            let same_template = one.target.template == other.target.template;
            let same_prefix =
                one.rule.source.literal_prefix() == other.rule.source.literal_prefix();
            let is_same = same_store
                && same_template
                && (same_prefix || one.target.template.keeps_whole_path());
            !is_same && (a.starts_with(b.as_str()) || b.starts_with(a.as_str()))
        }
    }
}

/// Whether a rule with a pattern may write another repository to where `single` writes.
fn pattern_meets(single: Writer<'_>, address: &Address, pattern: Writer<'_>, start: &str) -> bool {
    let Some(path) = path_in(&pattern.target.store, address) else { return false };
    if !path.as_str().starts_with(start) {
        return false;
    }
    let source = &pattern.rule.source;
    let same_store = single.rule.source.store == source.store;
    let repository = single.rule.source.repository();
    if let Some(made_of) = pattern.target.template.source_of(&path, source.literal_prefix()) {
        return matches(&pattern.rule.source.repositories, &made_of)
            && !(same_store && repository == Some(&made_of));
    }
    // If the pattern puts this very repository there, it is most probably the only one.
    let is_same = repository.is_some_and(|repository| {
        source.matches(repository)
            && pattern.target.address(source, repository).is_ok_and(|it| it == *address)
    });
    !(same_store && is_same)
}

fn matches(repositories: &SourceRepositories, repository: &RepositoryName) -> bool {
    let matches = |pattern: &RepositoryPattern| pattern.matches(repository);
    matches!(repositories, SourceRepositories::Matching(pattern) if matches(pattern))
}

/// The path of an address below a store.
fn path_in(store: &Store, address: &Address) -> Option<RepositoryName> {
    let (_, repository) = address.clone().split();
    (store.address(&repository) == *address).then_some(repository)
}
