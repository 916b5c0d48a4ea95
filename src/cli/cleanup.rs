//! `tranship cleanup`: what the `[[cleanup]]` rules would delete now, and why; and with `--apply`,
//! that it is deleted.

use parking_lot::Mutex;

use serde::Serialize;
use serde_json::value::RawValue;

use super::args::{Global, Output};
use super::cleanup_text as text;
use super::exit::{CliError, Exit};
use super::report::print_failure;
use super::{output, session, signals};
use crate::cleanup::{CleanupReport, Plan, RepositoryReport, Verdict, explain, resolved};
use crate::config::CleanupRule;
use crate::config::cleanup::Mode;
use crate::fair::Flow;
use crate::history::History;
use crate::oci::{Address, ImageAddress};
use crate::repository::{Failure, Reference};
use crate::run::{CleanupOptions, Engine, Run};
use crate::state::State;
use crate::stop::StopSignal;
use crate::sync::RunProgress;

/// Show what the [[cleanup]] rules would delete; delete it with --apply
///
/// Without --apply, registries are only read, whatever the `mode` of a rule is. Manifests are
/// remembered in the state, with the time when they were first seen.
///
/// With --apply, the plans are carried out. Each deletion is recorded in the audit log in the state
/// directory first; whatever has changed since the plan was made is kept. If the rule has a
/// `quarantine`, `tranship restore` can bring deleted images back.
///
/// Exit codes: 0 all plans were made and, with --apply, carried out; 1 something could not be read
/// or deleted; 3 a plan exceeds `max_delete`, so nothing was deleted in that repository.
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
struct Document<'a> {
    success: bool,
    rules: Vec<RuleDocument<'a>>,
}

/// What one rule would delete, and the results.
#[derive(Serialize)]
struct RuleDocument<'a> {
    rule: &'a str,
    mode: Mode,
    interrupted: bool,
    plans: &'a [Box<RawValue>],
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<&'a RawValue>,
    /// What was done, where plans were carried out.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    repositories: &'a [RepositoryReport],
    failures: &'a [Failure],
    notes: &'a [String],
}

/// One image, about which the rules are asked.
struct Asked {
    address: Address,
    reference: Reference,
}

/// A rule's run, with its plans as they are printed: the plans themselves are too large to be held.
struct Ran {
    report: CleanupReport,
    plans: Vec<Box<RawValue>>,
    explanation: Option<Box<RawValue>>,
    text: String,
}

/// What is printed of plans, as they are made, by repository.
#[derive(Default)]
struct Made {
    plans: Vec<(String, Box<RawValue>)>,
    texts: Vec<(String, String)>,
    explanation: Option<Box<RawValue>>,
    failed: Option<serde_json::Error>,
}

pub async fn run(global: &Global, args: Args) -> Result<Exit, CliError> {
    let asked = args.explain.map(asked).transpose()?;
    let config = session::required_config(global)?;
    choose(&config.cleanup, &args.rules, asked.as_ref()).await?;
    let carrier = session::carrier(State::open(&config.daemon.state)?);
    let engine = session::engine(config, carrier, true)?;
    let rules = choose(&engine.config.cleanup, &args.rules, asked.as_ref()).await?;
    let mode = if args.apply { Mode::Apply } else { Mode::Plan };
    if let Some(rule) = rules.iter().find(|rule| args.apply && rule.repositories.is_sweeping()) {
        return Err(CliError::Hinted {
            exit: Exit::Usage,
            message: format!(
                "rule `{}` is about every repository of a registry, and would delete in all of them",
                rule.name
            ),
            hint: "name the part of the registry that is meant, or leave some out with `!`",
        });
    }
    let history = match mode {
        Mode::Plan => None,
        Mode::Apply => Some(session::history(&engine.config)?),
    };
    let stop = StopSignal { soon: signals::stop_token(), ..StopSignal::default() };
    let mut ran = Vec::new();
    for rule in rules {
        let wanted =
            Wanted { rule, mode, asked: asked.as_ref(), stop: &stop, output: global.output };
        ran.push(run_rule(&engine, history.as_ref(), &wanted).await?);
    }
    let exit = exit(&ran);
    match global.output {
        Output::Json => {
            let rules = ran.iter().map(document).collect();
            output::print_json(&Document { success: exit == Exit::Done, rules })?;
        }
        Output::Text => {
            for one in &ran {
                print_rule(one, asked.as_ref(), global.quiet)?;
            }
        }
    }
    Ok(exit)
}

/// What is wanted of one rule.
struct Wanted<'a> {
    rule: &'a CleanupRule,
    mode: Mode,
    asked: Option<&'a Asked>,
    stop: &'a StopSignal,
    output: Output,
}

/// One run, which is kept in the history if it deletes.
async fn run_rule(
    engine: &Engine,
    history: Option<&History>,
    wanted: &Wanted<'_>,
) -> Result<Ran, CliError> {
    let Wanted { rule, mode, asked, stop, output } = *wanted;
    let made = Mutex::new(Made::default());
    let watch = |plan: &Plan<'_>| {
        let result = note(&made, rule, plan, asked, output);
        if let Err(error) = result {
            made.lock().failed.get_or_insert(error);
        }
    };
    let (begun, progress) = (session::begun(&rule.name), RunProgress::default());
    let run = Run { begun: &begun, history, flow: Flow::ALONE, stop, progress: &progress };
    let only = asked.map(|asked| &asked.address);
    let (report, _) = engine.clean(rule, run, CleanupOptions { mode, only, plan: &watch }).await;
    let Made { mut plans, mut texts, explanation, failed } = made.into_inner();
    if let Some(error) = failed {
        return Err(CliError::Failed(format!("failed to write JSON: {error}")));
    }
    plans.sort_by(|(a, _), (b, _)| a.cmp(b));
    texts.sort();
    let plans = plans.into_iter().map(|(_, plan)| plan).collect();
    let text = texts.into_iter().map(|(_, text)| text).collect();
    Ok(Ran { report, plans, explanation, text })
}

