//! `tranship cancel`: runs of the daemon are stopped.

use serde::Serialize;

use super::args::Global;
use super::ask::Daemon;
use super::exit::{CliError, Exit, failed};
use super::{output, session};
use crate::config::did_you_mean;
use crate::history::{RunId, RunOutcome};

/// Stop runs of the daemon, or remove them from its queue
///
/// What a run has copied or deleted stays so. A deletion in progress is finished. The rule runs
/// again at its next time. Needs the daemon's `token`.
///
/// Exit codes: 0 the runs stop; 1 a run has ended already, or the rule has no run; 2 there is no such
/// run or rule.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tranship cancel base-images                      all runs of a rule
  tranship cancel 20261121T030000Z-0a1b2c          one run; `tranship status` lists them")]
pub struct Args {
    /// Ids of runs, or names of rules, of which all runs are stopped
    #[arg(value_name = "RUN|RULE", required = true)]
    runs: Vec<String>,
}

/// The document that `--output json` prints.
#[derive(Serialize)]
struct Document {
    cancelled: Vec<RunId>,
}

pub async fn run(global: &Global, args: Args) -> Result<Exit, CliError> {
    let asked = session::config_to_ask(global)?;
    let daemon = Daemon::required(&asked.daemon).await?.with_token().await?;
    let rules = daemon.rules().await?;
    let names: Vec<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
    let (mut cancelled, mut error) = (Vec::new(), None);
    for wanted in &args.runs {
        match cancel(&daemon, &names, wanted).await {
            Ok(runs) => cancelled.extend(runs),
            // The others are stopped all the same.
            Err(why) => _ = error.get_or_insert(why),
        }
    }
    output::print(global, &Document { cancelled: cancelled.clone() }, || {
        cancelled.iter().try_for_each(|run| output::print_line(format!("run {run} stops")))
    })?;
    error.map_or(Ok(Exit::Done), Err)
}

/// The runs that stop: one, or all of a rule.
async fn cancel(daemon: &Daemon, rules: &[&str], wanted: &str) -> Result<Vec<RunId>, CliError> {
    let runs = if rules.contains(&wanted) {
        daemon.cancel_rule(wanted).await?
    } else if let Ok(run) = wanted.parse::<RunId>() {
        return one(daemon, run).await;
    } else {
        // It may have been removed from the configuration while it runs.
        let runs = daemon.cancel_rule(wanted).await?;
        if runs.is_empty() {
            return Err(CliError::Usage(format!(
                "there is no run and no rule `{wanted}`{}",
                did_you_mean(wanted, rules)
            )));
        }
        runs
    };
    if runs.is_empty() {
        return Err(CliError::Failed(format!(
            "no run of rule `{wanted}` is in progress or queued"
        )));
    }
    Ok(runs)
}

async fn one(daemon: &Daemon, run: RunId) -> Result<Vec<RunId>, CliError> {
    if daemon.cancel(&run).await? {
        return Ok(vec![run]);
    }
    let Some(detail) = daemon.run(&run).await? else {
        return Err(CliError::Usage(format!("there is no run {run}")));
    };
    let record = detail.run;
    Err(match (record.outcome, record.finished) {
        (RunOutcome::Running, _) | (_, None) => failed(format!("cancel run {run}"))("it is ending"),
        (outcome, Some(finished)) => CliError::Failed(format!(
            "run {run} of rule `{}` has ended already: {outcome} at {finished:.0}",
            record.rule
        )),
    })
}
