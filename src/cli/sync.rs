//! `tranship sync`: one pass of the `[[sync]]` rules.

use std::sync::Arc;

use futures_util::StreamExt;
use jiff::Timestamp;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::args::{Global, Output};
use super::exit::{CliError, Exit};
use super::progress::Progress;
use super::report::{image_line, print_failed_image, print_failure};
use super::{output, session, signals};
use crate::cleanup::TagRemover;
use crate::config::{Config, RegistryConfig, SyncRule};
use crate::fair::Flow;
use crate::history::{Cause, History, RunId, RunRecord, RunStart};
use crate::removal::{Actor, Audit, RemoveTags};
use crate::state::State;
use crate::stop::StopSignal;
use crate::sync::{
    Action, Counts, ImageReport, Keep, Mode, Removed, RuleReport, RunProgress, RunSpec, Scope,
    Syncer, WhatBecame,
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
    let rules = choose(&config.sync, &args.rules)?;
    let state = State::open(&config.daemon.state)?;
    let registries = session::registries(config.registries.clone(), RegistryConfig::default());
    let carrier = session::carrier(state);
    let syncer =
        Syncer::new(registries, Arc::clone(&carrier), session::now).with_cleanup(&config.cleanup);
    let mode = if args.dry_run { Mode::DryRun } else { Mode::Apply };
    let cancel = signals::stop_token();
    let audit = audit(&config, &rules)?;
    let reports = {
        let progress = Progress::start(global, Arc::clone(&carrier));
        let quiet = global.quiet || global.output == Output::Json;
        let watch = |image: &ImageReport| {
            if !quiet && image.action != Action::Failed {
                progress.line(&image_line(image));
            }
        };
        let history = match mode {
            Mode::DryRun => None,
            Mode::Apply => {
                let limit = config.daemon.history;
                let history = History::open(&config.daemon.state, limit, Timestamp::now());
                Some(history.map_err(cannot_start)?)
            }
        };
        let pass = Pass { syncer: &syncer, audit, history, cancel: &cancel };
        pass.run(&rules, &watch).await
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

fn cannot_start(error: std::io::Error) -> CliError {
    CliError::Failed(format!("failed to start: {error}"))
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

/// Where deletions are written down, if a rule asks for any.
fn audit(config: &Config, rules: &[&SyncRule]) -> Result<Option<Audit>, CliError> {
    if rules.iter().all(|rule| rule.remove_extra.is_none()) {
        return Ok(None);
    }
    Audit::open(&config.daemon.state, Timestamp::now()).map(Some).map_err(cannot_start)
}

/// One pass over some rules.
struct Pass<'a> {
    syncer: &'a Syncer,
    /// `None`: no rule deletes anything.
    audit: Option<Audit>,
    /// `None`: a dry run, which nobody remembers.
    history: Option<History>,
    cancel: &'a CancellationToken,
}

impl Pass<'_> {
    /// Each rule is a run of its own. The reports are in the order of the rules.
    async fn run(
        &self,
        rules: &[&SyncRule],
        watch: &(dyn Fn(&ImageReport) + Sync),
    ) -> Vec<RuleReport> {
        let runs = rules.iter().enumerate();
        let runs = runs.map(|(at, &rule)| async move { (at, self.rule(rule, watch).await) });
        // Collected first: the compiler cannot prove such a future `Send` inside the stream.
        let runs: Vec<_> = runs.collect();
        let mut reports: Vec<(usize, RuleReport)> =
            futures_util::stream::iter(runs).buffer_unordered(RULES).collect().await;
        reports.sort_by_key(|(at, _)| *at);
        reports.into_iter().map(|(_, report)| report).collect()
    }

    async fn rule(&self, rule: &SyncRule, watch: &(dyn Fn(&ImageReport) + Sync)) -> RuleReport {
        let started = Timestamp::now();
        let id = RunId::new(started, fastrand::u32(..));
        let begun = RunStart { id, rule: rule.name.clone(), cause: Cause::Command, started };
        let actor = Actor::of_process(begun.id.as_str(), begun.cause.as_str());
        let audit = self.audit.as_ref();
        let remover = audit.map(|audit| TagRemover { audit, actor: &actor });
        if let Some(history) = &self.history {
            history.begin(&begun);
        }
        let record = |image: &ImageReport| {
            if let Some(history) = &self.history {
                history.image(&begun.id, image);
            }
            watch(image);
        };
        let report = self
            .syncer
            .run_rule(RunSpec {
                rule,
                mode: if self.history.is_some() { Mode::Apply } else { Mode::DryRun },
                scope: &Scope::All,
                stop: &StopSignal::at_once(self.cancel.clone()),
                flow: Flow::ALONE,
                progress: &RunProgress::default(),
                keep: Keep::All,
                watch: &record,
                remover: remover.as_ref().map(|remover| remover as &dyn RemoveTags),
            })
            .await;
        if let Some(history) = &self.history {
            history.end(&RunRecord::ended(&begun, Timestamp::now(), &report)).await;
        }
        report
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
