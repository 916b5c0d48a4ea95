//! Images, deletions, failures and runs as text, the same in every command.

use super::exit::CliError;
use super::lines::{Lines, tell_line, tell_lines};
use super::output;
use crate::config::cleanup::Mode;
use crate::history::{CleanupSummary, RunOutcome, StepCounts};
use crate::repository::Failure;
use crate::sync::{Action, ImageReport};
use crate::text::counted;
use crate::transfer::TransferTotals;

/// The result for one image: one line, and its notes.
pub fn image_lines(image: &ImageReport) -> Lines {
    let verb = match image.action {
        Action::Copied => "copied",
        Action::WouldCopy => "would copy",
        Action::Unchanged => "unchanged",
        Action::Kept => "kept",
        Action::Failed => "FAILED",
    };
    let moved = match image.action {
        Action::Copied => format!(", {} sent", output::bytes(image.bytes)),
        _ => String::new(),
    };
    let ImageReport { source, target, reason, .. } = image;
    let mut lines = Lines::one(format!("{verb} {source} -> {target} ({reason}{moved})"));
    image.notes.iter().for_each(|note| lines.line(format!("  note: {note}")));
    lines
}

/// Tells what went wrong with an image.
pub fn print_failed_image(image: &ImageReport) {
    tell_lines(&image_lines(image));
    for error in &image.errors {
        print_failure(error);
    }
}

/// Tells what went wrong with a rule as a whole.
pub fn print_failures(rule: &str, failures: &[Failure]) {
    for failure in failures {
        tell_line(format!("FAILED rule {rule}"));
        print_failure(failure);
    }
}

/// Tells what a command has sent that a signal stopped, and what is the good of it.
pub fn print_interrupted(moved: &TransferTotals, next: &str) {
    tell_line(format!(
        "interrupted: {} sent; complete images and blobs stay at the target, and {next}",
        output::bytes(moved.sent_bytes)
    ));
}

/// Prints what people should know about a run of a rule.
pub fn print_notes(rule: &str, notes: &[String]) -> Result<(), CliError> {
    notes.iter().try_for_each(|note| output::print_line(format!("{rule}: note: {note}")))
}

/// Tells one failure, and what to do about it.
pub fn print_failure(failure: &Failure) {
    tell_line(format!("  {failure}"));
    if let Some(hint) = &failure.hint {
        tell_line(format!("  hint: {hint}"));
    }
}

/// What a run of a cleanup rule came to, in a few words.
pub fn cleaned(cleaned: &CleanupSummary) -> String {
    let CleanupSummary { mode, planned, steps, bytes_freed, limited, incomplete, .. } = cleaned;
    let StepCounts { deleted, gone, skipped, refused, failed, not_done } = steps;
    let mut words = match mode {
        Mode::Plan => format!(
            "would delete {} of {} and {} of {}, which frees {}",
            planned.tags_deleted,
            counted(planned.tags, "tag", "tags"),
            planned.manifests_deleted,
            counted(planned.manifests, "manifest", "manifests"),
            output::bytes(planned.bytes_freed)
        ),
        Mode::Apply => format!("deleted {deleted}, which freed {}", output::bytes(*bytes_freed)),
    };
    words += &output::counts([
        (*gone, "gone before"),
        (skipped + refused, "left alone"),
        (*failed, "FAILED"),
        (*not_done, "not done"),
    ]);
    for (count, what) in [(*limited, "beyond the limits"), (*incomplete, "not known in full")] {
        if count > 0 {
            words.push_str(&format!("; repositories {what}: {count}"));
        }
    }
    words
}

/// How a run ended, in a word.
pub fn outcome(outcome: RunOutcome) -> String {
    match outcome {
        RunOutcome::Failed => "FAILED".to_owned(),
        RunOutcome::Limited => "LIMITED".to_owned(),
        other => other.to_string(),
    }
}
