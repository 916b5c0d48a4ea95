//! `tranship history`: what the runs of the rules did, as the daemon or the state directory has it.

use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::args::Global;
use super::ask::{Daemon, Found};
use super::exit::{CliError, Exit, failed};
use super::lines::Lines;
use super::report::{cleaned, image_lines, outcome, print_failed_images, print_failures};
use super::skopeo::ReachOptions;
use super::{output, session};
use crate::daemon::view::RunDetail;
use crate::history::{Filter, RunId, RunOutcome, RunRecord, read_run, read_runs};
use crate::server::api::MAX_RUNS;
use crate::sync::{Action, Counts};
use crate::text::counted;

/// Show past runs of the rules
///
/// Lists the runs of the daemon, of `tranship sync` and of `tranship cleanup --apply`, newest
/// first. With the id of a run, shows that run with every image that was not up to date, or with
/// its deletions. Asks the daemon at the address in `listen`, or reads the state directory if no
/// daemon runs.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tranship history                              latest runs
  tranship history --rule base-images --failed --since 7d
  tranship history 20261121T093719Z-0a1b2c      one run and its images")]
pub struct Args {
    /// Show this run with its images
    #[arg(value_name = "RUN-ID", conflicts_with_all = ["rule", "failed", "since"])]
    run: Option<RunId>,
    /// Show only runs of this rule
    #[arg(long, value_name = "NAME")]
    rule: Option<String>,
    /// Show only runs that failed
    #[arg(long)]
    failed: bool,
    /// Show only runs that ended within this time, such as 2h or 7d, or are in progress
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    since: Option<Duration>,
    /// Show at most this many runs
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
}

/// The document that `--output json` prints of several runs. Of one run it is [`RunDetail`].
#[derive(Serialize)]
struct Report<'a> {
    runs: &'a [RunRecord],
}

pub async fn run(global: &Global, args: Args) -> Result<Exit, CliError> {
    let settings = session::config_to_ask(global)?.daemon;
    let daemon = match Daemon::find(&settings).await {
        Ok(Found::Daemon(daemon)) => Some(daemon),
        Ok(Found::Nobody(_)) => None,
        Err(error) => {
            tracing::debug!(%error, "the daemon is not asked");
            None
        }
    };
    let state = &settings.state;
    if let Some(id) = &args.run {
        let found = one(daemon.as_ref(), state, id).await?;
        let found = found.ok_or_else(|| unknown(id, state))?;
        output::print(global, &found, || print_run(&found))?;
        return Ok(Exit::Done);
    }
    let runs = list(daemon.as_ref(), state, filter(args, Timestamp::now())).await?;
    output::print(global, &Report { runs: &runs }, || output::print_lines(&table(&runs)))?;
    Ok(Exit::Done)
}

/// One run, from the daemon if it runs: it knows how far runs under way have come.
async fn one(
    daemon: Option<&Daemon>,
    state: &Path,
    id: &RunId,
) -> Result<Option<RunDetail>, CliError> {
    match daemon {
        Some(daemon) => daemon.run(id).await,
        None => {
            let reading = format!("read the history in {}", state.display());
            let found = read_run(state, id).map_err(failed(reading))?;
            Ok(found.map(|(run, images)| RunDetail { run, images }))
        }
    }
}

/// The runs that are asked for, from the daemon if it runs.
async fn list(
    daemon: Option<&Daemon>,
    state: &Path,
    filter: Filter,
) -> Result<Vec<RunRecord>, CliError> {
    let at_once = filter.limit.is_some_and(|limit| limit <= MAX_RUNS);
    if let Some(daemon) = daemon.filter(|_| at_once) {
        return daemon.runs(&filter).await;
    }
    let reading = format!("read the history in {}", state.display());
    let read = read_runs(state, &filter).map_err(failed(reading))?;
    if read.garbage > 0 {
        let lines = counted(read.garbage, "line", "lines");
        tracing::warn!("{lines} of the history could not be understood");
    }
    Ok(read.runs)
}

fn filter(args: Args, now: Timestamp) -> Filter {
    let ago = |since| now.checked_sub(SignedDuration::try_from(since).ok()?).ok();
    Filter {
        rule: args.rule,
        outcome: args.failed.then_some(RunOutcome::Failed),
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
fn table(runs: &[RunRecord]) -> Lines {
    if runs.is_empty() {
        return Lines::one("no runs");
    }
    let heads =
        ["RUN", "RULE", "CAUSE", "OUTCOME", "COPIED", "UNCHANGED", "FAILED", "SENT", "TOOK", ""];
    output::table(heads, runs.iter().map(row))
}

fn row(run: &RunRecord) -> [String; 10] {
    let Counts { copied, unchanged, failed, .. } = run.counts;
    // Of a run that has not ended, nothing is known yet.
    let known = |text: String| if run.finished.is_some() { text } else { "-".to_owned() };
    // Images are what other rules are about.
    let of_images = |text: String| if run.cleanup.is_none() { known(text) } else { "-".to_owned() };
    [
        run.id.to_string(),
        run.rule.clone(),
        run.cause.to_string(),
        outcome(run.outcome),
        of_images(copied.to_string()),
        of_images(unchanged.to_string()),
        known((failed + run.failures.len()).to_string()),
        of_images(output::bytes(run.bytes)),
        known(output::seconds(run.seconds)),
        run.cleanup.as_ref().map(cleaned).unwrap_or_default(),
    ]
}

fn print_run(RunDetail { run, images }: &RunDetail) -> Result<(), CliError> {
    let mut lines = table(std::slice::from_ref(run));
    for image in images.iter().filter(|image| image.action != Action::Failed) {
        lines.add(&image_lines(image));
    }
    for one in run.cleanup.iter().flat_map(|cleaned| &cleaned.refused) {
        lines.line(format!("nothing of {} may be deleted", one.repository));
        one.reasons.iter().for_each(|reason| lines.line(format!("  {reason}")));
    }
    run.notes.iter().for_each(|note| lines.line(format!("note: {note}")));
    output::print_lines(&lines)?;
    print_failed_images(images, ReachOptions::None);
    print_failures(&run.rule, &run.failures);
    Ok(())
}
