//! Results of cleanup rules, and explanations, as text. `cleanup_plan`: their plans.

use std::borrow::Cow;
use std::collections::HashMap;

use super::lines::{Lines, tell_line};
use super::output;
use super::report::cleaned;
use crate::cleanup::{CleanupReport, Explanation, RepositoryReport, Restorable};
use crate::config::cleanup::Mode;
use crate::history::CleanupSummary;
use crate::oci::{Digest, Tag, derived, version};
use crate::removal::{Clock, StepAction, StepOutcome, StepReport};
use crate::text::counted;

/// Hexadecimal digits of the digest in a derived tag, and how many of them are shown.
const HEX: usize = 64;
const DIGITS: usize = 12;
/// So many reasons are told to people; the JSON has them all.
const MAX_REASONS: usize = 5;

/// Says why nothing of a repository is deleted.
pub fn print_refusals(rule: &str, report: &RepositoryReport) {
    let refused = &report.refused;
    if refused.is_empty() {
        return;
    }
    let head = format!("REFUSED {rule}: nothing of {} may be deleted", report.repository);
    match &refused[..] {
        reasons if report.limited => tell_line(format!("{head}: {}", reasons.join("; "))),
        [reason] => tell_line(format!("{head}: {reason}")),
        reasons => {
            tell_line(head);
            print_first(reasons.iter().map(ToString::to_string));
        }
    }
}

/// How to go on after plans that the limits of a rule refuse.
pub fn print_limit_hint(rule: &str, mode: Mode) {
    let seen = match mode {
        Mode::Plan => "the plan lists what would go".to_owned(),
        Mode::Apply => format!("`tranship cleanup --rule {rule}` lists what would go"),
    };
    tell_line(format!("  hint: {seen}; if that is right, raise `max_delete` of the rule"));
}

/// What a rule came to in all of its repositories, if there are several.
pub fn total(report: &CleanupReport) -> Option<String> {
    let repositories = report.repositories.len();
    let summary = CleanupSummary::of(report);
    (repositories > 1)
        .then(|| format!("{}: {repositories} repositories: {}", report.rule, cleaned(&summary)))
}

/// How to restore what was deleted.
pub fn restorable(report: &CleanupReport) -> Option<String> {
    let Restorable { run, until } = report.restorable.as_ref()?;
    Some(format!(
        "{}: `tranship restore --run {run}` restores what was deleted, until {}",
        report.rule,
        until.strftime("%Y-%m-%d %H:%M UTC")
    ))
}

/// Prints the first of these reasons, and how many more there are.
fn print_first(mut reasons: impl ExactSizeIterator<Item = String>) {
    reasons.by_ref().take(MAX_REASONS).for_each(|reason| tell_line(format!("  {reason}")));
    if reasons.len() > 0 {
        tell_line(format!("  and {} more", reasons.len()));
    }
}

/// Says what was to be deleted and could not be.
pub fn print_failures(rule: &str, report: &RepositoryReport) {
    let has_failed =
        |step: &&StepReport| matches!(step.outcome, StepOutcome::Failed | StepOutcome::NotDone);
    let failed: Vec<&StepReport> = report.steps.iter().filter(has_failed).collect();
    if failed.is_empty() {
        return;
    }
    let (count, all) = (failed.len(), counted(report.steps.len(), "step", "steps"));
    tell_line(format!("FAILED {rule}: {count} of {all} in {}", report.repository));
    let reasons = by_reason(failed, "no reason is known").into_iter();
    print_first(reasons.map(|(reason, steps)| match &steps[..] {
        [step] => format!("{}: {reason}", what(step.action, &step.tags)),
        [first, others @ ..] => {
            let others = counted(others.len(), "other", "others");
            format!("{} and {others}: {reason}", what(first.action, &first.tags))
        }
        [] => reason.to_owned(),
    }));
}

/// These steps by reason, in the order in which the reasons come first: one reason often holds for
/// all.
fn by_reason<'a>(steps: Vec<&'a StepReport>, none: &'a str) -> Vec<(&'a str, Vec<&'a StepReport>)> {
    let mut reasons: Vec<(&str, Vec<&StepReport>)> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for step in steps {
        let reason = step.reason.as_deref().unwrap_or(none);
        let at = *places.entry(reason).or_insert(reasons.len());
        match reasons.get_mut(at) {
            Some((_, steps)) => steps.push(step),
            None => reasons.push((reason, vec![step])),
        }
    }
    reasons
}

/// What was done, as text.
pub fn applied(rule: &str, report: &RepositoryReport) -> Lines {
    let counts = StepOutcome::ALL.map(|outcome| (outcome, report.count(outcome)));
    let counts: Vec<String> = counts
        .into_iter()
        .filter(|(outcome, count)| *count > 0 || *outcome == StepOutcome::Deleted)
        .map(|(outcome, count)| format!("{count} {}", word(outcome)))
        .collect();
    let mut lines = Lines::one(format!(
        "{rule}: {}: {}; {} no longer used",
        report.repository,
        counts.join(", "),
        output::bytes(report.bytes_freed)
    ));
    if !report.steps.is_empty() {
        // What failed is told with its reasons by `print_failures`.
        let left_alone = |step: &&StepReport| {
            matches!(step.outcome, StepOutcome::Skipped | StepOutcome::Refused)
                && step.reason.is_some()
        };
        let reasons = by_reason(report.steps.iter().filter(left_alone).collect(), "");
        let number = |step: &StepReport| {
            let has_it = |(reason, _): &(&str, _)| step.reason.as_deref() == Some(*reason);
            let at = reasons.iter().position(has_it).filter(|_| left_alone(&step));
            at.map(|at| format!(" [{}]", at + 1)).unwrap_or_default()
        };
        let heads = ["  WHAT", "DIGEST", "WHY", "OUTCOME"];
        let row = |step: &StepReport| {
            let outcome = format!("{}{}", word(step.outcome), number(step));
            let why = why(step.line.as_ref(), step.with.as_ref());
            let what = what(step.action, &step.tags);
            [format!("  {what}"), output::short(&step.digest), why, outcome]
        };
        let steps = in_order(report.steps.iter().collect(), |step| &step.tags);
        lines.add(&output::table(heads, steps.into_iter().map(row)));
        for ((reason, _), number) in reasons.iter().zip(1..) {
            lines.line(format!("  [{number}] {reason}"));
        }
    }
    report.notes.iter().for_each(|note| lines.line(format!("  note: {note}")));
    lines
}

