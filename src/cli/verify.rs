//! `tranship verify`: source and target compared down to every blob.

use std::sync::Arc;

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

use super::args::{Global, Output, Reach};
use super::exit::{CliError, Exit};
use super::lines::{Lines, tell_line};
use super::progress::{IMAGES, Items, Noun, Progress, Seen};
use super::report::{Group, Shared, grouped, print_shared};
use super::skopeo::{BothSides, ReachOptions, Reaching, Sides, nothing_said_of};
use super::verify_deleted::Deleted;
use super::{output, session, signals};
use crate::config::{ForeignLayers, IndexMode, OnConflict, RegistryConfig, SyncRule};
use crate::fair::Flow;
use crate::oci::{Address, ImageAddress};
use crate::oci::{Platform, Tag, derived};
use crate::repository::{Cause, Error, Placement, Reference};
use crate::state::State;
use crate::stores::{Access, Image, OpenImage};
use crate::sync::Syncer;
use crate::text::counted;
use crate::transfer::{Carrier, Options, TagIndex, manifest_memory};
use crate::verify::{
    Checked, ImageOutcome, ImageReport, Item, Part, Progressed, Repairer, RepositoryPair, Verifier,
    VerifyReport,
};

/// Check that targets have the same images as their sources
///
/// Without SOURCE and TARGET, checks all images that the [[sync]] rules select. Reads and hashes
/// the manifests on both sides, and asks the target for the existence and size of every blob.
/// Referrers must exist too. Platforms that a rule does not copy, and additional images at the
/// target, are ignored. Images that a cleanup rule deleted at the target are not missed; if the daemon
/// of the same configuration runs, it is asked which these are.
///
/// Exit codes: 0 everything is equal (after a repair, with --repair); 1 otherwise.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
SOURCE and TARGET are HOST/REPOSITORY[:TAG][@DIGEST], oci:DIR[:TAG] or oci-archive:FILE[:TAG].
If TARGET has no tag, the tag of SOURCE is used.

Examples:
  tranship verify                                     check all rules of tranship.toml
  tranship verify --rule base-images --read           also hash every blob of the target
  tranship verify --repair                            copy what is missing or different
  tranship verify ghcr.io/acme/app:1.0 registry.example.com/app:1.0
  tranship verify --all-tags ghcr.io/acme/app oci:/srv/app")]
pub struct Args {
    /// Image or repository that TARGET should have
    #[arg(requires = "target")]
    source: Option<ImageAddress>,
    /// Image or repository to check
    target: Option<ImageAddress>,
    #[command(flatten)]
    checks: Checks,
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    sides: BothSides,
}

/// What is checked, and how.
#[derive(Debug, clap::Args)]
struct Checks {
    /// Check all tags of the repository
    #[arg(long, requires = "source")]
    all_tags: bool,
    /// Check only this rule (repeatable)
    #[arg(long = "rule", value_name = "NAME", conflicts_with = "source")]
    rules: Vec<String>,
    /// Also download and hash every blob of the target
    #[arg(long)]
    read: bool,
    /// Copy what is missing or different, then check again
    #[arg(long)]
    repair: bool,
    /// Expect only this platform of SOURCE, such as linux/arm64 (repeatable)
    #[arg(long = "platform", value_name = "OS/ARCH", requires = "source")]
    platforms: Vec<Platform>,
    /// How the index at TARGET was written if platforms were left out
    #[arg(long, value_enum, default_value_t = IndexMode::Rewrite, requires = "platforms")]
    index: IndexMode,
    /// Do not check signatures, SBOMs and attestations
    #[arg(long, requires = "source")]
    no_referrers: bool,
}

/// What is to be verified, and what heals it.
struct Work {
    parts: Vec<Part>,
    notes: Vec<String>,
    /// What repairs, and whom the registries tell of their progress.
    carrier: Arc<Carrier>,
    repairer: Option<Repairer>,
    /// Unpacked archives, which are gone when dropped.
    _opened: Vec<OpenImage>,
}

