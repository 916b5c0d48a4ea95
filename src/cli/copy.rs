//! `tranship copy`: one image, or all tags of a repository.

use std::sync::Arc;

use serde::Serialize;

use super::args::{Global, Output, Reach};
use super::exit::{CliError, Exit};
use super::lines::tell_line;
use super::progress::{Progress, Seen, Tally};
use super::report::{image_lines, print_failed_images, print_failure_beside, print_interrupted};
use super::skopeo::{BothSides, Copying, CopyingOne, ReachOptions, Reaching, nothing_said_of};
use super::{output, session, signals};
use crate::config::{ForeignLayers, IndexMode};
use crate::copy::{self, CopyReport, Extent, Watch, What};
use crate::fair::Flow;
use crate::oci::{ImageAddress, Platform};
use crate::state::State;
use crate::stores::Access;
use crate::sync::{Action, Counts, ImageReport, Mode};
use crate::transfer::{Carrier, Options, TransferTotals};

/// Copy one image, or all tags of a repository
///
/// Copies the image unchanged, with all platforms and all referrers (signatures, SBOMs,
/// attestations). If TARGET has no tag, it gets the tag of SOURCE; an image without a tag is copied
/// by its digest.
///
/// SOURCE and TARGET are one of: HOST/REPOSITORY[:TAG][@DIGEST] for a registry (the default HOST is
/// docker.io; a leading docker:// is accepted), oci:DIR[:TAG][@DIGEST] for an OCI image layout,
/// oci-archive:FILE[:TAG][@DIGEST] for a layout in a tar file. A target archive is replaced.
///
/// If images of several repositories in a layout or archive have the same tag, name the SOURCE in full,
/// as in oci:DIR:docker.io/library/alpine:3.22, or by its digest.
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
    /// How to write an index if platforms are left out
    #[arg(long, value_enum, default_value_t = IndexMode::Rewrite, requires = "platforms")]
    index: IndexMode,
    /// Do not copy signatures, SBOMs and attestations
    #[arg(long)]
    no_referrers: bool,
    /// Whether to copy layers that are stored outside the registry
    #[arg(long, value_enum, default_value_t = ForeignLayers::Skip)]
    foreign_layers: ForeignLayers,
    /// Show what would be copied, without changing anything
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    copying: Copying,
    #[command(flatten)]
    one: CopyingOne,
    #[command(flatten)]
    sides: BothSides,
}

/// The document that `--output json` prints.
#[derive(Serialize)]
struct Report<'a> {
    success: bool,
    moved: TransferTotals,
    #[serde(flatten)]
    report: &'a CopyReport,
}

pub async fn run(global: &Global, args: Args) -> Result<Exit, CliError> {
    check(&args)?;
    let sides = [args.source.to_string(), args.target.to_string()];
    let what = what(global, &args)?;
    let access = if args.dry_run { Access::Preview } else { Access::Write };
    let carrier = session::carrier(State::in_memory());
    let options = Options {
        platforms: args.platforms,
        index: args.index,
        referrers: !(args.no_referrers || args.copying.remove_signatures),
        foreign_layers: args.foreign_layers,
    };
    let stop = signals::Stop::on_signal();
    let (source, target) = signals::unless(&stop, async {
        let (source, target) = (nothing_said_of(&args.source), nothing_said_of(&args.target));
        let (source, target, retries) = args.sides.said(source, target).await?;
        let reaching = Reaching { global, reach: &args.reach, retries: &retries };
        let sides = reaching.sides(source, target).await?;
        // The source first: a mistyped one should not make a folder for the target.
        let source = sides.source.open_image(&args.source, Flow::ALONE, Access::Read).await?;
        Ok((source, sides.target.open_image(&args.target, Flow::ALONE, access).await?))
    })
    .await?;
    let report = {
        let shown = Shown::start(global, &carrier);
        let image = |image: &ImageReport| shown.settled(image);
        let watch = Watch { found: &|images| shown.tally.found(images), image: &image };
        copy::run(&carrier, &source, target, what, options, &stop.token, watch).await
    };
    args.copying.write_digests(&report, None)?;
    let told = Told { source: &sides[0], target: &sides[1], summary: args.all_tags };
    tell(global, &carrier, &report, &stop, &told)
}

