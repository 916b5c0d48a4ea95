//! `tranship delete`: a tag, or a manifest with all its tags.

use super::args::{Global, Reach};
use super::exit::{CliError, Exit};
use super::lines::tell_line;
use super::skopeo::{Reaching, Retries, ThisRegistry};
use super::{output, signals};
use crate::delete::{self, Action, Deletion, What};
use crate::fair::Flow;
use crate::oci::{Address, ImageAddress};
use crate::repository::{Error, ErrorKind};
use crate::stores::Access;

/// Delete a tag, or a manifest with all its tags
///
/// REPOSITORY:TAG deletes only the tag; its manifest and other tags stay. If the registry can
/// delete only whole manifests, the manifest is deleted if it has no other tag and is not a part of
/// another image. Otherwise the deletion is refused; --with-siblings deletes the manifest with all
/// its tags.
///
/// REPOSITORY@DIGEST deletes the manifest with all its tags. REPOSITORY:TAG@DIGEST deletes the tag
/// only if it points at that digest.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tranship delete --dry-run registry.example.com/app:pr-17
  tranship delete registry.example.com/app:pr-17
  tranship delete localhost:5000/app@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
  tranship delete --with-siblings registry.example.com/app:1.0")]
pub struct Args {
    /// What to delete: HOST/REPOSITORY:TAG, HOST/REPOSITORY@DIGEST or oci:DIR:TAG
    reference: ImageAddress,
    /// Delete the manifest of the tag, with all its other tags
    #[arg(long)]
    with_siblings: bool,
    /// Show what would be deleted, without changing anything
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    registry: ThisRegistry,
    #[command(flatten)]
    retries: Retries,
}

pub async fn run(global: &Global, args: Args) -> Result<Exit, CliError> {
    if matches!(args.reference.repository, Address::Archive(_)) {
        let message = "nothing can be deleted from an archive: copy what should stay to a new one";
        return Err(CliError::usage(message));
    }
    let asked_for_tag = !args.with_siblings && args.reference.tag.is_some();
    let reaching = Reaching { global, reach: &args.reach, retries: &args.retries };
    let deletion = signals::unless_stopped(async {
        let stores = reaching.image(args.registry, &args.reference).await?;
        let source = stores.open_image(&args.reference, Flow::ALONE, Access::Read).await?;
        let digest = source.digest().cloned();
        let what = match (source.tag().cloned(), digest) {
            (Some(tag), digest) if args.with_siblings => What::WithSiblings { tag, digest },
            (Some(tag), digest) => What::Tag { tag, digest },
            (None, Some(digest)) => What::Digest(digest),
            (None, None) => {
                let message = format!(
                    "`{}` names a whole repository: name a tag or a digest in it",
                    args.reference
                );
                return Err(CliError::Usage(message));
            }
        };
        let deleted = delete::run(&**source.repository(), &what, args.dry_run).await;
        deleted.map_err(|error| explain(error, &what))
    })
    .await?;
    output::print(global, &deletion, || print_report(&deletion, asked_for_tag, global.quiet))?;
    Ok(if deletion.action == Action::Refused { Exit::Refused } else { Exit::Done })
}

/// Registries that have deletion switched off and those that delete by digest only may answer
/// the same when a tag is to be deleted.
fn explain(error: Error, what: &What) -> CliError {
    match (what, error.kind()) {
        (What::Tag { .. }, ErrorKind::Unsupported) => CliError::Hinted {
            exit: Exit::Failed,
            message: error.to_string(),
            hint: "the registry has deletion switched off, or deletes by digest only: then --with-siblings deletes the manifest with every tag it has (--dry-run lists them)",
        },
        _ => error.into(),
    }
}

fn print_report(deletion: &Deletion, asked_for_tag: bool, quiet: bool) -> Result<(), CliError> {
    let Deletion { repository, digest, .. } = deletion;
    let name = match &deletion.tag {
        Some(tag) => format!("{repository}:{tag}"),
        None => format!("{repository}@{digest}"),
    };
    let verb = match deletion.action {
        Action::Deleted => "deleted",
        Action::WouldDelete => "would delete",
        Action::Refused => {
            let reason = deletion.reason.as_deref().unwrap_or_default();
            tell_line(format!("REFUSED {name}: {reason}; nothing was deleted"));
            if deletion.siblings.as_ref().is_some_and(|tags| !tags.is_empty()) {
                tell_line("hint: --with-siblings deletes the manifest with every tag it has");
            }
            return Ok(());
        }
    };
    if quiet {
        return Ok(());
    }
    let mut line = format!("{verb} {name}");
    if deletion.tag.is_some() {
        line.push_str(&format!(" ({digest})"));
    }
    match (&deletion.siblings, deletion.manifest) {
        (Some(siblings), true) if !siblings.is_empty() => {
            line.push_str(&format!(", and with it the tags {}", output::tags(siblings)));
        }
        (Some(siblings), false) if !siblings.is_empty() => {
            line.push_str(&format!("; the tags {} stay", output::tags(siblings)));
        }
        (Some(_), true) if asked_for_tag => {
            line.push_str(" with its manifest, which had no other tag");
        }
        (None, true) => line.push_str(", and with it every other tag of its manifest"),
        _ => {}
    }
    output::print_line(line)
}
