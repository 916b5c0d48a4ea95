//! `tranship cleanup`: what the `[[cleanup]]` rules would delete now, and why; and with `--apply`,
//! that it is deleted.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;
use serde_json::value::RawValue;

use super::args::Global;
use super::cleanup_printed::{Printed, Ran, Wanted, printed};
use super::cleanup_progress::Live;
use super::cleanup_text as text;
use super::exit::{CliError, Exit, failed};
use super::follow::{AtStop, Task};
use super::lines::{Lines, tell_line};
use super::progress::Progress;
use super::report::{print_failure, print_failures, print_notes, print_stopped_elsewhere};
use super::session::Keeper;
use super::side_by_side::{Came, followed, side_by_side};
use super::{cleanup_daemon, output, session, signals};
use crate::cleanup::{Asked, CleanupReport, Plan, RepositoryReport, Restorable, explain, resolved};
use crate::config::cleanup::Mode;
use crate::config::{CleanupRule, Config};
use crate::daemon::RunOptions;
use crate::fair::{Flow, LendingPermits};
use crate::history::History;
use crate::oci::ImageAddress;
use crate::repository::Failure;
use crate::run::{CleanupOptions, Engine, Run};
use crate::state::State;
use crate::stop::StopSignal;
use crate::sync::{RULES, RunProgress};

/// Show what the [[cleanup]] rules would delete; delete it with --apply
///
/// Without --apply, registries are only read, whatever the `mode` of a rule is. Manifests are
/// remembered in the state, with the time when they were first seen.
///
/// With --apply, the plans are carried out. Each deletion is recorded in the audit log in the state
/// directory first; whatever has changed since the plan was made is kept. If the rule has a
/// `quarantine`, `tranship restore` can bring deleted images back.
///
/// If the daemon of the same configuration runs, it makes the plans and carries them out; --apply then
/// needs its `token`.
///
/// Exit codes: 0 all plans were made and, with --apply, carried out; 1 something could not be read
/// or deleted, or what --explain names is not there; 3 a plan exceeds `max_delete`, so nothing was deleted in that repository.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tranship cleanup                        show the plans of all rules; deletes nothing
  tranship cleanup -v                     also list the tags that stay
  tranship cleanup --rule apps --output json > plan.json
  tranship cleanup --explain registry.example.com/acme/app:pr-17
  tranship cleanup --rule apps --apply    delete what is in the plan")]
pub struct Args {
    /// Run only this rule (repeatable)
    #[arg(long = "rule", value_name = "NAME")]
    rules: Vec<String>,
    /// Delete what is in the plans
    #[arg(long, conflicts_with = "explain")]
    apply: bool,
    /// Explain why one image is kept or deleted: HOST/REPOSITORY[:TAG|@DIGEST] or oci:DIR:TAG
    #[arg(long, value_name = "REF")]
    explain: Option<ImageAddress>,
}

/// The document that `--output json` prints.
#[derive(Serialize)]
struct Printout<'a> {
    success: bool,
    rules: Vec<RuleDocument<'a>>,
}

/// What one rule would delete, and the results.
#[derive(Serialize)]
pub struct RuleDocument<'a> {
    rule: &'a str,
    mode: Mode,
    interrupted: bool,
    plans: Vec<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<&'a RawValue>,
    /// What was done, where plans were carried out.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    repositories: &'a [RepositoryReport],
    failures: &'a [Failure],
    notes: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    restorable: Option<&'a Restorable>,
}

pub async fn run(global: &Global, args: Args) -> Result<Exit, CliError> {
    let asked = args.explain.map(Asked::of).transpose();
    let asked = asked.map_err(|why| CliError::usage(format!("--explain {why}")))?;
    let config = if args.apply {
        session::config_to_apply(global, &args.rules)?
    } else {
        session::config_of_rules(global)?
    };
    let rules = choose(&config.cleanup, &args.rules, asked.as_ref()).await?;
    let rules: Vec<&str> = rules.into_iter().map(|rule| rule.name.as_str()).collect();
    let keeper = session::keeper(&config, &rules).await?;
    let mode = if args.apply { Mode::Apply } else { Mode::Plan };
    let signal = signals::Stop::on_signal();
    let stop = StopSignal { soon: signal.token.clone(), ..StopSignal::default() };
    let (live, asked_of) = (Arc::<Live>::default(), asked.as_ref());
    let (output, listed) = (global.output, global.verbose > 0);
    let wanted = Wanted { mode, asked: asked_of, stop: &stop, output, listed, live: &live };
    let came = carry_out(Some(global), &keeper, &rules, &wanted).await?;
    let ran = &came.done;
    if let Some(missing) = asked.as_ref().and_then(|asked| missing(asked, ran)) {
        return Err(missing);
    }
    let exit = exit(ran, &signal);
    let success = exit == Exit::Done && came.error.is_none();
    output::print(global, &Printout { success, rules: documents(ran) }, || {
        print_rules(ran, asked.as_ref(), &signal, global.quiet)
    })?;
    came.error.map_or(Ok(exit), Err)
}