pub async fn run(global: &Global, args: Args) -> Result<Exit, CliError> {
    let stop = signals::Stop::on_signal();
    let Args { source, target, checks, reach, sides } = args;
    let (work, options) = signals::unless(&stop, async {
        match (source, target) {
            (Some(source), Some(target)) => {
                check_usage(&checks, &source, &target)?;
                let said = (nothing_said_of(&source), nothing_said_of(&target));
                let (from, to, retries) = sides.said(said.0, said.1).await?;
                let reaching = Reaching { global, reach: &reach, retries: &retries };
                let sides = reaching.sides(from, to).await?;
                let work = of_references(&sides, &checks, &source, &target).await?;
                Ok((work, ReachOptions::Both))
            }
            _ if !reach.insecure.is_empty() => Err(CliError::usage(
                "--insecure is for SOURCE and TARGET: rules have the settings of their registries",
            )),
            _ => Ok((of_rules(global, &checks).await?, ReachOptions::None)),
        }
    })
    .await?;
    let report = compare(global, &checks, work, options, &stop.token).await;
    output::print(global, &report, || print_report(&report, &checks, options, global.quiet))?;
    Ok(match report.success {
        true => Exit::Done,
        false if report.interrupted => stop.exit(),
        false => Exit::Failed,
    })
}

async fn compare(
    global: &Global,
    checks: &Checks,
    work: Work,
    options: ReachOptions,
    cancel: &CancellationToken,
) -> VerifyReport {
    let memory = work.repairer.as_ref().map(|repairer| repairer.memory().clone());
    let memory = memory.unwrap_or_else(manifest_memory);
    let verifier = Arc::new(Verifier::new(checks.read, memory, work.carrier.pulses().clone()));
    let _progress = {
        let (verifier, carrier) = (Arc::clone(&verifier), work.carrier);
        let moved = match (checks.read, checks.repair) {
            (true, true) => "moved",
            (false, true) => "sent",
            (_, false) => "read",
        };
        Progress::show(global, move || seen(&verifier, &carrier, moved))
    };
    let text = global.output == Output::Text;
    let watch = |image: &ImageReport| {
        let interesting = match image.outcome {
            ImageOutcome::Equal => false,
            ImageOutcome::Repaired => !global.quiet,
            // What concerns a whole registry is told at the end, once.
            ImageOutcome::Failed => shared(image, options).is_none(),
            ImageOutcome::Different => true,
        };
        if text && interesting {
            // A reader that has gone is noticed when the report is finished.
            let _ = output::print_lines(&image_lines(image, options));
        }
    };
    let report = verifier.run(work.parts, work.repairer.as_ref(), cancel, &watch).await;
    VerifyReport { notes: work.notes, ..report }
}

/// How far it has come: images are compared, and repaired by what the carrier sends.
fn seen(verifier: &Verifier, carrier: &Carrier, moved: &'static str) -> Seen {
    let Progressed { considered, is_all, settled, unequal } = verifier.progressed();
    let noun = Noun { failed: "not equal", ..IMAGES };
    let items = Items { done: settled, total: considered, is_all, failed: unequal, noun };
    let (checked, mut blobs) = (verifier.checked(), verifier.blobs());
    blobs.extend(carrier.blobs());
    Seen {
        items,
        words: vec![checked_words(&checked)],
        bytes: checked.bytes_read + carrier.totals().sent_bytes,
        moved,
        // Nobody knows what is still to be read, or to be repaired.
        bytes_left: None,
        blobs,
    }
}

