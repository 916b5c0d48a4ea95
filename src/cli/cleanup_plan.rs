//! Plans of cleanup rules as text: what would be deleted by which line, and what is kept and why.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::tz::TimeZone;

use super::cleanup_text::{all_blocked, clock, in_order, what};
use super::lines::Lines;
use super::output;
use crate::cleanup::plan::document::{Document, StepLine};
use crate::config::policy::ClockSource;
use crate::oci::{Digest, Tag, derived, version};
use crate::text::counted;

/// Owners of owners that are looked at to find the line that deletes them.
const MAX_DEPTH: usize = 64;

/// A plan as text. `listed`: the tags that stay are listed, not only counted.
pub fn plan(rule: &str, plan: &Document<'_>, listed: bool) -> Lines {
    if plan.is_undecided() {
        return Lines::default();
    }
    let steps = if plan.refused.is_empty() { &plan.steps } else { &plan.over_limit };
    let steps: Vec<StepLine> = steps.iter().collect();
    let mut lines = Lines::one(heading(rule, plan, &steps));
    lines.add(&groups(steps));
    lines.add(&staying_tags(plan, listed));
    lines.add(&staying_manifests(plan));
    if let Some(note) = new_images(plan) {
        lines.line(format!("  note: {note}"));
    }
    lines
}

fn heading(rule: &str, plan: &Document<'_>, steps: &[StepLine]) -> String {
    let (frees, bytes) = match plan.refused.is_empty() {
        true => ("which frees", plan.bytes_freed),
        // What the limits refuse is not among the sums.
        false => ("over the limit; that would free", freed(steps)),
    };
    format!(
        "{rule}: {}: {} of {} and {} of {} would go, {frees} {}",
        plan.repository,
        plan.tags_deleted,
        counted(plan.tags, "tag", "tags"),
        plan.manifests_deleted,
        counted(plan.manifests, "manifest", "manifests"),
        output::bytes(bytes)
    )
}

fn freed(steps: &[StepLine]) -> u64 {
    steps.iter().map(|step| step.bytes_freed).fold(0, u64::saturating_add)
}

/// The steps by the line that asks for them, with what goes with them.
fn groups(steps: Vec<StepLine>) -> Lines {
    let mut groups: BTreeMap<String, Vec<StepLine>> = BTreeMap::new();
    let by_digest: HashMap<&Digest, &StepLine> =
        steps.iter().map(|step| (&step.digest, step)).collect();
    let names: Vec<String> = steps.iter().map(|step| line(step, &by_digest)).collect();
    for (name, step) in names.into_iter().zip(steps) {
        groups.entry(name).or_default().push(step);
    }
    let groups: Vec<(String, Vec<StepLine>)> = groups
        .into_iter()
        .map(|(name, steps)| {
            let mut steps = in_order(steps, StepLine::all_tags);
            // Images first, then what goes with them.
            steps.sort_by_key(|step| goes_with(step).is_some());
            (name, steps)
        })
        .collect();
    // One table, so that all groups have the same columns.
    let rows = groups.iter().flat_map(|(_, steps)| steps).map(row);
    let table = output::table(["    TAG", "DIGEST", "SINCE", "FREES"], rows);
    let mut rows = table.as_str().lines();
    let head = rows.next().unwrap_or_default();
    let mut lines = Lines::default();
    for ((name, steps), number) in groups.iter().zip(1..) {
        let own = |tag: &&Tag| derived::parse(tag).is_none();
        let tags = steps.iter().flat_map(StepLine::all_tags).filter(own).count();
        lines.line(format!(
            "  by `{name}`: {} in {}, {}",
            counted(tags, "tag", "tags"),
            counted(steps.len(), "step", "steps"),
            output::bytes(freed(steps))
        ));
        if number == 1 {
            lines.line(head);
        }
        rows.by_ref().take(steps.len()).for_each(|row| lines.line(row));
    }
    lines
}

/// The line that asks for a step, or for that of its owner.
fn line(step: &StepLine, by_digest: &HashMap<&Digest, &StepLine>) -> String {
    let mut step = step;
    for _ in 0..MAX_DEPTH {
        match (&step.rule, &step.with) {
            (Some(line), _) => return line.clone(),
            (None, Some(owner)) => match by_digest.get(owner) {
                Some(owner) => step = owner,
                None => break,
            },
            (None, None) => break,
        }
    }
    String::new()
}

