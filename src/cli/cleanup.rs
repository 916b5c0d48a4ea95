//! `tranship cleanup`: what the `[[cleanup]]` rules would delete now, and why.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::args::{Global, Output};
use super::exit::{CliError, Exit};
use super::report::print_failure;
use super::{output, session, signals};
use crate::cleanup::document::{Clock, StepLine};
use crate::cleanup::{self, Explanation, InUse, Plan, Refusal, Snapshot, explain, gather};
use crate::config::{CleanupRule, RegistryConfig};
use crate::oci::reference::{ImageReference, Location};
use crate::oci::{RegistryHost, RepositoryName, Tag};
use crate::registry::Registries;
use crate::repository::{Cause, Error, Reference};
use crate::state::State;
use crate::sync::Failure;

/// Say what the [[cleanup]] rules would delete now, and why
///
/// Only plans: nothing is ever deleted by this command yet, whatever a rule's `mode` says, and the
/// daemon does not run [[cleanup]] rules yet. Registries are only read. Manifests are read once and
/// remembered in the state, with the time when they were first seen.
///
/// The exit code is 0 if every plan could be carried out; 1 if something could not be read, so that
/// nothing was decided; 3 if a plan exceeds the rule's `max_delete`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tranship cleanup                        every [[cleanup]] rule of tranship.toml
  tranship cleanup --rule apps --output json > plan.json
  tranship cleanup --explain registry.example.com/acme/app:pr-17")]
pub struct Args {
    /// Only this rule; may be given several times
    #[arg(long = "rule", value_name = "NAME")]
    rules: Vec<String>,
    /// Say of one image, HOST/REPOSITORY:TAG or HOST/REPOSITORY@DIGEST, which line of a rule
    /// decides
    #[arg(long, value_name = "REF")]
    explain: Option<Location>,
}

/// The document that `--output json` prints.
#[derive(Serialize)]
struct Report<'a> {
    success: bool,
    rules: Vec<RulePlans<'a>>,
}

/// What one rule would delete.
#[derive(Serialize)]
struct RulePlans<'a> {
    rule: &'a str,
    plans: Vec<Plan<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<Explanation<'a>>,
    failures: &'a [Failure],
}

/// What a rule is about, as it is now.
struct Gathered<'a> {
    rule: &'a CleanupRule,
    snapshots: Vec<Snapshot>,
    failures: Vec<Failure>,
}

/// One image, about which the rules are asked.
struct Asked {
    image: ImageReference,
    reference: Reference,
}

pub async fn run(global: &Global, args: Args) -> Result<Exit, CliError> {
    let asked = args.explain.map(asked).transpose()?;
    let config = session::required_config(global)?;
    let rules = choose(&config.cleanup, &args.rules, asked.as_ref())?;
    let state = State::open(&config.daemon.state)?;
    let registries = session::registries(config.registries.clone(), RegistryConfig::default());
    // The state keeps whole seconds, so the first plan is told no more than the second.
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
    let gathered = signals::unless_stopped(async {
        let mut gathered = Vec::new();
        for rule in rules {
            gathered.push(gather_rule(rule, &registries, &state, now, asked.as_ref()).await);
        }
        Ok(gathered)
    })
    .await;
    state.flush().await;
    let gathered = gathered?;
    // Nothing tells yet what is in use.
    let in_use = InUse::default();
    let reports: Vec<RulePlans<'_>> =
        gathered.iter().map(|gathered| decide(gathered, &in_use, now, asked.as_ref())).collect();
    let exit = exit(&reports);
    match global.output {
        Output::Json => {
            output::print_json(&Report { success: exit == Exit::Done, rules: reports })?;
        }
        Output::Text => {
            for report in &reports {
                print_rule(report, asked.as_ref(), global.quiet)?;
            }
        }
    }
    Ok(exit)
}

fn asked(location: Location) -> Result<Asked, CliError> {
    let usage = |message: &str| Err(CliError::Usage(message.to_owned()));
    let Location::Registry(image) = location else {
        return usage("--explain is about registries: [[cleanup]] rules are about nothing else");
    };
    let reference = match (&image.tag, &image.digest) {
        (Some(tag), None) => Reference::Tag(tag.clone()),
        (None, Some(digest)) => Reference::Digest(digest.clone()),
        (Some(_), Some(_)) => return usage("--explain takes a tag or a digest, not both"),
        (None, None) => return usage("--explain needs a tag or a digest"),
    };
    Ok(Asked { image, reference })
}

