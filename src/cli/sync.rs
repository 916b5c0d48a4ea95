//! `tranship sync`: one pass of the `[[sync]]` rules.

use std::sync::Arc;

use serde::Serialize;

use super::args::{Global, Output};
use super::exit::{CliError, Exit};
use super::follow::{AtStop, Task};
use super::progress::{Progress, Seen};
use super::report::{
    Failed, image_lines, in_order, print_failed, print_interrupted, print_notes,
    print_stopped_elsewhere,
};
use super::session::Keeper;
use super::side_by_side::{Came, side_by_side};
use super::skopeo::ReachOptions;
use super::skopeo::sync::Syncing;
use super::{output, session, signals, skopeo, sync_daemon};
use crate::config::{Config, SyncRule};
use crate::daemon::RunOptions;
use crate::fair::LendingPermits;
use crate::run::{self, Run, SyncOptions};
use crate::state::State;
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
/// If the daemon of the same configuration runs, it copies, which needs its `token`; --dry-run needs
/// none. Ctrl-C then cancels the runs that the command has started.
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
  tranship sync --dry-run -v                      also list what cleanup rules deleted
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

/// The document that `--output json` prints.
#[derive(Serialize)]
struct Document<'a> {
    success: bool,
    moved: TransferTotals,
    rules: Vec<&'a RuleReport>,
}

/// What is wanted of rules.
pub struct Wanted<'a> {
    pub mode: Mode,
    pub recheck: bool,
    pub stop: &'a StopSignal,
}

/// A rule's run, and what it moved.
pub struct Synced {
    pub report: RuleReport,
    pub moved: TransferTotals,
}

pub async fn run(global: &Global, args: Args) -> Result<Exit, CliError> {
    if args.syncing.is_meant() {
        return skopeo::sync::run(global, args.syncing, args.dry_run).await;
    }
    let config = session::config_of_rules(global)?;
    let rules = choose(&config.sync, &args.rules)?;
    let rules: Vec<&str> = rules.into_iter().map(|rule| rule.name.as_str()).collect();
    let keeper = session::keeper(&config, &rules).await?;
    let signal = signals::Stop::on_signal();
    let stop = StopSignal::at_once(signal.token.clone());
    let mode = if args.dry_run { Mode::DryRun } else { Mode::Apply };
    let wanted = Wanted { mode, recheck: args.recheck, stop: &stop };
    let came = carry_out(global, &keeper, &rules, &wanted).await?;
    let exit = exit(&came.done, &signal);
    let document = Document {
        success: exit == Exit::Done && came.error.is_none(),
        moved: moved(&came.done),
        rules: came.done.iter().map(|one| &one.report).collect(),
    };
    output::print(global, &document, || print_reports(&came.done, &signal, global))?;
    came.error.map_or(Ok(exit), Err)
}

/// Carries the rules with these names out with the state of this process, or has the daemon do it.
/// Images are printed as they are settled.
pub async fn carry_out(
    global: &Global,
    keeper: &Keeper<'_>,
    rules: &[&str],
    wanted: &Wanted<'_>,
) -> Result<Came<Synced>, CliError> {
    if rules.is_empty() {
        return Ok(Came::of(Vec::new()));
    }
    let Wanted { mode, recheck, stop } = *wanted;
    let daemon = match keeper {
        Keeper::This(config, state) => {
            return Ok(Came::of(here(global, config, state, rules, wanted).await?));
        }
        Keeper::Daemon(daemon) => daemon.clone(),
    };
    let (daemon, task) = match mode {
        Mode::DryRun => (daemon, Task::Plan { recheck }),
        Mode::Apply => {
            let options = RunOptions { recheck, ..RunOptions::default() };
            (daemon.with_token().await?, Task::Run(options, AtStop::Cancel))
        }
    };
    sync_daemon::carry_out(global, &daemon, rules.iter().copied(), task, stop).await
}