/// The owner with which something goes that no line selects.
fn goes_with(step: &StepLine) -> Option<&Digest> {
    step.with.as_ref().filter(|_| step.rule.is_none())
}

fn row(step: &StepLine) -> [String; 4] {
    let owner = goes_with(step);
    let tags = match (owner, step.all_tags()) {
        (Some(owner), []) => format!("with {}", output::short(owner)),
        (Some(owner), tags) => {
            format!("{}, with {}", what(step.action, tags), output::short(owner))
        }
        (None, tags) => what(step.action, tags),
    };
    let (digest, since) = (output::short(&step.digest), clock(&step.clock));
    [format!("    {tags}"), digest, since, output::bytes(step.bytes_freed)]
}

/// The tags that stay, by the reason for it.
fn staying_tags(plan: &Document<'_>, listed: bool) -> Lines {
    let mut stay: BTreeMap<String, (usize, Vec<Tag>)> = BTreeMap::new();
    for line in plan.tag_verdicts.iter().filter(|line| line.action == "keep") {
        let why = match (line.kept_by, line.condemned_by) {
            (Some(keep), _) => format!("kept by `{keep}`"),
            (None, Some(delete)) => {
                format!("selected by `{delete}`, but {}", all_blocked(&line.blockers))
            }
            (None, None) => "no line of `delete` applies".to_owned(),
        };
        let (count, tags) = stay.entry(why).or_default();
        *count += 1;
        tags.extend(listed.then(|| line.tag.into_owned()));
    }
    let mut lines = Lines::default();
    for (why, (count, mut tags)) in stay {
        lines.line(format!("  {}: {why}", counted(count, "tag stays", "tags stay")));
        tags.sort_by(version::order);
        tags.iter().for_each(|tag| lines.line(format!("    {tag}")));
    }
    lines
}

/// The manifests without a tag that a line selects and that stay, by the reason for it.
fn staying_manifests(plan: &Document<'_>) -> Lines {
    let tagged = tagged(plan);
    let mut stay: BTreeMap<String, usize> = BTreeMap::new();
    for line in plan.manifest_verdicts.iter() {
        if let Some(delete) = line.condemned_by
            && line.action == "keep"
            && !tagged.contains(&*line.digest)
        {
            let why = format!("selected by `{delete}`, but {}", all_blocked(&line.blockers));
            *stay.entry(why).or_default() += 1;
        }
    }
    let mut lines = Lines::default();
    for (why, count) in stay {
        let count = counted(count, "manifest without a tag stays", "manifests without a tag stay");
        lines.line(format!("  {count}: {why}"));
    }
    lines
}

/// Images that were first seen today and tell no other age: so all of them are of one age.
fn new_images(plan: &Document<'_>) -> Option<String> {
    let tagged = tagged(plan);
    let day = |time: jiff::Timestamp| time.to_zoned(TimeZone::UTC).date();
    let is_new = plan.manifest_verdicts.iter().filter(|line| {
        let first_seen = line.clock.source.as_deref() == Some(ClockSource::FirstSeen.as_str());
        let today = line.clock.time.is_some_and(|time| day(time) == day(plan.now));
        first_seen && today && tagged.contains(&*line.digest)
    });
    let which = match (is_new.count(), tagged.len()) {
        (0, _) => return None,
        (1, 1) => return Some(format!("the image is new to tranship, so its age {FROM_TODAY}")),
        (new, all) if new == all => format!("all {all} images are"),
        (1, all) => format!("1 of {all} images is"),
        (new, all) => format!("{new} of {all} images are"),
    };
    let whose = if which.starts_with("1 of") { "its" } else { "their" };
    Some(format!("{which} new to tranship, so {whose} age {FROM_TODAY}"))
}

const FROM_TODAY: &str = "counts from today";

/// The digests that have a tag.
fn tagged(plan: &Document<'_>) -> HashSet<Digest> {
    plan.tag_verdicts.iter().map(|line| line.digest.into_owned()).collect()
}