/// The rules with these names, or all of them; of those, the ones that are about the image.
fn choose<'a>(
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
    let about = |rule: &&CleanupRule| {
        asked.is_none_or(|asked| {
            rule.repositories.matches(&asked.image.registry, &asked.image.repository)
        })
    };
    let chosen: Vec<&CleanupRule> = named.filter(about).collect();
    match asked {
        Some(asked) if chosen.is_empty() => Err(CliError::Usage(format!(
            "none of these rules is about {}/{}",
            asked.image.registry, asked.image.repository
        ))),
        _ => Ok(chosen),
    }
}

async fn gather_rule<'a>(
    rule: &'a CleanupRule,
    registries: &Registries,
    state: &State,
    now: Timestamp,
    asked: Option<&Asked>,
) -> Gathered<'a> {
    let selected = match asked {
        Some(Asked { image, .. }) => cleanup::Selected {
            repositories: BTreeMap::from([(
                cleanup::Place::Registry(image.registry.clone(), image.repository.clone()),
                true,
            )]),
            failures: Vec::new(),
        },
        None => cleanup::repositories(rule, registries).await,
    };
    let mut failures: Vec<Failure> = selected.failures.iter().map(Failure::of).collect();
    let mut snapshots = Vec::new();
    for (place, expected) in selected.repositories {
        let (host, name) = match place {
            cleanup::Place::Registry(host, name) => (host, name),
            cleanup::Place::Layout(folder) => {
                let why = Cause::Unsupported("layouts are not cleaned up yet".to_owned());
                let error = Error::new("clean up", format!("oci:{}", folder.display()), why);
                failures.push(Failure::of(&error));
                continue;
            }
        };
        match gather_one(registries, &host, &name, state, now).await {
            Ok(Some(snapshot)) => snapshots.push(snapshot),
            Ok(None) if expected => {
                let missing = Error::new("list tags of", format!("{host}/{name}"), Cause::Missing);
                failures.push(Failure::of(&missing));
            }
            Ok(None) => {}
            Err(error) => failures.push(Failure::of(&error)),
        }
    }
    Gathered { rule, snapshots, failures }
}

async fn gather_one(
    registries: &Registries,
    host: &RegistryHost,
    name: &RepositoryName,
    state: &State,
    now: Timestamp,
) -> Result<Option<Snapshot>, Error> {
    let repository = registries.open(host)?.repository(name.clone(), false);
    Ok(gather(repository.as_ref(), cleanup::REGISTRY, state, now).await)
}

fn decide<'a>(
    gathered: &'a Gathered<'_>,
    in_use: &'a InUse,
    now: Timestamp,
    asked: Option<&Asked>,
) -> RulePlans<'a> {
    let policy = &gathered.rule.policy;
    let plans: Vec<Plan<'a>> = gathered
        .snapshots
        .iter()
        .map(|snapshot| cleanup::plan(snapshot, policy, in_use, now))
        .collect();
    let explanation =
        asked.and_then(|asked| plans.first().and_then(|plan| explain(plan, &asked.reference)));
    let (rule, failures) = (gathered.rule.name.as_str(), gathered.failures.as_slice());
    RulePlans { rule, plans, explanation, failures }
}