async fn here(
    global: &Global,
    config: &Config,
    state: &State,
    rules: &[&str],
    wanted: &Wanted<'_>,
) -> Result<Vec<Synced>, CliError> {
    let Wanted { mode, recheck, stop } = *wanted;
    let carrier = session::carrier(state.clone());
    let rules: Vec<_> =
        config.sync.iter().filter(|rule| rules.contains(&rule.name.as_str())).collect();
    let deletes = rules.iter().any(|rule| rule.remove_extra.is_some());
    let engine = session::engine(config.clone(), Arc::clone(&carrier), deletes)?;
    let live: Arc<[RunProgress]> = rules.iter().map(|_| RunProgress::default()).collect();
    let _progress = {
        let (carrier, live) = (Arc::clone(&carrier), Arc::clone(&live));
        Progress::show(global, move || Seen::of_runs(&carrier, &live))
    };
    let quiet = global.quiet || global.output == Output::Json;
    let watch = |image: &ImageReport| {
        // What a dry run finds is printed in order, when all of it is known.
        if !quiet && mode == Mode::Apply && image.action != Action::Failed {
            // A reader that has gone is noticed when the report is finished.
            let _ = output::print_lines(&image_lines(image));
        }
    };
    let history = match mode {
        Mode::DryRun => None,
        Mode::Apply => Some(session::history(config)?),
    };
    let options = SyncOptions { mode, scope: &Scope::All, recheck, keep: Keep::All, image: &watch };
    let turns = LendingPermits::new(RULES, carrier.pulses().clone());
    let run = |(rule, progress): (&SyncRule, _), flow| {
        let begun = session::begun(&rule.name);
        let (rule, engine, history) = (rule.clone(), &engine, history.as_ref());
        async move {
            let run = Run { begun: &begun, history, flow, stop, progress };
            let run::Synced { report, moved, .. } = engine.sync(&rule, run, options).await;
            Synced { report, moved }
        }
    };
    Ok(side_by_side(rules.into_iter().zip(&*live), turns, run).await)
}

/// How the command ends. What failed weighs more than what is too much.
pub fn exit(synced: &[Synced], signal: &signals::Stop) -> Exit {
    let reports = || synced.iter().map(|one| &one.report);
    let as_wished = |report: &RuleReport| report.is_success() || report.is_only_limited();
    if reports().any(|report| report.interrupted) {
        signal.exit()
    } else if reports().all(RuleReport::is_success) {
        Exit::Done
    } else if reports().all(as_wished) {
        Exit::Refused
    } else {
        Exit::Failed
    }
}

/// What all rules together moved.
pub fn moved(synced: &[Synced]) -> TransferTotals {
    let mut all = TransferTotals::default();
    synced.iter().for_each(|one| all.add(one.moved));
    all
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

/// Prints what was not printed while it happened.
pub fn print_reports(
    synced: &[Synced],
    signal: &signals::Stop,
    global: &Global,
) -> Result<(), CliError> {
    // A registry may fail for several rules.
    let failed = synced.iter().flat_map(|one| failed(&one.report));
    print_failed(failed, ReachOptions::None);
    synced.iter().try_for_each(|one| print_report(&one.report, global))?;
    let interrupted = || synced.iter().map(|one| &one.report).filter(|report| report.interrupted);
    if !signal.came() {
        interrupted().for_each(|report| print_stopped_elsewhere(&report.rule));
    }
    if interrupted().next().is_some() {
        let next = "the next run resumes large blobs in the middle";
        print_interrupted(&moved(synced), next);
    }
    Ok(())
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

fn print_report(report: &RuleReport, global: &Global) -> Result<(), CliError> {
    if global.quiet {
        return Ok(());
    }
    if report.dry_run {
        let is_listed = |image: &&ImageReport| match image.action {
            Action::Failed => false,
            // It may be very much, and does not change.
            Action::Withheld => global.verbose > 0,
            _ => true,
        };
        let images = report.images.iter().filter(is_listed);
        let mut images: Vec<&ImageReport> = images.collect();
        images.sort_by(|a, b| in_order(a, b));
        images.into_iter().try_for_each(|image| output::print_lines(&image_lines(image)))?;
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
