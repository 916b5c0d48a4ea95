//! `tranship restore`: brings back what `cleanup` deleted.

use jiff::Timestamp;
use serde::Serialize;

use super::args::Global;
use super::exit::{CliError, Exit, failed};
use super::lines::tell_line;
use super::report::print_failure;
use super::{output, session, signals};
use crate::cleanup::restore::{self, Restored, Restorer, Wanted, choose};
use crate::config::RegistryConfig;
use crate::history::{Cause, RunId};
use crate::oci::{Address, Digest, ImageAddress, Tag};
use crate::removal::audit::Intent;
use crate::removal::{Actor, Audit};
use crate::repository::Reference;
use crate::stores::Stores;

/// Restore images that a cleanup deleted, from the quarantine
///
/// Without an image and without --run, lists what can be restored. Images are restored with their
/// digests, tags, children and referrers. A tag that points at another image by now is not changed,
/// unless --overwrite is given.
///
/// To restore, stop the daemon first. A restored image counts as first seen now, so its age starts
/// again for cleanup rules.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tranship restore                                        list what can be restored
  tranship restore registry.example.com/acme/app:pr-17    one image
  tranship restore registry.example.com/acme/app          everything of a repository
  tranship restore --run 20261121T030000Z-0a1b2c          everything that a run deleted")]
pub struct Args {
    /// Image or repository to restore: HOST/REPOSITORY[:TAG|@DIGEST] or oci:DIR[:TAG]
    #[arg(value_name = "REF")]
    images: Vec<ImageAddress>,
    /// Restore only what this run deleted
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
    /// Restore only what this rule deleted
    #[arg(long, value_name = "NAME")]
    rule: Option<String>,
    /// Also restore tags that point at another image by now
    #[arg(long)]
    overwrite: bool,
    /// Show what would be restored, without changing anything
    #[arg(long)]
    dry_run: bool,
}

/// The document that `--output json` prints of what can be brought back.
#[derive(Serialize)]
struct List<'a> {
    restorable: &'a [Intent],
}

/// And of what was.
#[derive(Serialize)]
struct Document<'a> {
    success: bool,
    restored: &'a [Restored],
}

pub async fn run(global: &Global, args: Args) -> Result<Exit, CliError> {
    let wants_all = args.images.is_empty() && args.run.is_none();
    let wanted = Wanted {
        images: args.images.into_iter().map(image).collect::<Result<_, _>>()?,
        run: args.run,
        rule: args.rule,
    };
    let config = session::required_config(global)?;
    let now = Timestamp::now();
    let failed = failed("read the audit");
    let deleted = restore::deleted(&config.daemon.state, now).map_err(&failed)?;
    let chosen = choose(&deleted.restorable, &wanted);
    if wants_all || args.dry_run {
        list(global, &chosen)?;
        return Ok(Exit::Done);
    }
    if chosen.is_empty() {
        if let Some(one) = choose(&deleted.restored, &wanted).first() {
            return Err(CliError::Failed(format!(
                "nothing is left to restore: {} was restored already",
                name(&one.repository, &one.tags, &one.digest)
            )));
        }
        return Err(CliError::Hinted {
            exit: Exit::Failed,
            message: "nothing of that can be restored".to_owned(),
            hint: "`tranship restore` lists what can: only what a rule with a `quarantine` deleted, until it expires",
        });
    }
    let state = session::state(&config, "if the daemon uses it, stop the daemon to restore")?;
    let audit = Audit::open(&config.daemon.state, now).map_err(&failed)?;
    let registries = session::registries(config.registries, RegistryConfig::default());
    let carrier = session::carrier(state.clone());
    let run = RunId::new(now, fastrand::u32(..));
    let restorer = Restorer {
        stores: &Stores::new(registries),
        carrier: &carrier,
        audit: &audit,
        actor: &Actor::of_process(run.as_str(), Cause::Command.to_string()),
        overwrite: args.overwrite,
    };
    let restored = signals::unless_stopped(async { Ok(restorer.run(chosen).await) }).await;
    state.storage.flush().await;
    let restored = restored?;
    let success = restored.iter().all(Restored::is_complete);
    let document = Document { success, restored: &restored };
    output::print(global, &document, || print(&restored, global.quiet))?;
    Ok(if success { Exit::Done } else { Exit::Failed })
}

/// A repository as the audit names it, and what in it.
fn image(image: ImageAddress) -> Result<(String, Option<Reference>), CliError> {
    let repository = match image.repository {
        // Rules have canonical paths, and so does the audit.
        Address::Layout(path) => Address::Layout(path.canonicalize().unwrap_or(path)),
        Address::Archive(_) => {
            return Err(CliError::usage("nothing is ever deleted from an archive"));
        }
        other => other,
    };
    let reference = image.digest.map(Reference::Digest).or(image.tag.map(Reference::Tag));
    Ok((repository.to_string(), reference))
}

fn list(global: &Global, intents: &[Intent]) -> Result<(), CliError> {
    let heads = ["DELETED", "RUN", "REPOSITORY", "TAGS", "DIGEST", "UNTIL"];
    let rows = intents.iter().map(|intent| {
        let until = intent.quarantine.as_ref().map(|kept| kept.until.to_string());
        [
            intent.at.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
            intent.actor.run.clone(),
            intent.repository.clone(),
            output::tags(&intent.tags),
            output::short(&intent.digest),
            until.unwrap_or_default(),
        ]
    });
    let document = List { restorable: intents };
    output::print(global, &document, || output::print_lines(&output::table(heads, rows)))
}

/// An image with all its tags.
fn name(repository: &str, tags: &[Tag], digest: &Digest) -> String {
    match tags {
        [] => format!("{repository}@{digest}"),
        tags => format!("{repository}: {} ({})", output::tags(tags), output::short(digest)),
    }
}

fn print(restored: &[Restored], quiet: bool) -> Result<(), CliError> {
    for one in restored {
        let name = name(&one.repository, &one.tags, &one.digest);
        match &one.failure {
            Some(failure) => {
                tell_line(format!("FAILED {name}"));
                print_failure(failure);
            }
            None if quiet => {}
            None => output::print_line(format!("restored {name}"))?,
        }
        for failure in &one.left_alone {
            print_failure(failure);
        }
    }
    Ok(())
}
