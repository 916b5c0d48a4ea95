//! `tranship history`: what the runs of the rules did, read from the state directory.

use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::args::{Global, Output};
use super::exit::{CliError, Exit};
use super::report::{image_line, print_failed_image, print_failure};
use super::{output, session};
use crate::history::{Filter, Outcome, RunId, RunRecord, read_run, read_runs};
use crate::sync::{Action, Counts, ImageReport};

/// Show what the runs of the rules did
///
/// Lists runs of the daemon and of `tranship sync`, the newest first; with the id of a run, that
/// run and every image that was not simply unchanged. Reads the state directory, also while
/// another process works with it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tranship history                              the newest runs
  tranship history --rule base-images --failed --since 7d
  tranship history 20261121T093719Z-0a1b2c      one run and its images")]
pub struct Args {
    /// Only this run, with its images
    #[arg(value_name = "RUN-ID", conflicts_with_all = ["rule", "failed", "since"])]
    run: Option<RunId>,
    /// Only runs of this rule
    #[arg(long, value_name = "NAME")]
    rule: Option<String>,
    /// Only runs that failed
    #[arg(long)]
    failed: bool,
    /// Only runs that ended so long ago at most, such as 2h or 7d, or have not ended
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    since: Option<Duration>,
    /// At most so many runs
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
}

/// The document that `--output json` prints: one of the two.
#[derive(Default, Serialize)]
struct Report<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    runs: Option<&'a [RunRecord]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<&'a RunRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    images: Option<&'a [ImageReport]>,
}

pub async fn run(global: &Global, args: Args) -> Result<Exit, CliError> {
    let state = session::required_config(global)?.daemon.state;
    let unreadable = |error: std::io::Error| {
        CliError::Failed(format!("failed to read the history in {}: {error}", state.display()))
    };
    if let Some(id) = &args.run {
        let found = read_run(&state, id).map_err(unreadable)?;
        let (run, images) = found.ok_or_else(|| unknown(id, &state))?;
        match global.output {
            Output::Json => output::print_json(&Report {
                run: Some(&run),
                images: Some(&images),
                ..Report::default()
            })?,
            Output::Text => print_run(&run, &images)?,
        }
        return Ok(Exit::Done);
    }
    let read = read_runs(&state, &filter(args, Timestamp::now())).map_err(unreadable)?;
    if read.garbage > 0 {
        tracing::warn!("{} lines of the history could not be understood", read.garbage);
    }
    match global.output {
        Output::Json => {
            output::print_json(&Report { runs: Some(&read.value), ..Report::default() })?;
        }
        Output::Text => output::print_text(&table(&read.value))?,
    }
    Ok(Exit::Done)
}

fn filter(args: Args, now: Timestamp) -> Filter {
    let ago = |since| now.checked_sub(SignedDuration::try_from(since).ok()?).ok();
    Filter {
        rule: args.rule,
        outcome: args.failed.then_some(Outcome::Failed),
        since: args.since.and_then(ago),
        limit: Some(args.limit),
    }
}

fn unknown(id: &RunId, state: &Path) -> CliError {
    CliError::Hinted {
        exit: Exit::Failed,
        message: format!("there is no run {id} in the history in {}", state.display()),
        hint: "the oldest runs are dropped when there is no more room: see `history` under [daemon]",
    }
}

/// One line a run, in columns.
fn table(runs: &[RunRecord]) -> String {
    if runs.is_empty() {
        return "no runs\n".to_owned();
    }
    let heads =
        ["RUN", "RULE", "CAUSE", "OUTCOME", "COPIED", "UNCHANGED", "FAILED", "SENT", "TOOK"];
    let mut rows = vec![heads.map(str::to_owned)];
    rows.extend(runs.iter().map(row));
    let widths: [usize; 9] = std::array::from_fn(|column| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
    });
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn row(run: &RunRecord) -> [String; 9] {
    let Counts { copied, unchanged, failed, .. } = run.counts;
    // Of a run that has not ended, nothing is known yet.
    let known = |text: String| if run.finished.is_some() { text } else { "-".to_owned() };
    [
        run.id.to_string(),
        run.rule.clone(),
        run.cause.as_str().to_owned(),
        outcome(run.outcome).to_owned(),
        known(copied.to_string()),
        known(unchanged.to_string()),
        known((failed + run.failures.len()).to_string()),
        known(output::bytes(run.bytes)),
        known(output::seconds(run.seconds)),
    ]
}

fn print_run(run: &RunRecord, images: &[ImageReport]) -> Result<(), CliError> {
    let mut text = table(std::slice::from_ref(run));
    for image in images.iter().filter(|image| image.action != Action::Failed) {
        text.push_str(&image_line(image));
        text.push('\n');
    }
    for note in &run.notes {
        text.push_str(&format!("note: {note}\n"));
    }
    output::print_text(&text)?;
    for image in images.iter().filter(|image| image.action == Action::Failed) {
        print_failed_image(image);
    }
    for failure in &run.failures {
        eprintln!("FAILED rule {}", run.rule);
        print_failure(failure);
    }
    Ok(())
}

fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Running => "running",
        Outcome::Succeeded => "succeeded",
        Outcome::Failed => "FAILED",
        Outcome::Interrupted => "interrupted",
    }
}
