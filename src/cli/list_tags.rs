//! `tranship list-tags`: the tags of a repository.

use serde::Serialize;

use super::args::{Global, Reach};
use super::exit::{CliError, Exit};
use super::lines::Lines;
use super::skopeo::{Reaching, Retries, ThisRegistry};
use super::{output, signals};
use crate::fair::Flow;
use crate::oci::ImageAddress;
use crate::oci::{Tag, derived};
use crate::repository::{Cause, Error};
use crate::stores::Access;

/// List the tags of a repository
///
/// Tags that belong to another image, such as signatures by cosign, are not listed without --all.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tranship list-tags ghcr.io/acme/app
  tranship list-tags --all oci:./layout")]
pub struct Args {
    /// Repository: HOST/REPOSITORY, oci:DIR or oci-archive:FILE
    repository: ImageAddress,
    /// Also list tags that belong to another image, such as sha256-<hex>.sig
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    registry: ThisRegistry,
    #[command(flatten)]
    retries: Retries,
}

/// The document that `--output json` prints.
#[derive(Serialize)]
struct Report<'a> {
    repository: &'a str,
    tags: &'a [Tag],
    /// Tags that belong to another image and are not listed.
    hidden: usize,
}

pub async fn run(global: &Global, args: Args) -> Result<Exit, CliError> {
    let reaching = Reaching { global, reach: &args.reach, retries: &args.retries };
    signals::unless_stopped(async {
        let stores = reaching.image(args.registry, &args.repository).await?;
        let source = stores.open_image(&args.repository, Flow::ALONE, Access::Read).await?;
        if source.tag().is_some() || source.digest().is_some() {
            let message = format!("`{}` names an image: leave out its tag", args.repository);
            return Err(CliError::Usage(message));
        }
        let repository = source.repository();
        let tags = repository.tags().await?;
        let mut tags =
            tags.ok_or_else(|| Error::new("list tags of", repository.name(), Cause::NoRepository))?;
        let before = tags.len();
        if !args.all {
            tags.retain(|tag| derived::parse(tag).is_none());
        }
        let hidden = before - tags.len();
        tags.sort_unstable();
        let report = Report { repository: repository.name(), tags: &tags, hidden };
        output::print(global, &report, || {
            let mut lines = Lines::default();
            tags.iter().for_each(|tag| lines.line(tag.as_str()));
            output::print_lines(&lines)
        })?;
        Ok(Exit::Done)
    })
    .await
}
