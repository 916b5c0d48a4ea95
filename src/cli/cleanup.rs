//! `tranship cleanup`: what the `[[cleanup]]` rules would delete now, and why; and with `--apply`,
//! that it is deleted.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use serde::Serialize;
use serde_json::value::RawValue;

use super::args::{Global, Output};
use super::cleanup_text as text;
use super::exit::{CliError, Exit, failed};
use super::lines::{Lines, tell_line};
use super::report::{print_failure, print_failures, print_notes};
use super::{output, session, signals};
use crate::cleanup::{CleanupReport, Plan, RepositoryReport, explain, resolved};
use crate::config::CleanupRule;
use crate::config::cleanup::Mode;
use crate::fair::Flow;
use crate::history::History;
use crate::oci::{Address, ImageAddress, Tag};
use crate::repository::{Failure, Reference};
use crate::run::{CleanupOptions, Engine, Run};
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

/// How a running daemon does the same.
const BESIDE_DAEMON: &str = "if the daemon uses it, ask the daemon: GET /api/v1/rules/NAME/plan shows the plan, \
     POST /api/v1/rules/NAME/run carries it out if the rule has mode = \"apply\"";

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
    plans: Vec<&'a RawValue>,
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

/// A rule's run, with its plans as they are printed, by repository.
struct Ran {
    report: CleanupReport,
    plans: Vec<Printed>,
}

/// What is printed of a plan: the plan itself is too large to be held.
enum Printed {
    Json {
        plan: Box<RawValue>,
        explanation: Option<Box<RawValue>>,
    },
    Text(Lines),
    /// The image that is asked for is not there; with its whole name, and a similar tag that is.
    Missing {
        image: String,
        similar: Option<Tag>,
    },
}

pub async fn run(global: &Global, args: Args) -> Result<Exit, CliError> {
    let asked = args.explain.map(asked).transpose()?;
    let config = if args.apply {
        session::config_to_apply(global, &args.rules)?
    } else {
        session::required_config(global)?
    };
    choose(&config.cleanup, &args.rules, asked.as_ref()).await?;
    let carrier = session::carrier(session::state(&config, BESIDE_DAEMON)?);
    let engine = session::engine(config, carrier, true)?;
    let rules = choose(&engine.config.cleanup, &args.rules, asked.as_ref()).await?;
    let mode = if args.apply { Mode::Apply } else { Mode::Plan };
    let history = match mode {
        Mode::Plan => None,
        Mode::Apply => Some(session::history(&engine.config)?),
    };
    let stop = StopSignal { soon: signals::stop_token(), ..StopSignal::default() };
    let wanted = Wanted { mode, asked: asked.as_ref(), stop: &stop, output: global.output };
    let mut ran = Vec::new();
    for rule in rules {
        ran.push(run_rule(&engine, history.as_ref(), rule, &wanted).await?);
    }
    if let Some(missing) = missing(&ran) {
        return Err(missing);
    }
    let exit = exit(&ran);
    let rules = ran.iter().map(document).collect();
    output::print(global, &Document { success: exit == Exit::Done, rules }, || {
        ran.iter().try_for_each(|one| print_rule(one, asked.as_ref(), global.quiet))
    })?;
    Ok(exit)
}

/// What is wanted of each rule.
struct Wanted<'a> {
    mode: Mode,
    asked: Option<&'a Asked>,
    stop: &'a StopSignal,
    output: Output,
}

/// One run, which is kept in the history if it deletes.
async fn run_rule(
    engine: &Engine,
    history: Option<&History>,
    rule: &CleanupRule,
    wanted: &Wanted<'_>,
) -> Result<Ran, CliError> {
    let Wanted { mode, asked, stop, output } = *wanted;
    let printed = Mutex::new(BTreeMap::<String, Vec<_>>::new());
    let watch = |plan: &Plan<'_>| {
        let text = print_plan(&rule.name, plan, asked, output);
        let repository = plan.snapshot.repository().to_owned();
        printed.lock().entry(repository).or_default().push(text);
    };
    let (begun, progress) = (session::begun(&rule.name), RunProgress::default());
    let run = Run { begun: &begun, history, flow: Flow::ALONE, stop, progress: &progress };
    let only = asked.map(|asked| &asked.address);
    let (report, _) = engine.clean(rule, run, CleanupOptions { mode, only, plan: &watch }).await;
    let plans = printed.into_inner().into_values().flatten().collect::<Result<_, _>>();
    Ok(Ran { report, plans: plans.map_err(failed("write JSON"))? })
}

fn print_plan(
    rule: &str,
    plan: &Plan<'_>,
    asked: Option<&Asked>,
    output: Output,
) -> serde_json::Result<Printed> {
    let explanation = asked.and_then(|asked| explain(plan, &asked.reference));
    if let (Some(asked), None, true) = (asked, &explanation, plan.refusals.is_empty()) {
        let image = format!("{}{}", plan.snapshot.repository(), asked.reference.suffix());
        return Ok(Printed::Missing { image, similar: similar(plan, &asked.reference) });
    }
    Ok(match (output, asked, explanation) {
        (Output::Json, _, explanation) => Printed::Json {
            plan: pretty(plan)?,
            explanation: explanation.as_ref().map(pretty).transpose()?,
        },
        (Output::Text, None, _) => Printed::Text(text::plan(rule, plan)),
        (Output::Text, Some(_), Some(explanation)) => {
            Printed::Text(text::explanation(rule, &explanation))
        }
        (Output::Text, Some(_), None) => Printed::Text(Lines::default()),
    })
}

/// The tag that may have been meant instead of one that is not there.
fn similar(plan: &Plan<'_>, reference: &Reference) -> Option<Tag> {
    let Reference::Tag(wanted) = reference else { return None };
    let tags = plan.snapshot.tags().iter().map(|row| &row.name);
    let likeness = |tag: &Tag| strsim::jaro_winkler(wanted.as_str(), tag.as_str());
    let best = tags.max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) > 0.8).then(|| best.clone())
}

/// That the image that is asked for is nowhere, if that was all that was found.
fn missing(ran: &[Ran]) -> Option<CliError> {
    let mut printed = ran.iter().flat_map(|one| &one.plans);
    if ran.iter().any(|one| one.report.is_failed()) {
        return None;
    }
    let Printed::Missing { image, similar } = printed.next()? else { return None };
    let meant = match similar {
        Some(tag) => format!(": did you mean `{tag}`?"),
        None => "; `tranship list-tags` shows what is".to_owned(),
    };
    Some(CliError::Failed(format!("failed to explain {image}: it is not there{meant}")))
}

/// With a line for each value: plans are compared line by line.
fn pretty(document: &impl Serialize) -> serde_json::Result<Box<RawValue>> {
    RawValue::from_string(serde_json::to_string_pretty(document)?)
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

/// The image that --explain names. A layout's path is the canonical one, as rules have it.
fn asked(image: ImageAddress) -> Result<Asked, CliError> {
    let usage = |message| Err(CliError::usage(message));
    let address = match image.repository {
        address @ Address::Registry(..) => address,
        Address::Layout(path) => Address::Layout(path.canonicalize().unwrap_or(path)),
        _ => return usage("--explain does not support archives"),
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
    let named = session::choose("cleanup", all, |rule| &rule.name, names)?;
    let Some(asked) = asked else { return Ok(named) };
    let mut chosen = Vec::new();
    for rule in named {
        if resolved(&rule.repositories).await.has(&asked.address) {
            chosen.push(rule);
        }
    }
    if chosen.is_empty() {
        let message = format!("none of these rules covers {}", asked.address);
        return Err(CliError::Usage(message));
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
