//! `tranship restore`: brings back what `cleanup` deleted.

use jiff::Timestamp;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::args::Global;
use super::ask::Daemon;
use super::exit::{CliError, Exit, failed};
use super::lines::tell_line;
use super::report::print_failure;
use super::session::Keeper;
use super::{output, session, signals};
use crate::cleanup::restore::{self, Restored, Wanted, choose};
use crate::daemon::news::RestoreNews;
use crate::daemon::{AskedBy, RestoreRequest};
use crate::history::{Cause, RunId};
use crate::oci::{Digest, ImageAddress, Tag};
use crate::removal::Actor;
use crate::removal::audit::{Intent, folder};
use crate::repository::Reference;
use crate::run::Engine;
use crate::text::counted;

/// Restore images that a cleanup deleted, from the quarantine
///
/// Without an image and without --run, lists what can be restored. Images are restored with their
/// digests, tags, children and referrers. A tag that now points at another image is not changed,
/// unless --overwrite is given.
///
/// If the daemon of the same configuration runs, it restores the images, which needs its `token`. For
/// cleanup rules, a restored image is no older than its restoration.
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
    /// Also restore tags that now point at another image
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
    let mut wanted = Wanted { images: Vec::new(), run: args.run, rule: args.rule };
    for image in args.images {
        wanted.add(image).map_err(CliError::usage)?;
    }
    let config = session::required_config(global)?;
    let now = Timestamp::now();
    let failed = failed("read the audit");
    let deleted = restore::deleted(&folder(&config.daemon.state), now, &wanted).map_err(&failed)?;
    let chosen = choose(&deleted.restorable, &wanted);
    if wanted.is_everything() || args.dry_run {
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
    let restored = match session::keeper(&config, &[]).await? {
        Keeper::Daemon(daemon) => {
            let daemon = daemon.with_token().await?;
            signals::unless_stopped(by_daemon(&daemon, wanted, args.overwrite)).await?
        }
        Keeper::This(config, state) => {
            let engine = session::engine(config.clone(), session::carrier(state.clone()), true)?;
            let restored =
                signals::unless_stopped(here(&engine, now, chosen, args.overwrite)).await;
            state.storage.flush().await;
            restored?
        }
    };
    let success = restored.iter().all(Restored::is_complete);
    let document = Document { success, restored: &restored };
    output::print(global, &document, || print(&restored, global.quiet))?;
    Ok(if success { Exit::Done } else { Exit::Failed })
}

/// Restores images with the state of this process.
async fn here(
    engine: &Engine,
    now: Timestamp,
    chosen: Vec<Intent>,
    overwrite: bool,
) -> Result<Vec<Restored>, CliError> {
    let run = RunId::new(now, fastrand::u32(..));
    let actor = Actor::of_process(run.as_str(), Cause::Command.to_string());
    let mut restored = Vec::new();
    // The engine was made with an audit.
    if let Some(restorer) = engine.restorer(&actor, overwrite) {
        let each = &mut |one| restored.push(one);
        restorer.run(chosen, &CancellationToken::new(), each).await;
    }
    Ok(restored)
}

/// Has the daemon restore images. It stops between two of them when this ends before.
async fn by_daemon(
    daemon: &Daemon,
    wanted: Wanted,
    overwrite: bool,
) -> Result<Vec<Restored>, CliError> {
    let Wanted { images, run, rule } = wanted;
    let name = |(repository, reference): (String, Option<Reference>)| {
        format!("{repository}{}", reference.as_ref().map(Reference::suffix).unwrap_or_default())
    };
    let images = images.into_iter().map(name).collect();
    let request = RestoreRequest { images, run, rule, overwrite, cause: AskedBy::Command };
    let mut answer = daemon.restore_lines(&request).await?;
    let mut restored = Vec::new();
    while let Some(news) = answer.next::<RestoreNews>().await? {
        match news {
            RestoreNews::Restored(one) => restored.push(*one),
            RestoreNews::End { interrupted: false } => return Ok(restored),
            RestoreNews::End { interrupted: true } => break,
        }
    }
    Err(CliError::Failed(format!(
        "the daemon stopped after {}: run this again for the rest",
        counted(restored.len(), "image", "images")
    )))
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