/// Carries the rules with these names out with the state of this process, or has the daemon do it.
/// Rules that delete in the same repository take turns there, by its write lease. `shown`: progress is
/// shown as these options want it.
pub async fn carry_out(
    shown: Option<&Global>,
    keeper: &Keeper<'_>,
    rules: &[&str],
    wanted: &Wanted<'_>,
) -> Result<Came<Ran>, CliError> {
    if rules.is_empty() {
        return Ok(Came::of(Vec::new()));
    }
    let daemon = match keeper {
        Keeper::This(config, state) => {
            return Ok(Came::of(here(shown, config, state, rules, wanted).await?));
        }
        Keeper::Daemon(daemon) => daemon.clone(),
    };
    let (daemon, task) = match wanted.mode {
        Mode::Plan => (daemon, Task::Plan { recheck: false }),
        Mode::Apply => {
            let options = RunOptions { mode: Some(Mode::Apply), ..RunOptions::default() };
            (daemon.with_token().await?, Task::Run(options, AtStop::Cancel))
        }
    };
    let live = Arc::clone(wanted.live);
    let _progress = shown.map(|global| Progress::show(global, move || live.of_daemon()));
    followed(rules.iter().copied(), |rule| cleanup_daemon::carry_out(&daemon, rule, task, wanted))
        .await
}

async fn here(
    shown: Option<&Global>,
    config: &Config,
    state: &State,
    rules: &[&str],
    wanted: &Wanted<'_>,
) -> Result<Vec<Ran>, CliError> {
    let carrier = session::carrier(state.clone());
    let turns = LendingPermits::new(RULES, carrier.pulses().clone());
    let engine = session::engine(config.clone(), Arc::clone(&carrier), true)?;
    wanted.live.rules(rules.len());
    let live = Arc::clone(wanted.live);
    let _progress = shown.map(|global| Progress::show(global, move || live.of_process(&carrier)));
    let history = match wanted.mode {
        Mode::Plan => None,
        Mode::Apply => Some(session::history(config)?),
    };
    let rules = config.cleanup.iter().filter(|rule| rules.contains(&rule.name.as_str()));
    let run = |rule, flow| run_rule(&engine, history.as_ref(), rule, flow, wanted);
    side_by_side(rules, turns, run).await.into_iter().collect()
}

/// One run, which is kept in the history if it deletes.
async fn run_rule(
    engine: &Engine,
    history: Option<&History>,
    rule: &CleanupRule,
    flow: Flow,
    wanted: &Wanted<'_>,
) -> Result<Ran, CliError> {
    let Wanted { mode, asked, stop, live, .. } = *wanted;
    let plans = Mutex::new(BTreeMap::<String, _>::new());
    let watch = |plan: &Plan<'_>| {
        let explanation = asked.and_then(|asked| explain(plan, &asked.reference));
        let text = printed(&rule.name, &plan.document(), explanation, wanted);
        plans.lock().insert(plan.snapshot.repository().to_owned(), text);
    };
    let (begun, progress) = (session::begun(&rule.name), RunProgress::default());
    let run = Run { begun: &begun, history, flow, stop, progress: &progress };
    let only = asked.map(|asked| &asked.address);
    let seen = live.run();
    let options =
        CleanupOptions { mode, attended: true, only, progress: Some(&seen), plan: &watch };
    let (report, _) = engine.clean(rule, run, options).await;
    let plans = plans.into_inner().into_values().collect::<Result<_, _>>();
    Ok(Ran { report, plans: plans.map_err(failed("write JSON"))? })
}

