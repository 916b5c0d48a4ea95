//! `tranship sync`: one pass of the `[[sync]]` rules.

use std::sync::Arc;

use serde::Serialize;

use super::args::{Global, Output};
use super::exit::{CliError, Exit};
use super::progress::{Progress, Seen};
use super::report::{Failed, image_lines, print_failed, print_interrupted, print_notes};
use super::skopeo::sync::Syncing;
use super::{output, session, signals, skopeo};
use crate::config::SyncRule;
use crate::fair::{Flow, LendingPermits};
use crate::run::{Run, SyncOptions};
use crate::stop::StopSignal;
use crate::sync::{
    Action, Counts, ImageReport, Keep, Mode, RULES, Removed, RuleReport, RunProgress, Scope,
    Vouched, WhatBecame,
};
use crate::transfer::TransferTotals;

/// Copy what the [[sync]] rules select, once
///
/// Copies every selected image that the target does not have yet. Nothing is copied that a
/// [[cleanup]] rule deleted at the target, until the tag changes at the source. Rules with
/// `remove_extra` also delete tags at the target that the source no longer has.
///
/// With --src and --dest, copies without rules, as `skopeo sync` does.
///
/// Exit codes: 0 everything is up to date; 1 something failed; 3 nothing failed, but `max_delete`
/// prevented deletions; 130 or 143 stopped by Ctrl-C or SIGTERM.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tranship sync                                   run all rules of tranship.toml
  tranship sync --config mirror.toml --rule base-images
  tranship sync --dry-run                         show what would be copied, and why
  tranship sync --recheck                         somebody may have changed the targets
  tranship sync --src docker --dest docker ghcr.io/acme/app registry.example.com/mirror")]
pub struct Args {
    /// Run only this rule (repeatable)
    #[arg(long = "rule", value_name = "NAME")]
    rules: Vec<String>,
    /// Show what would be copied and deleted, without changing anything
    #[arg(long)]
    dry_run: bool,
    /// Ask the targets about every image, also where the state knows the answer
    ///
    /// Without it, an image that was seen at its target less than `recheck` ago (24 hours, unless
    /// the rule says otherwise) only has to be in the target's list of tags.
    #[arg(long, conflicts_with = "src")]
    recheck: bool,
    #[command(flatten)]
    syncing: Syncing,
}

/// How a running daemon does the same.
const BESIDE_DAEMON: &str =
    "if the daemon uses it, ask the daemon: POST /api/v1/rules/NAME/run runs a rule";

/// The document that `--output json` prints.
#[derive(Serialize)]
struct Report<'a> {
    success: bool,
    moved: TransferTotals,
    rules: &'a [RuleReport],
}