/// Keeps of a plan what will be printed.
fn note(
    made: &Mutex<Made>,
    rule: &CleanupRule,
    plan: &Plan<'_>,
    asked: Option<&Asked>,
    output: Output,
) -> serde_json::Result<()> {
    let name = plan.snapshot.repository().to_owned();
    let explanation = asked.and_then(|asked| explain(plan, &asked.reference));
    match output {
        Output::Json => {
            let plan = pretty(plan)?;
            let explanation = explanation.as_ref().map(pretty).transpose()?;
            let mut made = made.lock();
            made.plans.push((name, plan));
            made.explanation = explanation;
        }
        Output::Text => {
            let text = match (asked, explanation) {
                (None, _) => text::plan(&rule.name, plan),
                (Some(_), Some(explanation)) => text::explanation(&rule.name, &explanation),
                (Some(asked), None) if plan.refusals.is_empty() => {
                    format!("{}: {name}{} is not there\n", rule.name, asked.reference.suffix())
                }
                (Some(_), None) => String::new(),
            };
            made.lock().texts.push((name, text));
        }
    }
    Ok(())
}

/// With a line for each value: plans are compared line by line.
fn pretty(document: &impl Serialize) -> serde_json::Result<Box<RawValue>> {
    RawValue::from_string(serde_json::to_string_pretty(document)?)
}

fn document(ran: &Ran) -> RuleDocument<'_> {
    let CleanupReport { rule, mode, interrupted, repositories, failures, notes, .. } = &ran.report;
    RuleDocument {
        rule,
        mode: *mode,
        interrupted: *interrupted,
        plans: &ran.plans,
        explanation: ran.explanation.as_deref(),
        repositories: if *mode == Mode::Apply { repositories } else { &[] },
        failures,
        notes,
    }
}

/// The image that --explain names. A layout's path is the canonical one, as rules have it.
fn asked(image: ImageAddress) -> Result<Asked, CliError> {
    let usage = |message: &str| Err(CliError::Usage(message.to_owned()));
    let address = match image.repository {
        address @ Address::Registry(..) => address,
        Address::Layout(path) => Address::Layout(path.canonicalize().unwrap_or(path)),
        _ => return usage("--explain is not about archives"),
    };
    let reference = match (image.tag, image.digest) {
        (Some(tag), None) => Reference::Tag(tag),
        (None, Some(digest)) => Reference::Digest(digest),
        (Some(_), Some(_)) => return usage("--explain takes a tag or a digest, not both"),
        (None, None) => return usage("--explain needs a tag or a digest"),
    };
    Ok(Asked { address, reference })
}

/// The rules with these names, or all of them; of those, the ones that are about the image.
async fn choose<'a>(
    all: &'a [CleanupRule],
    names: &[String],
    asked: Option<&Asked>,
) -> Result<Vec<&'a CleanupRule>, CliError> {
    if all.is_empty() {
        return Err(CliError::Usage("the configuration has no [[cleanup]] rule".to_owned()));
    }
    if let Some(unknown) = names.iter().find(|name| !all.iter().any(|rule| rule.name == **name)) {
        let listed: Vec<&str> = all.iter().map(|rule| rule.name.as_str()).collect();
        let listed = listed.join(", ");
        return Err(CliError::Usage(format!(
            "there is no [[cleanup]] rule `{unknown}`: the rules are {listed}"
        )));
    }
    let named = all.iter().filter(|rule| names.is_empty() || names.contains(&rule.name));
    let Some(asked) = asked else { return Ok(named.collect()) };
    let mut chosen = Vec::new();
    for rule in named {
        if resolved(&rule.repositories).await.has(&asked.address) {
            chosen.push(rule);
        }
    }
    if chosen.is_empty() {
        let message = format!("none of these rules is about {}", asked.address);
        return Err(CliError::Usage(message));
    }
    Ok(chosen)
}

/// What failed weighs more than what is too much.
fn exit(ran: &[Ran]) -> Exit {
    let verdicts = || ran.iter().map(|one| one.report.verdict());
    if verdicts().any(|verdict| verdict == Verdict::Failed) {
        Exit::Failed
    } else if verdicts().any(|verdict| verdict == Verdict::Limited) {
        Exit::Refused
    } else {
        Exit::Done
    }
}

fn print_rule(ran: &Ran, asked: Option<&Asked>, quiet: bool) -> Result<(), CliError> {
    let report = &ran.report;
    for failure in &report.failures {
        eprintln!("FAILED rule {}", report.rule);
        print_failure(failure);
    }
    for repository in &report.repositories {
        text::print_refusals(&report.rule, repository);
        text::print_failures(&report.rule, repository);
        repository.failures.iter().for_each(print_failure);
    }
    if report.interrupted {
        eprintln!("{}: interrupted", report.rule);
    }
    if quiet {
        return Ok(());
    }
    if report.mode == Mode::Plan || asked.is_some() {
        return output::print_text(&ran.text);
    }
    for repository in report.repositories.iter().filter(|one| one.refused.is_empty()) {
        output::print_text(&text::applied(&report.rule, repository))?;
    }
    for note in &report.notes {
        output::print_text(&format!("{}: note: {note}\n", report.rule))?;
    }
    Ok(())
}
