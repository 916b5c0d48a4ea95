//! `tranship status`: rules, runs and transfers of the daemon.

use jiff::Timestamp;

use super::args::{Global, Output};
use super::ask::{Daemon, Found};
use super::exit::{CliError, Exit};
use super::status_report::{of_daemon, of_state};
use super::{output, session, status_text, watch};

/// Show rules, runs and transfers of the daemon
///
/// Shows each rule with its schedule, last run and next run; the runs in progress; and the images
/// being transferred. Asks the daemon at the address in `listen`. If no daemon runs, shows
/// what the state directory contains.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tranship status
  tranship status --watch                       update until Ctrl-C
  tranship status --output json | jq '.rules[] | select(.consecutive_failures > 0) | .name'")]
pub struct Args {
    /// Update continuously, with progress bars on a terminal
    #[arg(long)]
    watch: bool,
}

pub async fn run(global: &Global, args: Args) -> Result<Exit, CliError> {
    let asked = session::config_to_ask(global)?;
    if args.watch {
        if global.output == Output::Json {
            let message = "--watch is for people: ask again for another JSON document";
            return Err(CliError::usage(message));
        }
        return watch::run(&asked.daemon).await;
    }
    let report = match (Daemon::find(&asked.daemon).await?, &asked.config) {
        (Found::Daemon(daemon), _) => of_daemon(&daemon).await?,
        (Found::Nobody(why), Some(config)) => of_state(config, why)?,
        (Found::Nobody(why), None) => return Err(session::rules_unknown(why)),
    };
    output::print(global, &report, || {
        output::print_lines(&status_text::text(&report, Timestamp::now()))
    })?;
    Ok(Exit::Done)
}