/// Everything that the configuration's rules select.
async fn of_rules(global: &Global, checks: &Checks) -> Result<Work, CliError> {
    let config = session::config_of_rules(global)?;
    let rules: Vec<&SyncRule> = super::sync::choose(&config.sync, &checks.rules)?;
    let names: Vec<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
    session::check_secrets(&config, &names)?;
    // Only a repair needs to know and change what was noted: without it, a daemon may go on.
    let Deleted { state, withheld, notes } = if checks.repair {
        let beside_daemon = "if the daemon uses it, stop the daemon to repair";
        Deleted::of(session::state(&config, beside_daemon)?)
    } else {
        Deleted::of_rules(&config, &names).await
    };
    let carrier = session::carrier(state);
    let default = RegistryConfig::default();
    let registries =
        session::watched_registries(config.registries.clone(), default, carrier.pulses().clone());
    let syncer = Syncer::new(registries, Arc::clone(&carrier), session::now);
    let syncer = Arc::new(syncer.with_rules(&config.sync, &config.cleanup));
    let parts = Part::of_rules(&syncer, &rules, &Arc::new(withheld));
    let repairer = checks.repair.then(|| Repairer::new(carrier.clone(), session::now));
    Ok(Work { parts, notes, carrier, repairer, _opened: Vec::new() })
}

/// One image, or all of a repository's.
async fn of_references(
    sides: &Sides,
    checks: &Checks,
    source: &ImageAddress,
    target: &ImageAddress,
) -> Result<Work, CliError> {
    let source = sides.source.open_image(source, Flow::ALONE, Access::Read).await?;
    let target = sides.target.open_image(target, Flow::ALONE, Access::Read).await?;
    let options = Options {
        platforms: checks.platforms.clone(),
        index: checks.index,
        referrers: !checks.no_referrers,
        foreign_layers: ForeignLayers::default(),
    };
    let wants_tags = checks.all_tags || options.referrers;
    let tags = if wants_tags { source.repository().tags().await? } else { None };
    let items = if checks.all_tags {
        all_tags(&source, tags.as_deref())?
    } else {
        vec![one_item(&source, &target).await?]
    };
    let pair = RepositoryPair::new(
        source.repository().clone(),
        target.repository().clone(),
        TagIndex::new(tags.as_deref().unwrap_or_default()),
        Arc::new(options),
        OnConflict::Overwrite,
        Flow::ALONE,
    );
    let pair = Arc::new(pair);
    let carrier = session::carrier(State::in_memory());
    let repairer = checks.repair.then(|| Repairer::new(carrier.clone(), session::now));
    let tasks = items.into_iter().map(|item| (pair.clone(), item)).collect();
    let images = std::future::ready((tasks, Vec::new())).boxed();
    let parts = vec![Part { flow: Flow::ALONE, images }];
    Ok(Work { parts, notes: Vec::new(), carrier, repairer, _opened: vec![source, target] })
}

/// What makes no sense is said before anything is asked.
fn check_usage(
    checks: &Checks,
    source: &ImageAddress,
    target: &ImageAddress,
) -> Result<(), CliError> {
    let problem = if checks.repair && matches!(target.repository, Address::Archive(_)) {
        "an archive cannot be repaired, it is only ever written as a whole: copy to it again"
    } else if checks.all_tags && (source.names_image() || target.names_image()) {
        "with --all-tags, SOURCE and TARGET name repositories, without tag and digest"
    } else {
        return Ok(());
    };
    Err(CliError::usage(problem))
}

/// What two references mean, as `copy` takes them: a registry's `latest` and a layout's only image
/// where nothing is said of the source; the source's tag where nothing is said of the target.
async fn one_item(source: &OpenImage, target: &OpenImage) -> Result<Item, CliError> {
    let Image { reference, tag } = source.image().await?;
    let placement = match (target.tag(), target.digest(), tag) {
        (Some(tag), _, _) => Placement::Tag(tag.clone()),
        (None, None, Some(tag)) if !is_untagged(target).await => Placement::Tag(tag),
        _ => Placement::Digest,
    };
    Ok(Item { reference, placement, withdrawn: None })
}

/// Whether it is a layout whose only image has no tag at all, as skopeo writes it.
async fn is_untagged(target: &OpenImage) -> bool {
    matches!(target.image().await, Ok(Image { tag: None, .. }))
}

