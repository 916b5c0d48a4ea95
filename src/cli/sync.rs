//! `tranship sync`: one pass of the `[[sync]]` rules.

use std::sync::Arc;

use futures_util::StreamExt;
use serde::Serialize;

use super::args::{Global, Output};
use super::exit::{CliError, Exit};
use super::progress::Progress;
use super::report::{image_line, print_failed_image, print_failure};
use super::{output, session, signals};
use crate::config::SyncRule;
use crate::fair::Flow;
use crate::run::{Run, SyncOptions};
use crate::state::State;
use crate::stop::StopSignal;
use crate::sync::{
    Action, Counts, ImageReport, Keep, Mode, Removed, RuleReport, RunProgress, Scope, WhatBecame,
};
use crate::transfer::TransferTotals;

/// Copy what the [[sync]] rules select, once
///
/// Copies every selected image that the target does not have yet. Nothing is copied that a
/// [[cleanup]] rule deleted at the target, until the tag changes at the source. Rules with
/// `remove_extra` also delete tags at the target that the source no longer has.
///
/// Exit codes: 0 everything is up to date; 1 something failed; 3 nothing failed, but `max_delete`
/// prevented deletions.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tranship sync                                   run all rules of tranship.toml
  tranship sync --config mirror.toml --rule base-images
  tranship sync --dry-run                         show what would be copied, and why")]
pub struct Args {
    /// Run only this rule (repeatable)
    #[arg(long = "rule", value_name = "NAME")]
    rules: Vec<String>,
    /// Show what would be copied and deleted, without changing anything
    #[arg(long)]
    dry_run: bool,
}

/// Rules under way at once: what bounds the work is each registry's window.
const RULES: usize = 16;

/// The document that `--output json` prints.
#[derive(Serialize)]
struct Report<'a> {
    success: bool,
    moved: TransferTotals,
    rules: &'a [RuleReport],
}

pub async fn run(global: &Global, args: Args) -> Result<Exit, CliError> {
    let config = session::required_config(global)?;
    let deletes = choose(&config.sync, &args.rules)?.iter().any(|rule| rule.remove_extra.is_some());
    let carrier = session::carrier(State::open(&config.daemon.state)?);
    let engine = session::engine(config, Arc::clone(&carrier), deletes)?;
    let rules = choose(&engine.config.sync, &args.rules)?;
    let stop = StopSignal::at_once(signals::stop_token());
    let reports = {
        let progress = Progress::start(global, Arc::clone(&carrier));
        let quiet = global.quiet || global.output == Output::Json;
        let watch = |image: &ImageReport| {
            if !quiet && image.action != Action::Failed {
                progress.line(&image_line(image));
            }
        };
        let mode = if args.dry_run { Mode::DryRun } else { Mode::Apply };
        let history = match mode {
            Mode::DryRun => None,
            Mode::Apply => Some(session::history(&engine.config)?),
        };
        let options = SyncOptions { mode, scope: &Scope::All, keep: Keep::All, image: &watch };
        let runs = rules.into_iter().enumerate().map(|(index, rule)| {
            let (engine, history, stop) = (&engine, history.as_ref(), &stop);
            async move {
                let (begun, progress) = (session::begun(&rule.name), RunProgress::default());
                let (begun, progress, flow) = (&begun, &progress, Flow::ALONE);
                let run = Run { begun, history, flow, stop, progress };
                (index, engine.sync(rule, run, options).await.0)
            }
        });
        // Collected first: the compiler cannot prove such a future `Send` inside the stream.
        let runs: Vec<_> = runs.collect();
        let runs = futures_util::stream::iter(runs).buffer_unordered(RULES);
        let mut reports: Vec<(usize, RuleReport)> = runs.collect().await;
        reports.sort_by_key(|(index, _)| *index);
        reports.into_iter().map(|(_, report)| report).collect::<Vec<_>>()
    };
    let success = reports.iter().all(RuleReport::is_success);
    match global.output {
        Output::Json => {
            let moved = carrier.totals();
            output::print_json(&Report { success, moved, rules: &reports })?;
        }
        Output::Text => {
            for report in &reports {
                print_report(report, global.quiet)?;
            }
        }
    }
    Ok(exit(&reports))
}

fn exit(reports: &[RuleReport]) -> Exit {
    let as_wished = |report: &RuleReport| report.is_success() || report.is_only_limited();
    if reports.iter().all(RuleReport::is_success) {
        Exit::Done
    } else if reports.iter().all(as_wished) {
        Exit::Refused
    } else {
        Exit::Failed
    }
}

/// The rules with these names, or all of them.
pub fn choose<'a>(all: &'a [SyncRule], names: &[String]) -> Result<Vec<&'a SyncRule>, CliError> {
    let listed = || all.iter().map(|rule| rule.name.as_str()).collect::<Vec<_>>().join(", ");
    if all.is_empty() {
        return Err(CliError::Usage("the configuration has no [[sync]] rule".to_owned()));
    }
    if let Some(unknown) = names.iter().find(|name| !all.iter().any(|rule| rule.name == **name)) {
        return Err(CliError::Usage(format!(
            "there is no rule `{unknown}`: the rules are {}",
            listed()
        )));
    }
    Ok(all.iter().filter(|rule| names.is_empty() || names.contains(&rule.name)).collect())
}

fn removed_line(removed: &Removed) -> String {
    let word = match removed.outcome {
        WhatBecame::Removed => "removed",
        WhatBecame::WouldRemove => "would remove",
        WhatBecame::Stays | WhatBecame::Failed => "not removed",
    };
    let why = removed.reason.as_deref().unwrap_or("it is gone at the source");
    format!("{word} {}: {why}\n", removed.target)
}

fn print_report(report: &RuleReport, quiet: bool) -> Result<(), CliError> {
    for image in report.images.iter().filter(|image| image.action == Action::Failed) {
        print_failed_image(image);
    }
    for failure in &report.failures {
        eprintln!("FAILED rule {}", report.rule);
        print_failure(failure);
    }
    if quiet {
        return Ok(());
    }
    for removed in report.removed.iter().filter(|one| one.outcome != WhatBecame::Failed) {
        output::print_text(&removed_line(removed))?;
    }
    for note in &report.notes {
        output::print_text(&format!("{}: note: {note}\n", report.rule))?;
    }
    let Counts { copied, unchanged, kept, withheld, failed, removed } = report.counts;
    let copied_word = if report.dry_run { "to copy" } else { "copied" };
    let mut line = format!("{}: {copied} {copied_word}, {unchanged} unchanged", report.rule);
    if kept > 0 {
        line.push_str(&format!(", {kept} kept"));
    }
    if withheld > 0 {
        line.push_str(&format!(", {withheld} withheld (cleaned up)"));
    }
    if removed > 0 {
        let word = if report.dry_run { "to remove" } else { "removed" };
        line.push_str(&format!(", {removed} {word}"));
    }
    if failed > 0 {
        line.push_str(&format!(", {failed} failed"));
    }
    line.push_str(&format!(
        "; {} sent in {}",
        output::bytes(report.bytes),
        output::seconds(report.seconds)
    ));
    if report.interrupted {
        line.push_str("; interrupted, the next run goes on");
    }
    output::print_text(&format!("{line}\n"))
}
