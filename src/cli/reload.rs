//! `tranship reload`: the daemon loads its configuration anew.

use serde::Serialize;

use super::args::Global;
use super::ask::Daemon;
use super::exit::{CliError, Exit};
use super::lines::Lines;
use super::{output, session};
use crate::daemon::view::ConfigStatus;
use crate::text::counted;

/// Have the daemon reload its configuration
///
/// The daemon reloads by itself when the file changes; this also reads all secrets again, and says
/// what changed. If the file or a secret is not accepted, the configuration in use stays. Runs in
/// progress end with the configuration that they began with. Needs the daemon's `token`.
///
/// Exit codes: 0 the configuration is in use; 1 the daemon does not answer; 2 the file is not
/// accepted, and the mistakes are printed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tranship reload
  tranship config check && tranship reload")]
pub struct Args {}

/// The document that `--output json` prints.
#[derive(Serialize)]
struct Document {
    rules: usize,
    config: ConfigStatus,
}

pub async fn run(global: &Global, _: Args) -> Result<Exit, CliError> {
    let asked = session::config_to_ask(global)?;
    let daemon = Daemon::required(&asked.daemon).await?.with_token().await?;
    let status = daemon.reload().await?.map_err(CliError::Rejected)?;
    let document = Document { rules: status.rules, config: status.config };
    output::print(global, &document, || output::print_lines(&text(&document)))?;
    Ok(Exit::Done)
}

fn text(document: &Document) -> Lines {
    let ConfigStatus { file, loaded, changed, changes, .. } = &document.config;
    let what = match changed {
        // The daemon may have noticed the change before it was told to.
        Some(changed) if changed != loaded => format!("the last change is of {changed:.0}:"),
        Some(_) => "changes:".to_owned(),
        None => "nothing has changed since the daemon started".to_owned(),
    };
    let rules = counted(document.rules, "rule", "rules");
    let mut lines = Lines::one(format!("loaded {file} with {rules}; {what}"));
    changes.iter().for_each(|line| lines.line(format!("  {line}")));
    lines
}
