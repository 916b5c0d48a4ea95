//! Images, failures and runs as people read them, the same in every command.

use super::output;
use crate::history::Outcome;
use crate::run::Failure;
use crate::sync::{Action, ImageReport};

/// What became of one image, in a line and its notes.
pub fn image_line(image: &ImageReport) -> String {
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
    let mut line = format!("{verb} {} -> {} ({}{moved})", image.source, image.target, image.reason);
    for note in &image.notes {
        line.push_str(&format!("\n  note: {note}"));
    }
    line
}

/// Tells what went wrong with an image.
pub fn print_failed_image(image: &ImageReport) {
    eprintln!("{}", image_line(image));
    for error in &image.errors {
        print_failure(error);
    }
}

/// Tells one failure, and what to do about it.
pub fn print_failure(failure: &Failure) {
    eprintln!("  {failure}");
    if let Some(hint) = &failure.hint {
        eprintln!("  hint: {hint}");
    }
}

/// How a run ended, in a word.
pub fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Failed => "FAILED",
        other => other.as_str(),
    }
}