fn word(outcome: StepOutcome) -> String {
    outcome.to_string().replace('_', " ")
}

/// The steps by their first tags; those without a tag come last.
pub fn in_order<T>(steps: Vec<T>, tags: impl Fn(&T) -> &[Tag]) -> Vec<T> {
    let first = |step: &T| tags(step).iter().min_by(|a, b| version::order(a, b)).cloned();
    let mut keyed: Vec<_> = steps.into_iter().map(|step| (first(&step), step)).collect();
    keyed.sort_by(|(a, _), (b, _)| match (a, b) {
        (Some(a), Some(b)) => version::order(a, b),
        (a, b) => a.is_none().cmp(&b.is_none()),
    });
    keyed.into_iter().map(|(_, step)| step).collect()
}

/// The line of the rule, or what it goes with.
fn why(line: Option<&String>, with: Option<&Digest>) -> String {
    match (line, with) {
        (Some(line), _) => line.clone(),
        (None, Some(owner)) => format!("with {}", output::short(owner)),
        (None, None) => String::new(),
    }
}

/// What a step is about.
pub fn what(action: StepAction, tags: &[Tag]) -> String {
    let mut tags: Vec<&Tag> = tags.iter().collect();
    tags.sort_by(|a, b| version::order(a, b));
    let tags = tags.into_iter().map(short_tag).collect::<Vec<_>>().join(", ");
    match action {
        StepAction::Untag => format!("{tags} (only the tag)"),
        StepAction::Delete if tags.is_empty() => "(no tag)".to_owned(),
        StepAction::Delete => tags,
    }
}

/// A tag as it is, but for the most of the digest from which a derived tag is made.
fn short_tag(tag: &Tag) -> Cow<'_, str> {
    let parts = derived::parse(tag).and_then(|_| tag.as_str().split_once('-'));
    match parts.map(|(algorithm, rest)| (algorithm, rest.split_at_checked(HEX))) {
        Some((algorithm, Some((hex, suffix)))) => {
            format!("{algorithm}-{}…{suffix}", &hex[..DIGITS]).into()
        }
        _ => tag.as_str().into(),
    }
}

/// What keeps something from being deleted, which plans name by a word.
pub fn blocked(blocker: &str) -> &str {
    match blocker {
        "locked" => "the registry protects it",
        "in-use" => "it is in use",
        "young" => "it is younger than `grace`",
        "unknown-age" => "its age is unknown, and the rule has a `grace`",
        "unknown-owner" => "its image cannot be told from its shortened digest",
        "shared-digest" => {
            "another tag of its manifest is kept, and the registry cannot delete a single tag"
        }
        "owner-stays" => "it belongs to something that is kept",
        "tag-stays" => "one of its tags is kept",
        other => other,
    }
}

/// The same for several.
pub fn all_blocked(blockers: &[Cow<'_, str>]) -> String {
    blockers.iter().map(|blocker| blocked(blocker)).collect::<Vec<_>>().join("; ")
}

/// How old something is.
pub fn clock(clock: &Clock) -> String {
    match (clock.time, clock.impossible) {
        (Some(time), _) => time.to_string(),
        (None, Some(impossible)) => format!("unknown ({impossible} cannot be)"),
        (None, None) => "unknown".to_owned(),
    }
}

pub fn explanation(rule: &str, explanation: &Explanation<'_>) -> Lines {
    let name = match &explanation.tag {
        Some(tag) => format!("{tag} ({})", explanation.digest),
        None => explanation.digest.to_string(),
    };
    let mut lines = Lines::one(format!("{rule}: {name}: {}", explanation.action));
    let source = explanation.clock.source.as_ref().map(|source| format!(", by `{source}`"));
    let since = clock(&explanation.clock);
    lines.line(format!("  since: {since}{}", source.unwrap_or_default()));
    for answer in &explanation.rules {
        let verb = if answer.keeps { "keep" } else { "delete" };
        let mut line = format!("  {verb} `{}`: ", answer.rule);
        line.push_str(match (answer.holds, answer.selects) {
            (true, _) => "yes",
            (false, true) => "selected, but not all of its conditions hold",
            (false, false) => "not selected",
        });
        if let Some(newer) = answer.newer {
            line.push_str(&format!(
                "; {} newer",
                counted(newer, "image of its group is", "images of its group are")
            ));
        }
        if let Some(time) = answer.not_before {
            line.push_str(&format!("; old enough from {time} on"));
        }
        lines.line(line);
    }
    for blocker in &explanation.blockers {
        lines.line(format!("  not deleted: {} ({blocker})", blocked(blocker)));
    }
    if !explanation.in_use.is_empty() {
        lines.line(format!("  in use: {}", explanation.in_use.join(", ")));
    }
    if !explanation.tags.is_empty() {
        lines.line(format!("  tags: {}", output::tags(explanation.tags.iter().map(|tag| &**tag))));
    }
    for owner in &explanation.owners {
        lines.line(format!("  belongs to: {owner}"));
    }
    lines
}
