//! Plans of cleanup rules and their results, as text.

use std::collections::BTreeMap;

use super::lines::{Lines, tell_line};
use super::output;
use crate::cleanup::{Explanation, Plan, RepositoryReport};
use crate::oci::Tag;
use crate::removal::{Clock, Step, StepAction, StepOutcome, StepReport};

/// So many reasons are told to people; the JSON has them all.
const MAX_REASONS: usize = 5;

/// Says why nothing of a repository is deleted.
pub fn print_refusals(rule: &str, report: &RepositoryReport) {
    let refused = &report.refused;
    if refused.is_empty() {
        return;
    }
    tell_line(format!("REFUSED {rule}: nothing of {} may be deleted", report.repository));
    print_first(refused.iter().map(ToString::to_string));
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
    let count = failed.len();
    let RepositoryReport { repository, steps, .. } = report;
    tell_line(format!("FAILED {rule}: {count} of {} steps in {repository}", steps.len()));
    print_first(failed.iter().map(|step| {
        let reason = step.reason.as_deref().unwrap_or("no reason is known");
        format!("{}: {reason}", what(step.action, &step.tags))
    }));
}

/// What was done, as text.
pub fn applied(rule: &str, report: &RepositoryReport) -> Lines {
    let counts = StepOutcome::ALL.map(|outcome| (outcome, report.count(outcome)));
    let counts: Vec<String> = counts
        .into_iter()
        .filter(|(outcome, count)| *count > 0 || *outcome == StepOutcome::Deleted)
        .map(|(outcome, count)| format!("{count} {}", outcome.to_string().replace('_', " ")))
        .collect();
    let mut lines = Lines::one(format!(
        "{rule}: {}: {}; {} no longer used",
        report.repository,
        counts.join(", "),
        output::bytes(report.bytes_freed)
    ));
    if !report.steps.is_empty() {
        let heads = ["  WHAT", "DIGEST", "WHY", "OUTCOME"];
        let row = |step: &StepReport| {
            let outcome = match &step.reason {
                Some(reason) => format!("{}: {reason}", step.outcome),
                None => step.outcome.to_string(),
            };
            let why = step.line.clone().unwrap_or_default();
            let what = what(step.action, &step.tags);
            [format!("  {what}"), output::short(&step.digest), why, outcome]
        };
        lines.add(&output::table(heads, report.steps.iter().map(row)));
    }
    report.notes.iter().for_each(|note| lines.line(format!("  note: {note}")));
    lines
}

/// What a step is about.
fn what(action: StepAction, tags: &[Tag]) -> String {
    let tags = output::tags(tags);
    match action {
        StepAction::Untag => format!("{tags} (only the tag)"),
        StepAction::Delete if tags.is_empty() => "(no tag)".to_owned(),
        StepAction::Delete => tags,
    }
}

/// A plan as text: what would be deleted and why, what is kept and why.
pub fn plan(rule: &str, plan: &Plan<'_>) -> Lines {
    let Some(totals) = plan.totals() else { return Lines::default() };
    let mut lines = Lines::one(format!(
        "{rule}: {}: {} of {} tags and {} of {} manifests would go, which frees {}",
        plan.snapshot.repository(),
        totals.tags_deleted,
        totals.tags,
        totals.manifests_deleted,
        totals.manifests,
        output::bytes(plan.bytes())
    ));
    if !plan.steps.is_empty() {
        let heads = ["  WOULD GO", "DIGEST", "WHY", "SINCE", "FREES"];
        lines.add(&output::table(heads, plan.to_steps().map(|step| row(&step))));
    }
    let mut stay: BTreeMap<String, usize> = BTreeMap::new();
    for line in plan.tag_lines().filter(|line| line.action == "keep") {
        let why = match (line.kept_by, line.condemned_by) {
            (Some(keep), _) => format!("kept by `{keep}`"),
            (None, Some(delete)) => {
                format!("selected by `{delete}`, but {}", line.blockers.join(", "))
            }
            (None, None) => "selected by no line".to_owned(),
        };
        *stay.entry(why).or_default() += 1;
    }
    for (why, count) in stay {
        lines.line(format!("  {count} tags stay: {why}"));
    }
    lines
}

fn row(step: &Step) -> [String; 5] {
    let what = what(step.action, &step.tags);
    let why = match (&step.line, step.owners.first()) {
        (Some(line), _) => line.clone(),
        (None, Some(owner)) => format!("with {}", output::short(owner)),
        (None, None) => String::new(),
    };
    let since = clock(&step.clock);
    [format!("  {what}"), output::short(&step.digest), why, since, output::bytes(step.bytes_freed)]
}

fn clock(clock: &Clock) -> String {
    match (clock.time, clock.impossible) {
        (Some(time), _) => time.to_string(),
        (None, Some(impossible)) => format!("unknown ({impossible} cannot be)"),
        (None, None) => "unknown".to_owned(),
    }
}

pub fn explanation(rule: &str, explanation: &Explanation<'_>) -> Lines {
    let name = match explanation.tag {
        Some(tag) => format!("{tag} ({})", explanation.digest),
        None => explanation.digest.to_string(),
    };
    let mut lines = Lines::one(format!("{rule}: {name}: {}", explanation.action));
    let source = explanation.clock.source.map(|source| format!(", by `{source}`"));
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
            line.push_str(&format!("; {newer} images of its group are newer"));
        }
        if let Some(time) = answer.not_before {
            line.push_str(&format!("; old enough from {time} on"));
        }
        lines.line(line);
    }
    for (title, items) in [("in the way", &explanation.blockers), ("in use", &explanation.in_use)] {
        if !items.is_empty() {
            lines.line(format!("  {title}: {}", items.join(", ")));
        }
    }
    if !explanation.tags.is_empty() {
        lines.line(format!("  tags: {}", output::tags(explanation.tags.iter().copied())));
    }
    for owner in &explanation.owners {
        lines.line(format!("  belongs to: {owner}"));
    }
    lines
}
