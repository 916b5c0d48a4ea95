//! `tranship run`: rules, run by the daemon now.

use std::sync::Arc;

use serde::Serialize;

use super::args::Global;
use super::ask::Daemon;
use super::both::Both;
use super::cleanup_printed::{Ran, Wanted};
use super::cleanup_progress::Live;
use super::exit::{CliError, Exit};
use super::follow::{AtStop, Task};
use super::lines::tell_line;
use super::pick::Picked;
use super::progress::Progress;
use super::session::Keeper;
use super::side_by_side::{Came, followed};
use super::sync::Synced;
use super::{cleanup, cleanup_daemon, output, plan, session, signals, sync, sync_daemon};
use crate::config::cleanup::Mode;
use crate::daemon::RunOptions;
use crate::daemon::view::AcceptedState;
use crate::history::RunId;
use crate::stop::StopSignal;
use crate::sync::RuleReport;
use crate::transfer::TransferTotals;

/// Run rules now, in the running daemon
///
/// Starts one run of each rule, or queues it if the rule is running already, and prints the report
/// at its end, as `tranship sync` and `tranship cleanup` do. A [[cleanup]] rule deletes only if its
/// `mode` is "apply". Needs the daemon's `token`.
///
/// Ctrl-C stops following: the runs continue in the daemon, until `tranship cancel` stops them.
///
/// Exit codes are those of `tranship sync` and `tranship cleanup`. With --no-wait, 0 means that the
/// runs were started or queued.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tranship run base-images
  tranship run base-images old-builds --no-wait
  tranship run base-images --dry-run              show what the daemon would do now
  tranship run base-images --recheck              somebody may have changed the targets")]
pub struct Args {
    /// Names of [[sync]] and [[cleanup]] rules
    #[arg(value_name = "RULE", required = true)]
    rules: Vec<String>,
    /// Return as soon as the runs are started or queued
    #[arg(long, conflicts_with = "dry_run")]
    no_wait: bool,
    /// Show what the runs would do, without changing anything
    #[arg(long)]
    dry_run: bool,
    /// Ask the targets of [[sync]] rules about every image, also where the state knows the answer
    #[arg(long)]
    recheck: bool,
}

/// The document that `--output json` prints.
#[derive(Serialize)]
struct Document<'a> {
    success: bool,
    moved: TransferTotals,
    sync: Vec<&'a RuleReport>,
    cleanup: Vec<cleanup::RuleDocument<'a>>,
    /// Runs that go on.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    left: &'a [Started],
}

/// The same with `--no-wait`.
#[derive(Serialize)]
struct StartedDocument<'a> {
    started: &'a [Started],
}

/// A run of the daemon.
#[derive(Serialize)]
struct Started {
    rule: String,
    run: RunId,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<AcceptedState>,
}

pub async fn run(global: &Global, args: Args) -> Result<Exit, CliError> {
    let asked = session::config_to_ask(global)?;
    let daemon = Daemon::required(&asked.daemon).await?;
    let known = daemon.rules().await?;
    let known = known.iter().map(|rule| (rule.name.as_str(), rule.kind));
    let picked = Picked::of(known, &args.rules, "the daemon has")?;
    picked.check_recheck(args.recheck)?;
    if args.dry_run {
        return plan::print(global, &Keeper::Daemon(daemon), &picked, args.recheck).await;
    }
    let daemon = daemon.with_token().await?;
    if args.no_wait {
        return start(global, &daemon, &picked, args.recheck).await;
    }
    let signal = signals::Stop::on_signal_telling("no longer following the runs");
    let stop = StopSignal { soon: signal.token.clone(), ..StopSignal::default() };
    let options = RunOptions { recheck: args.recheck, ..RunOptions::default() };
    let (synced, cleaned) = tokio::join!(
        run_sync(global, &daemon, &picked, options, &stop),
        run_cleanup(global, &daemon, &picked, &stop),
    );
    let both = Both::of(synced, cleaned)?;
    let exit = both.exit(&signal);
    let left = both.left.iter().map(|(rule, run)| Started {
        rule: rule.clone(),
        run: run.clone(),
        state: None,
    });
    let left: Vec<_> = left.collect();
    let document = Document {
        success: exit == Exit::Done && both.error.is_none(),
        moved: sync::moved(&both.synced),
        sync: both.synced.iter().map(|one| &one.report).collect(),
        cleanup: cleanup::documents(&both.cleaned),
        left: &left,
    };
    output::print(global, &document, || both.print(&signal, global))?;
    for Started { rule, run, .. } in &left {
        tell_line(format!(
            "{rule}: run {run} continues in the daemon; `tranship cancel {run}` stops it"
        ));
    }
    both.error.map_or(Ok(exit), Err)
}

async fn run_sync(
    global: &Global,
    daemon: &Daemon,
    picked: &Picked,
    options: RunOptions,
    stop: &StopSignal,
) -> Result<Came<Synced>, CliError> {
    let rules = picked.sync.iter().map(String::as_str);
    let task = Task::Run(options, AtStop::Leave);
    sync_daemon::carry_out(global, daemon, rules, task, stop).await
}

async fn run_cleanup(
    global: &Global,
    daemon: &Daemon,
    picked: &Picked,
    stop: &StopSignal,
) -> Result<Came<Ran>, CliError> {
    let task = Task::Run(RunOptions::default(), AtStop::Leave);
    let (live, mode, output) = (Arc::<Live>::default(), Mode::Plan, global.output);
    let wanted = Wanted { mode, asked: None, stop, output, listed: false, live: &live };
    // There is one place for it.
    let shown = Some(global).filter(|_| picked.sync.is_empty());
    let shown_live = Arc::clone(&live);
    let _progress = shown.map(|global| Progress::show(global, move || shown_live.of_daemon()));
    let rules = picked.cleanup.iter().map(String::as_str);
    followed(rules, |rule| cleanup_daemon::carry_out(daemon, rule, task, &wanted)).await
}

/// Has the rules run, and does not wait for that.
async fn start(
    global: &Global,
    daemon: &Daemon,
    picked: &Picked,
    recheck: bool,
) -> Result<Exit, CliError> {
    let mut started = Vec::new();
    for rule in picked.sync.iter().chain(&picked.cleanup) {
        let accepted = daemon.start(rule, RunOptions { recheck, ..RunOptions::default() }).await?;
        started.push(Started {
            rule: rule.clone(),
            run: accepted.run,
            state: Some(accepted.state),
        });
    }
    output::print(global, &StartedDocument { started: &started }, || {
        for Started { rule, run, state } in &started {
            let how = match state {
                Some(AcceptedState::Queued) => {
                    "queued: it begins after the present run, or when there is room"
                }
                _ => "started",
            };
            output::print_line(format!("{rule}: run {run} {how}"))?;
        }
        Ok(())
    })?;
    Ok(Exit::Done)
}
