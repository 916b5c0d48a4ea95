//! `tranship copy`: one image, or all tags of a repository.

use std::sync::Arc;

use serde::Serialize;

use super::args::{Global, Index, Output, Reach};
use super::exit::{CliError, Exit};
use super::progress::Progress;
use super::report::{image_line, print_failed_image, print_failure};
use super::{output, session, signals};
use crate::config::ForeignLayers;
use crate::copy::{self, CopyReport, Extent};
use crate::fair::Flow;
use crate::oci::ImageAddress;
use crate::oci::Platform;
use crate::repository::Failure;
use crate::state::State;
use crate::stores::Access;
use crate::sync::{Action, Counts, ImageReport};
use crate::transfer::{Options, TransferTotals};

/// Copy one image, or all tags of a repository
///
/// Copies the image unchanged, with all platforms and all referrers (signatures, SBOMs,
/// attestations). If TARGET has no tag, it gets the tag of SOURCE; an image without a tag is copied
/// by its digest.
///
/// SOURCE and TARGET are one of: HOST/REPOSITORY[:TAG][@DIGEST] for a registry (the default HOST is
/// docker.io; a leading docker:// is accepted), oci:DIR[:TAG] for an OCI image layout,
/// oci-archive:FILE[:TAG] for a layout in a tar file. A target archive is replaced.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tranship copy alpine:3.22 registry.example.com/mirror/alpine
  tranship copy --all-tags ghcr.io/acme/app gitlab.example.com:5050/acme/app
  tranship copy --platform linux/amd64 --platform linux/arm64 nginx:1.29 oci:./nginx
  tranship copy oci-archive:app.tar localhost:5000/app:1.0 --insecure localhost:5000=http")]
pub struct Args {
    /// Image or repository to copy
    source: ImageAddress,
    /// Where to copy it
    target: ImageAddress,
    /// Copy all tags of the repository
    #[arg(long)]
    all_tags: bool,
    /// Copy only this platform, such as linux/arm64 (repeatable)
    #[arg(long = "platform", value_name = "OS/ARCH[/VARIANT]")]
    platforms: Vec<Platform>,
    /// How to write an index without the other platforms
    #[arg(long, value_enum, default_value_t = Index::Rewrite, requires = "platforms")]
    index: Index,
    /// Do not copy signatures, SBOMs and attestations
    #[arg(long)]
    no_referrers: bool,
    /// Whether to copy layers that are stored outside the registry
    #[arg(long, value_enum, default_value_t = Foreign::Skip)]
    foreign_layers: Foreign,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Foreign {
    /// Do not copy them
    Skip,
    /// Copy them
    Copy,
}

/// The document that `--output json` prints.
#[derive(Serialize)]
struct Report<'a> {
    success: bool,
    moved: TransferTotals,
    interrupted: bool,
    counts: Counts,
    bytes: u64,
    seconds: f64,
    images: &'a [ImageReport],
    failures: &'a [Failure],
}

pub async fn run(global: &Global, args: Args) -> Result<Exit, CliError> {
    check(&args)?;
    let stores = session::stores(global, &args.reach)?;
    let carrier = session::carrier(State::in_memory());
    let extent = if args.all_tags { Extent::AllTags } else { Extent::Image };
    let options = Options {
        platforms: args.platforms,
        index: args.index.into(),
        referrers: !args.no_referrers,
        foreign_layers: match args.foreign_layers {
            Foreign::Skip => ForeignLayers::Skip,
            Foreign::Copy => ForeignLayers::Copy,
        },
    };
    let cancel = signals::stop_token();
    let places = async {
        // The source first: a mistyped one should not make a folder for the target.
        let source = stores.open_image(&args.source, Flow::ALONE, Access::Read).await?;
        Ok::<_, CliError>((
            source,
            stores.open_image(&args.target, Flow::ALONE, Access::Write).await?,
        ))
    };
    let (source, target) = tokio::select! {
        biased;
        () = cancel.cancelled() => return Err(CliError::Failed("interrupted".to_owned())),
        places = places => places?,
    };
    let report = {
        let progress = Progress::start(global, Arc::clone(&carrier));
        let quiet = global.quiet || global.output == Output::Json;
        let watch = |image: &ImageReport| {
            if !quiet && image.action != Action::Failed {
                progress.line(&image_line(image));
            }
        };
        copy::run(&carrier, &source, target, extent, options, &cancel, &watch).await
    };
    let success = report.is_success();
    match global.output {
        Output::Json => {
            let CopyReport { interrupted, counts, bytes, seconds, images, failures } = &report;
            output::print_json(&Report {
                success,
                moved: carrier.totals(),
                interrupted: *interrupted,
                counts: *counts,
                bytes: *bytes,
                seconds: *seconds,
                images,
                failures,
            })?;
        }
        Output::Text => print_report(&report, args.all_tags && !global.quiet)?,
    }
    Ok(if success { Exit::Done } else { Exit::Failed })
}

/// What the command line alone shows to be wrong.
fn check(args: &Args) -> Result<(), CliError> {
    let usage = |message: &str| Err(CliError::Usage(message.to_owned()));
    if args.target.digest.is_some() {
        return usage("the target cannot have a digest: what is copied decides it");
    }
    if !args.all_tags {
        return Ok(());
    }
    if args.source.names_image() {
        return usage(
            "--all-tags copies a whole repository: leave out the source's tag and digest",
        );
    }
    if args.target.names_image() {
        return usage("--all-tags keeps every tag's name: leave out the target's tag");
    }
    Ok(())
}

fn print_report(report: &CopyReport, summary: bool) -> Result<(), CliError> {
    report
        .images
        .iter()
        .filter(|image| image.action == Action::Failed)
        .for_each(print_failed_image);
    if !report.failures.is_empty() {
        eprintln!("FAILED");
        report.failures.iter().for_each(print_failure);
    }
    if report.interrupted {
        eprintln!("interrupted: what is complete is there, nothing else");
    }
    if !summary {
        return Ok(());
    }
    let Counts { copied, unchanged, failed, .. } = report.counts;
    let failed = if failed > 0 { format!(", {failed} failed") } else { String::new() };
    output::print_text(&format!(
        "{copied} copied, {unchanged} unchanged{failed}; {} sent in {}\n",
        output::bytes(report.bytes),
        output::seconds(report.seconds)
    ))
}
