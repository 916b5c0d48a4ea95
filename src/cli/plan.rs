//! `tranship plan`: what rules of both kinds would do now.

use std::sync::Arc;

use serde::Serialize;

use super::args::Global;
use super::ask::{Daemon, Found};
use super::both::Both;
use super::cleanup_printed;
use super::cleanup_progress::Live;
use super::exit::{CliError, Exit};
use super::pick::Picked;
use super::session::Keeper;
use super::{cleanup, output, session, signals, sync};
use crate::config::cleanup::Mode;
use crate::config::{self, RuleKind};
use crate::stop::StopSignal;
use crate::sync::{Mode as SyncMode, RuleReport};

/// Show what rules would do now, without changing anything
///
/// Prints what `tranship sync --dry-run` prints of [[sync]] rules, and what `tranship cleanup` prints
/// of [[cleanup]] rules, of both together. If the daemon of the same configuration runs, it makes the
/// plans.
///
/// Exit codes: 0 all plans were made; 1 something could not be read; 3 a plan exceeds `max_delete`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tranship plan                       all rules of tranship.toml
  tranship plan base-images old-builds
  tranship plan base-images -v        also list images that stay deleted, and tags that stay
  tranship plan base-images --recheck --output json")]
pub struct Args {
    /// Names of [[sync]] and [[cleanup]] rules [default: all]
    #[arg(value_name = "RULE")]
    rules: Vec<String>,
    /// Ask the targets of [[sync]] rules about every image, also where the state knows the answer
    #[arg(long)]
    recheck: bool,
}

/// The document that `--output json` prints.
#[derive(Serialize)]
struct Document<'a> {
    success: bool,
    sync: Vec<&'a RuleReport>,
    cleanup: Vec<cleanup::RuleDocument<'a>>,
}

pub async fn run(global: &Global, args: Args) -> Result<Exit, CliError> {
    let asked = session::config_to_ask(global)?;
    let Some(config) = &asked.config else {
        return by_daemon(global, &asked.daemon, &args).await;
    };
    session::warn(config);
    let sync = config.sync.iter().map(|rule| (rule.name.as_str(), RuleKind::Sync));
    let cleanup = config.cleanup.iter().map(|rule| (rule.name.as_str(), RuleKind::Cleanup));
    let picked = picked(sync.chain(cleanup), &args, "the configuration has")?;
    let (sync, cleanup) = picked.names();
    let keeper = session::keeper(config, &[sync, cleanup].concat()).await?;
    print(global, &keeper, &picked, args.recheck).await
}

/// The file has mistakes: the daemon knows the rules that are in use.
async fn by_daemon(
    global: &Global,
    settings: &config::Daemon,
    args: &Args,
) -> Result<Exit, CliError> {
    let daemon = match Daemon::find(settings).await? {
        Found::Daemon(daemon) => daemon,
        Found::Nobody(why) => return Err(session::rules_unknown(why)),
    };
    let known = daemon.rules().await?;
    let known = known.iter().map(|rule| (rule.name.as_str(), rule.kind));
    let picked = picked(known, args, "the daemon has")?;
    print(global, &Keeper::Daemon(daemon), &picked, args.recheck).await
}

/// The rules that are asked for, or all of those that `who` has.
fn picked<'a>(
    known: impl IntoIterator<Item = (&'a str, RuleKind)>,
    args: &Args,
    who: &str,
) -> Result<Picked, CliError> {
    let picked = Picked::of(known, &args.rules, who)?;
    if !args.rules.is_empty() {
        picked.check_recheck(args.recheck)?;
    }
    Ok(picked)
}

/// Makes plans and prints them.
pub async fn print(
    global: &Global,
    keeper: &Keeper<'_>,
    picked: &Picked,
    recheck: bool,
) -> Result<Exit, CliError> {
    let signal = signals::Stop::on_signal();
    let stop = StopSignal::at_once(signal.token.clone());
    let syncing = sync::Wanted { mode: SyncMode::DryRun, recheck, stop: &stop };
    let (mode, output) = (Mode::Plan, global.output);
    let live = Arc::<Live>::default();
    let cleaning = cleanup_printed::Wanted {
        mode,
        asked: None,
        stop: &stop,
        output,
        listed: false,
        live: &live,
    };
    // There is one place for it.
    let shown = Some(global).filter(|_| picked.sync.is_empty());
    let (sync_rules, cleanup_rules) = picked.names();
    let (synced, cleaned) = tokio::join!(
        sync::carry_out(global, keeper, &sync_rules, &syncing),
        cleanup::carry_out(shown, keeper, &cleanup_rules, &cleaning),
    );
    let both = Both::of(synced, cleaned)?;
    let exit = both.exit(&signal);
    let document = Document {
        success: exit == Exit::Done && both.error.is_none(),
        sync: both.synced.iter().map(|one| &one.report).collect(),
        cleanup: cleanup::documents(&both.cleaned),
    };
    output::print(global, &document, || both.print(&signal, global))?;
    both.error.map_or(Ok(exit), Err)
}