/// That the image that is asked for is nowhere, if that was all that was found.
fn missing(asked: &Asked, ran: &[Ran]) -> Option<CliError> {
    let mut printed = ran.iter().flat_map(|one| &one.plans);
    if ran.iter().any(|one| one.report.is_failed() || one.report.is_limited()) {
        return None;
    }
    let Some(first) = printed.next() else {
        return Some(CliError::Failed(format!(
            "failed to explain {asked}: there is no repository {}",
            asked.address
        )));
    };
    let Printed::Missing { image, similar } = first else { return None };
    let meant = match similar {
        Some(tag) => format!(": did you mean `{tag}`?"),
        None => "; `tranship list-tags` shows what is".to_owned(),
    };
    Some(CliError::Failed(format!("failed to explain {image}: it is not there{meant}")))
}

pub fn documents(ran: &[Ran]) -> Vec<RuleDocument<'_>> {
    ran.iter().map(document).collect()
}

fn document(ran: &Ran) -> RuleDocument<'_> {
    let (mut plans, mut found) = (Vec::new(), None);
    for printed in &ran.plans {
        if let Printed::Json { plan, explanation } = printed {
            plans.push(&**plan);
            found = explanation.as_deref();
        }
    }
    let CleanupReport { rule, mode, interrupted, failures, notes, .. } = &ran.report;
    let CleanupReport { repositories, restorable, .. } = &ran.report;
    RuleDocument {
        rule,
        mode: *mode,
        interrupted: *interrupted,
        plans,
        explanation: found,
        repositories: if *mode == Mode::Apply { repositories } else { &[] },
        failures,
        notes,
        restorable: restorable.as_ref(),
    }
}

/// The rules with these names, or all of them; of those, the ones that are about the image.
async fn choose<'a>(
    all: &'a [CleanupRule],
    names: &[String],
    asked: Option<&Asked>,
) -> Result<Vec<&'a CleanupRule>, CliError> {
    let named = session::choose("cleanup", all, |rule| &rule.name, names)?;
    let Some(asked) = asked else { return Ok(named) };
    let mut chosen = Vec::new();
    for rule in named {
        if resolved(&rule.repositories).await.has(&asked.address) {
            chosen.push(rule);
        }
    }
    if chosen.is_empty() {
        return Err(CliError::Failed(format!(
            "failed to explain {asked}: no [[cleanup]] rule {}covers {}",
            if names.is_empty() { "" } else { "with this name " },
            asked.address
        )));
    }
    Ok(chosen)
}

/// How the command ends. What failed weighs more than what is too much.
pub fn exit(ran: &[Ran], signal: &signals::Stop) -> Exit {
    if ran.iter().any(|one| one.report.interrupted) {
        signal.exit()
    } else if ran.iter().any(|one| one.report.is_failed()) {
        Exit::Failed
    } else if ran.iter().any(|one| one.report.is_limited()) {
        Exit::Refused
    } else {
        Exit::Done
    }
}

/// Prints what became of rules, or the explanation that was asked for.
pub fn print_rules(
    ran: &[Ran],
    asked: Option<&Asked>,
    signal: &signals::Stop,
    quiet: bool,
) -> Result<(), CliError> {
    ran.iter().try_for_each(|one| print_rule(one, asked, signal, quiet))
}

fn print_rule(
    ran: &Ran,
    asked: Option<&Asked>,
    signal: &signals::Stop,
    quiet: bool,
) -> Result<(), CliError> {
    let report = &ran.report;
    print_failures(&report.rule, &report.failures);
    for repository in &report.repositories {
        text::print_refusals(&report.rule, repository);
        text::print_failures(&report.rule, repository);
        repository.failures.iter().for_each(print_failure);
    }
    if report.is_limited() {
        text::print_limit_hint(&report.rule, report.mode);
    }
    match report.interrupted {
        false => {}
        true if signal.came() => tell_line(format!("{}: interrupted", report.rule)),
        true => print_stopped_elsewhere(&report.rule),
    }
    if quiet {
        return Ok(());
    }
    let total = text::total(report).filter(|_| asked.is_none());
    if report.mode == Mode::Plan || asked.is_some() {
        let mut lines = Lines::default();
        for printed in &ran.plans {
            if let Printed::Text(text) = printed {
                lines.add(text);
            }
        }
        output::print_lines(&lines)?;
        return total.map_or(Ok(()), output::print_line);
    }
    for repository in report.repositories.iter().filter(|one| one.refused.is_empty()) {
        output::print_lines(&text::applied(&report.rule, repository))?;
    }
    for line in total.into_iter().chain(text::restorable(report)) {
        output::print_line(line)?;
    }
    print_notes(&report.rule, &report.notes)
}