/// What could not be looked at weighs more than what is too much.
fn exit(reports: &[RulePlans<'_>]) -> Exit {
    let limit = |refusal: &&Refusal| matches!(refusal, Refusal::TooMany { .. });
    let refusals = || reports.iter().flat_map(|rule| &rule.plans).flat_map(|plan| &plan.refusals);
    if reports.iter().any(|rule| !rule.failures.is_empty())
        || refusals().any(|refusal| !limit(&refusal))
    {
        return Exit::Failed;
    }
    if refusals().next().is_some() { Exit::Refused } else { Exit::Done }
}

fn print_rule(report: &RulePlans<'_>, asked: Option<&Asked>, quiet: bool) -> Result<(), CliError> {
    for failure in report.failures {
        eprintln!("FAILED rule {}", report.rule);
        print_failure(failure);
    }
    for plan in &report.plans {
        print_refusals(report.rule, plan);
    }
    if quiet {
        return Ok(());
    }
    match (asked, &report.explanation) {
        (None, _) => {
            report.plans.iter().try_for_each(|plan| output::print_text(&text(report.rule, plan)))
        }
        (Some(_), Some(explanation)) => {
            output::print_text(&explanation_text(report.rule, explanation))
        }
        (Some(asked), None) => {
            for plan in report.plans.iter().filter(|plan| plan.refusals.is_empty()) {
                let name = plan.snapshot.repository();
                let suffix = asked.reference.suffix();
                eprintln!("{}: {name}{suffix} is not there", report.rule);
            }
            Ok(())
        }
    }
}

/// So many reasons are told to people; the JSON has them all.
const MAX_REASONS: usize = 5;

fn print_refusals(rule: &str, plan: &Plan<'_>) {
    if plan.refusals.is_empty() {
        return;
    }
    eprintln!("REFUSED {rule}: nothing of {} may be deleted", plan.snapshot.repository());
    for refusal in plan.refusals.iter().take(MAX_REASONS) {
        eprintln!("  {refusal}");
    }
    if plan.refusals.len() > MAX_REASONS {
        eprintln!("  and {} more", plan.refusals.len() - MAX_REASONS);
    }
}

/// A plan as people read it: what would go and why, what stays and why.
fn text(rule: &str, plan: &Plan<'_>) -> String {
    let Some(totals) = plan.totals() else { return String::new() };
    let mut text = format!(
        "{rule}: {}: {} of {} tags and {} of {} manifests would go, which frees {}\n",
        plan.snapshot.repository(),
        totals.tags_deleted,
        totals.tags,
        totals.manifests_deleted,
        totals.manifests,
        output::bytes(plan.bytes())
    );
    if !plan.steps.is_empty() {
        let heads = ["  WOULD GO", "DIGEST", "WHY", "SINCE", "FREES"];
        text.push_str(&output::table(heads, plan.step_lines().map(|step| row(&step))));
    }
    let mut stay: BTreeMap<String, usize> = BTreeMap::new();
    for line in plan.tag_lines().filter(|line| line.action == "keep") {
        let why = match (line.kept_by, line.condemned_by) {
            (Some(keep), _) => format!("kept by `{keep}`"),
            (None, Some(delete)) => {
                format!("selected by `{delete}`, but {}", line.blockers.join(", "))
            }
            (None, None) => "selected by no line".to_owned(),
        };
        *stay.entry(why).or_default() += 1;
    }
    for (why, count) in stay {
        text.push_str(&format!("  {count} tags stay: {why}\n"));
    }
    text
}

fn row(step: &StepLine<'_>) -> [String; 5] {
    let what = match step.tag {
        Some(tag) => format!("{tag} (only the tag)"),
        None if step.tags.is_empty() => "(no tag)".to_owned(),
        None => list(&step.tags),
    };
    let why = match (step.rule, step.with) {
        (Some(rule), _) => rule.to_owned(),
        (None, Some(owner)) => format!("with {}", short(owner)),
        (None, None) => String::new(),
    };
    let since = clock(&step.clock);
    [format!("  {what}"), short(step.digest), why, since, output::bytes(step.bytes_freed)]
}

fn list(tags: &[&Tag]) -> String {
    tags.iter().map(|tag| tag.as_str()).collect::<Vec<_>>().join(", ")
}

/// Enough of a digest to tell it from the others.
fn short(digest: &crate::oci::Digest) -> String {
    let mut hex = digest.hex();
    hex.truncate(12);
    format!("{}:{hex}", digest.algorithm())
}

fn clock(clock: &Clock) -> String {
    match (clock.time, clock.impossible) {
        (Some(time), _) => time.to_string(),
        (None, Some(impossible)) => format!("unknown ({impossible} cannot be)"),
        (None, None) => "unknown".to_owned(),
    }
}

fn explanation_text(rule: &str, explanation: &Explanation<'_>) -> String {
    let name = match explanation.tag {
        Some(tag) => format!("{tag} ({})", explanation.digest),
        None => explanation.digest.to_string(),
    };
    let mut text = format!("{rule}: {name}: {}\n", explanation.action);
    let source = explanation.clock.source.map(|source| format!(", by `{source}`"));
    text.push_str(&format!(
        "  since: {}{}\n",
        clock(&explanation.clock),
        source.unwrap_or_default()
    ));
    for answer in &explanation.rules {
        let verb = if answer.keeps { "keep" } else { "delete" };
        let mut line = format!("  {verb} `{}`: ", answer.rule);
        line.push_str(match (answer.holds, answer.selects) {
            (true, _) => "yes",
            (false, true) => "selected, but not all of its conditions hold",
            (false, false) => "not selected",
        });
        if let Some(newer) = answer.newer {
            line.push_str(&format!("; {newer} images of its group are newer"));
        }
        if let Some(time) = answer.not_before {
            line.push_str(&format!("; old enough from {time} on"));
        }
        text.push_str(&format!("{line}\n"));
    }
    for (title, items) in [("in the way", &explanation.blockers), ("in use", &explanation.in_use)] {
        if !items.is_empty() {
            text.push_str(&format!("  {title}: {}\n", items.join(", ")));
        }
    }
    if !explanation.tags.is_empty() {
        text.push_str(&format!("  tags: {}\n", list(&explanation.tags)));
    }
    for owner in &explanation.owners {
        text.push_str(&format!("  belongs to: {owner}\n"));
    }
    text
}