fn all_tags(source: &OpenImage, tags: Option<&[Tag]>) -> Result<Vec<Item>, CliError> {
    let Some(tags) = tags else {
        return Err(
            Error::new("list tags of", source.repository().name(), Cause::NoRepository).into()
        );
    };
    // Derived tags follow their subject.
    let own = tags.iter().filter(|tag| derived::parse(tag).is_none());
    Ok(own
        .map(|tag| Item {
            reference: Reference::Tag(tag.clone()),
            placement: Placement::Tag(tag.clone()),
            withdrawn: None,
        })
        .collect())
}

fn image_lines(image: &ImageReport, options: ReachOptions) -> Lines {
    let verb = match image.outcome {
        ImageOutcome::Equal => "equal",
        ImageOutcome::Repaired => "repaired",
        ImageOutcome::Different => "DIFFERENT",
        ImageOutcome::Failed => "could not compare",
    };
    let mut lines = Lines::one(format!("{verb} {} -> {}", image.source, image.target));
    if let Some(repair) = &image.repair {
        repair.healed.iter().for_each(|problem| lines.line(format!("  healed: {problem}")));
        repair.errors.iter().for_each(|error| lines.line(format!("  repair: {error}")));
    }
    for problem in &image.problems {
        lines.line(format!("  {problem}"));
        if let Some(hint) = problem.hint {
            let registry = problem.registry.as_deref().unwrap_or_default();
            let options = options.on(registry, &image.source, &image.target);
            lines.line(format!("  hint: {}", options.beside(hint)));
        }
    }
    image.notes.iter().for_each(|note| lines.line(format!("  note: {note}")));
    lines
}

fn checked_words(checked: &Checked) -> String {
    let Checked { manifests, blobs, bytes, .. } = checked;
    let bytes = output::bytes(*bytes);
    let manifests = counted(*manifests, "manifest", "manifests");
    let blobs = counted(*blobs, "blob", "blobs");
    format!("{manifests} hashed, {blobs} looked up ({bytes})")
}

/// What keeps an image from being compared, if that concerns a whole registry.
fn shared(image: &ImageReport, options: ReachOptions) -> Option<Shared<'_>> {
    let [problem] = &image.problems[..] else { return None };
    let registry = problem.registry.as_deref().filter(|_| image.outcome == ImageOutcome::Failed)?;
    let is_source = image.source.starts_with(&format!("{registry}/"));
    let name = if is_source { &image.source } else { &image.target };
    let (message, hint) = (problem.message.as_str(), problem.hint);
    let options = options.on(registry, &image.source, &image.target);
    Some(Shared { registry, message, hint, options, name, is_image: true })
}

fn print_report(
    report: &VerifyReport,
    checks: &Checks,
    options: ReachOptions,
    quiet: bool,
) -> Result<(), CliError> {
    let unread = report.images.iter().filter(|image| shared(image, options).is_some());
    for group in grouped(unread, |image| shared(image, options)) {
        match group {
            Group::Alone(image) => output::print_lines(&image_lines(image, options))?,
            Group::Shared(group) => print_shared(&group),
        }
    }
    for failure in &report.failures {
        tell_line(format!("FAILED {failure}"));
        if let Some(hint) = &failure.hint {
            tell_line(format!("  hint: {}", options.beside(hint)));
        }
    }
    if quiet {
        return Ok(());
    }
    for note in &report.notes {
        output::print_line(format!("note: {note}"))?;
    }
    let (counts, checked) = (report.counts, report.checked);
    let all = counted(counts.total(), "image", "images");
    let mut line = format!("{} of {all} equal", counts.equal);
    line += &output::counts([
        (counts.repaired, "repaired"),
        (counts.different, "different"),
        (counts.failed, "could not be compared"),
        (counts.withheld, "withheld (cleaned up)"),
    ]);
    line.push_str(&format!("; {}", checked_words(&checked)));
    if report.read {
        line.push_str(&format!(", {} read and hashed", output::bytes(checked.bytes_read)));
    }
    line.push_str(&format!(" in {}", output::seconds(report.seconds)));
    if report.interrupted {
        line.push_str("; interrupted");
    }
    output::print_line(line)?;
    if counts.different > 0 && !checks.repair {
        tell_line("hint: the same command with --repair copies what is missing or different");
    }
    Ok(())
}