/// What people see of copies while they are made: how far they are, and each image.
pub struct Shown {
    pub tally: Arc<Tally>,
    quiet: bool,
    _progress: Progress,
}

impl Shown {
    pub fn start(global: &Global, carrier: &Arc<Carrier>) -> Self {
        let tally = Arc::<Tally>::default();
        let (seen, of) = (Arc::clone(carrier), Arc::clone(&tally));
        let progress = Progress::show(global, move || Seen::of_carrier(&seen, of.items()));
        let quiet = global.quiet || global.output == Output::Json;
        Self { tally, quiet, _progress: progress }
    }

    /// An image is settled: those that failed are told at the end.
    pub fn settled(&self, image: &ImageReport) {
        self.tally.settled(image.action == Action::Failed);
        if !self.quiet && image.action != Action::Failed {
            // A reader that has gone is noticed when the report is finished.
            let _ = output::print_lines(&image_lines(image));
        }
    }
}

/// How the result of copies is told.
pub struct Told<'a> {
    /// Where the images are from and where they go; empty if that is several places.
    pub source: &'a str,
    pub target: &'a str,
    /// The numbers of images are told, too.
    pub summary: bool,
}

/// Tells what was copied.
pub fn tell(
    global: &Global,
    carrier: &Carrier,
    report: &CopyReport,
    stop: &signals::Stop,
    told: &Told<'_>,
) -> Result<Exit, CliError> {
    let success = report.is_success();
    let document = Report { success, moved: carrier.totals(), report };
    output::print(global, &document, || print_report(report, &document.moved, told, global.quiet))?;
    Ok(match success {
        true => Exit::Done,
        false if report.interrupted => stop.exit(),
        false => Exit::Failed,
    })
}

/// What is copied, and under which names.
fn what(global: &Global, args: &Args) -> Result<What, CliError> {
    let extent = match args.all_tags {
        true => Extent::all_tags(),
        false => Extent::Image,
    };
    let of_index = args.one.of_index(&global.skopeo, &args.copying, &args.platforms)?;
    let more_tags = args.one.more_tags(&args.target)?;
    let mode = if args.dry_run { Mode::DryRun } else { Mode::Apply };
    Ok(What { of_index, more_tags, mode, ..What::plain(extent) })
}

/// What the command line alone shows to be wrong.
fn check(args: &Args) -> Result<(), CliError> {
    let problem = if args.target.digest.is_some() {
        "the target cannot have a digest: what is copied decides it"
    } else if args.all_tags && args.source.names_image() {
        "--all-tags copies a whole repository: leave out the source's tag and digest"
    } else if args.all_tags && args.copying.has_digestfile() {
        "--digestfile is for one image: with --all-tags, use --output json"
    } else if args.all_tags && args.target.names_image() {
        "--all-tags keeps every tag's name: leave out the target's tag"
    } else if args.copying.preserve_digests
        && !args.platforms.is_empty()
        && args.index == IndexMode::Rewrite
    {
        "--platform makes a smaller index, with another digest: with --preserve-digests, add --index sparse"
    } else {
        return Ok(());
    };
    Err(CliError::usage(problem))
}

fn print_report(
    report: &CopyReport,
    moved: &TransferTotals,
    told: &Told<'_>,
    quiet: bool,
) -> Result<(), CliError> {
    print_failed_images(&report.images, ReachOptions::Both);
    if !report.failures.is_empty() {
        tell_line("FAILED");
        for failure in &report.failures {
            let registry = failure.registry.as_deref().unwrap_or_default();
            let options = ReachOptions::Both.on(registry, told.source, told.target);
            print_failure_beside(options, failure);
        }
    }
    if report.interrupted {
        print_interrupted(moved, "the same command sends only what is missing");
    }
    if !told.summary || quiet {
        return Ok(());
    }
    let Counts { copied, unchanged, failed, .. } = report.counts;
    let failed = output::counts([(failed, "failed")]);
    let dry = report.images.iter().any(|image| image.action == Action::WouldCopy);
    let copies = if dry { "to copy" } else { "copied" };
    output::print_line(format!(
        "{copied} {copies}, {unchanged} unchanged{failed}; {} sent in {}",
        output::bytes(report.bytes),
        output::seconds(report.seconds)
    ))
}
