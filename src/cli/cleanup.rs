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
use super::lines::{Lines, tell_line};
use super::progress::Progress;
use super::report::{print_failure, print_failures, print_notes};
use super::session::Keeper;
use super::{cleanup_daemon, output, session, signals};
use crate::cleanup::{Asked, CleanupReport, Plan, RepositoryReport, explain, resolved};
use crate::config::CleanupRule;
use crate::config::cleanup::Mode;
use crate::fair::{Flow, LendingPermits, Pulses};
use crate::history::History;
use crate::oci::ImageAddress;
use crate::repository::Failure;
use crate::run::{CleanupOptions, Engine, Run};
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
struct RuleDocument<'a> {
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
}

pub async fn run(global: &Global, args: Args) -> Result<Exit, CliError> {
    let asked = args.explain.map(Asked::of).transpose();
    let asked = asked.map_err(|why| CliError::usage(format!("--explain {why}")))?;
    let config = if args.apply {
        session::config_to_apply(global, &args.rules)?
    } else {
        session::required_config(global)?
    };
    let rules = choose(&config.cleanup, &args.rules, asked.as_ref()).await?;
    let mode = if args.apply { Mode::Apply } else { Mode::Plan };
    let keeper = session::keeper(&config).await?;
    let signal = signals::Stop::on_signal();
    let stop = StopSignal { soon: signal.token.clone(), ..StopSignal::default() };
    let (live, output) = (Arc::<Live>::default(), global.output);
    let wanted = Wanted { mode, asked: asked.as_ref(), stop: &stop, output, live: &live };
    let (mut ran, mut unfinished) = (Vec::new(), None);
    match keeper {
        Keeper::Daemon(daemon) => {
            let daemon = match mode {
                Mode::Plan => daemon,
                Mode::Apply => daemon.with_token(&config).await?,
            };
            let follow = |rule, _| cleanup_daemon::follow(&daemon, rule, &wanted);
            let live = Arc::clone(&live);
            let _progress = Progress::show(global, move || live.of_daemon());
            let turns = LendingPermits::new(FOLLOWED, Pulses::default());
            for one in side_by_side(rules, turns, follow).await {
                match one {
                    Ok(one) => ran.push(one),
                    Err(error) => _ = unfinished.get_or_insert(error),
                }
            }
            // What the others did is told all the same.
            if ran.is_empty()
                && let Some(error) = unfinished
            {
                return Err(error);
            }
        }
        Keeper::This(state) => {
            let carrier = session::carrier(state);
            let turns = LendingPermits::new(RULES, carrier.pulses().clone());
            let engine = session::engine(config, Arc::clone(&carrier), true)?;
            let rules = choose(&engine.config.cleanup, &args.rules, asked.as_ref()).await?;
            live.rules(rules.len());
            let live = Arc::clone(&live);
            let _progress = Progress::show(global, move || live.of_process(&carrier));
            let history = match mode {
                Mode::Plan => None,
                Mode::Apply => Some(session::history(&engine.config)?),
            };
            let run = |rule, flow| run_rule(&engine, history.as_ref(), rule, flow, &wanted);
            for one in side_by_side(rules, turns, run).await {
                ran.push(one?);
            }
        }
    }
    if let Some(missing) = asked.as_ref().and_then(|asked| missing(asked, &ran)) {
        return Err(missing);
    }
    let interrupted = ran.iter().any(|one| one.report.interrupted);
    let exit = if interrupted { signal.exit() } else { exit(&ran) };
    let rules = ran.iter().map(document).collect();
    let success = exit == Exit::Done && unfinished.is_none();
    output::print(global, &Printout { success, rules }, || {
        ran.iter().try_for_each(|one| print_rule(one, asked.as_ref(), global.quiet))
    })?;
    unfinished.map_or(Ok(exit), Err)
}

/// Rules that a daemon is asked to carry out at once: it has bounds of its own for what it does.
const FOLLOWED: usize = 128;

/// One run of each rule, in no order, so that what one of them waits for keeps the others from
/// nothing. Rules that delete in the same repository take turns there, by its write lease.
async fn side_by_side<'a, R>(
    rules: Vec<&'a CleanupRule>,
    turns: LendingPermits,
    run: impl Fn(&'a CleanupRule, Flow) -> R,
) -> Vec<Result<Ran, CliError>>
where
    R: Future<Output = Result<Ran, CliError>>,
{
    let runs = rules.into_iter().zip(1..).map(|(rule, number)| {
        let (turns, run, flow) = (&turns, &run, Flow::new(number));
        async move {
            let _turn = turns.acquire(flow).await;
            run(rule, flow).await
        }
    });
    futures_util::future::join_all(runs).await
}

/// One run, which is kept in the history if it deletes.
async fn run_rule(
    engine: &Engine,
    history: Option<&History>,
    rule: &CleanupRule,
    flow: Flow,
    wanted: &Wanted<'_>,
) -> Result<Ran, CliError> {
    let Wanted { mode, asked, stop, output, live } = *wanted;
    let plans = Mutex::new(BTreeMap::<String, _>::new());
    let watch = |plan: &Plan<'_>| {
        let explanation = asked.and_then(|asked| explain(plan, &asked.reference));
        let text = printed(&rule.name, &plan.document(), explanation, asked, output);
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

fn document(ran: &Ran) -> RuleDocument<'_> {
    let (mut plans, mut found) = (Vec::new(), None);
    for printed in &ran.plans {
        if let Printed::Json { plan, explanation } = printed {
            plans.push(&**plan);
            found = explanation.as_deref();
        }
    }
    let CleanupReport { rule, mode, interrupted, repositories, failures, notes, .. } = &ran.report;
    RuleDocument {
        rule,
        mode: *mode,
        interrupted: *interrupted,
        plans,
        explanation: found,
        repositories: if *mode == Mode::Apply { repositories } else { &[] },
        failures,
        notes,
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

/// What failed weighs more than what is too much.
fn exit(ran: &[Ran]) -> Exit {
    if ran.iter().any(|one| one.report.is_failed()) {
        Exit::Failed
    } else if ran.iter().any(|one| one.report.is_limited()) {
        Exit::Refused
    } else {
        Exit::Done
    }
}

fn print_rule(ran: &Ran, asked: Option<&Asked>, quiet: bool) -> Result<(), CliError> {
    let report = &ran.report;
    print_failures(&report.rule, &report.failures);
    for repository in &report.repositories {
        text::print_refusals(&report.rule, repository);
        text::print_failures(&report.rule, repository);
        repository.failures.iter().for_each(print_failure);
    }
    if report.interrupted {
        tell_line(format!("{}: interrupted", report.rule));
    }
    if quiet {
        return Ok(());
    }
    if report.mode == Mode::Plan || asked.is_some() {
        let mut lines = Lines::default();
        for printed in &ran.plans {
            if let Printed::Text(text) = printed {
                lines.add(text);
            }
        }
        return output::print_lines(&lines);
    }
    for repository in report.repositories.iter().filter(|one| one.refused.is_empty()) {
        output::print_lines(&text::applied(&report.rule, repository))?;
    }
    print_notes(&report.rule, &report.notes)
}