pub async fn run(global: &Global, args: Args) -> Result<Exit, CliError> {
    if args.syncing.is_meant() {
        return skopeo::sync::run(global, args.syncing, args.dry_run).await;
    }
    let config = session::required_config(global)?;
    let deletes = choose(&config.sync, &args.rules)?.iter().any(|rule| rule.remove_extra.is_some());
    let carrier = session::carrier(session::state(&config, BESIDE_DAEMON)?);
    let engine = session::engine(config, Arc::clone(&carrier), deletes)?;
    let rules = choose(&engine.config.sync, &args.rules)?;
    let signal = signals::Stop::on_signal();
    let stop = StopSignal::at_once(signal.token.clone());
    let reports = {
        let live: Arc<[RunProgress]> = rules.iter().map(|_| RunProgress::default()).collect();
        let _progress = {
            let (carrier, live) = (Arc::clone(&carrier), Arc::clone(&live));
            Progress::show(global, move || Seen::of_runs(&carrier, &live))
        };
        let quiet = global.quiet || global.output == Output::Json;
        let watch = |image: &ImageReport| {
            if !quiet && image.action != Action::Failed {
                // A reader that has gone is noticed when the report is finished.
                let _ = output::print_lines(&image_lines(image));
            }
        };
        let mode = if args.dry_run { Mode::DryRun } else { Mode::Apply };
        let history = match mode {
            Mode::DryRun => None,
            Mode::Apply => Some(session::history(&engine.config)?),
        };
        let options = SyncOptions {
            mode,
            scope: &Scope::All,
            recheck: args.recheck,
            keep: Keep::All,
            image: &watch,
        };
        let turns = LendingPermits::new(RULES, carrier.pulses().clone());
        let runs = rules.into_iter().zip(&*live).zip(1..).map(|((rule, progress), number)| {
            let (engine, history, stop, turns) = (&engine, history.as_ref(), &stop, &turns);
            async move {
                let flow = Flow::new(number);
                let _turn = turns.acquire(flow).await;
                let begun = session::begun(&rule.name);
                let run = Run { begun: &begun, history, flow, stop, progress };
                engine.sync(rule, run, options).await.0
            }
        });
        futures_util::future::join_all(runs).await
    };
    let success = reports.iter().all(RuleReport::is_success);
    let interrupted = reports.iter().any(|report| report.interrupted);
    let document = Report { success, moved: carrier.totals(), rules: &reports };
    output::print(global, &document, || {
        // A registry may fail for several rules.
        print_failed(reports.iter().flat_map(failed));
        reports.iter().try_for_each(|report| print_report(report, global.quiet))?;
        if interrupted {
            print_interrupted(&document.moved, "the next run resumes large blobs in the middle");
        }
        Ok(())
    })?;
    Ok(if interrupted { signal.exit() } else { exit(&reports) })
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
    session::choose("sync", all, |rule| &rule.name, names)
}

/// What failed in a run of a rule.
fn failed(report: &RuleReport) -> impl Iterator<Item = Failed<'_>> {
    let images = report.images.iter().filter(|image| image.action == Action::Failed);
    let failures = report.failures.iter().map(|failure| Failed::Rule(&report.rule, failure));
    images.map(Failed::Image).chain(failures)
}

fn removed_line(removed: &Removed) -> String {
    let word = match removed.outcome {
        WhatBecame::Removed => "removed",
        WhatBecame::WouldRemove => "would remove",
        WhatBecame::Stays | WhatBecame::Failed => "not removed",
    };
    let why = removed.reason.as_deref().unwrap_or("it is gone at the source");
    format!("{word} {}: {why}", removed.target)
}

/// Since when the state vouches for unchanged images, if for any.
fn vouched(report: &RuleReport) -> String {
    let Vouched { images, since: Some(since) } = report.vouched else { return String::new() };
    let which =
        if images == report.counts.unchanged { String::new() } else { format!("{images} ") };
    format!(" ({which}vouched for by the state since {})", since.strftime("%Y-%m-%d %H:%M UTC"))
}

fn print_report(report: &RuleReport, quiet: bool) -> Result<(), CliError> {
    if quiet {
        return Ok(());
    }
    for removed in report.removed.iter().filter(|one| one.outcome != WhatBecame::Failed) {
        output::print_line(removed_line(removed))?;
    }
    print_notes(&report.rule, &report.notes)?;
    let Counts { copied, unchanged, kept, withheld, failed, removed } = report.counts;
    let (to_copy, to_remove) =
        if report.dry_run { ("to copy", "to remove") } else { ("copied", "removed") };
    let others = output::counts([
        (kept, "kept"),
        (withheld, "withheld (cleaned up)"),
        (removed, to_remove),
        (failed, "failed"),
    ]);
    let (bytes, seconds) = (output::bytes(report.bytes), output::seconds(report.seconds));
    let end = if report.interrupted { "; interrupted" } else { "" };
    output::print_line(format!(
        "{}: {copied} {to_copy}, {unchanged} unchanged{}{others}; {bytes} sent in {seconds}{end}",
        report.rule,
        vouched(report)
    ))
}
