//! `tranship verify`: source and target compared down to every blob.

mod place;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::args::{Global, Output};
use super::exit::{CliError, Exit};
use super::{output, session, signals};
use crate::config::{ForeignLayers, IndexMode, Insecure, OnConflict, RegistryConfig, SyncRule};
use crate::oci::{Platform, Tag, derived};
use crate::repository::{Cause, Error, Placement, Reference};
use crate::state::State;
use crate::sync::{Failure, Syncer};
use crate::transfer::{Options, TagIndex};
use crate::verify::{self, ImageReport, Item, Outcome, Repairer, Report, Sides, Task, Verifier};
use place::Place;

/// Compare source and target down to every blob
///
/// Without SOURCE and TARGET, every image that the configuration's [[sync]] rules select is compared.
/// Manifests are read and hashed on both sides; of each blob, the target is asked whether it is
/// there and how large it is. What refers to an image must be there, too. Platforms that a rule
/// leaves out are not missed. What the target has besides is no concern of this command.
///
/// The exit code is 0 if everything is equal (after a repair), 1 otherwise.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
SOURCE and TARGET are HOST/REPOSITORY[:TAG][@DIGEST], oci:DIR[:TAG] or oci-archive:FILE[:TAG].
Without a tag, the target's is the source's.

Examples:
  tranship verify                                     every rule of tranship.toml
  tranship verify --rule base-images --read           and hash every blob at the target
  tranship verify --repair                            copy again what is missing or different
  tranship verify ghcr.io/acme/app:1.0 registry.example.com/app:1.0
  tranship verify --all-tags ghcr.io/acme/app oci:/srv/app")]
pub struct Args {
    /// What there should be
    #[arg(requires = "target")]
    source: Option<String>,
    /// Where it should be
    target: Option<String>,
    /// Every tag of SOURCE's repository
    #[arg(long, requires = "source")]
    all_tags: bool,
    /// Only this rule; may be given several times
    #[arg(long = "rule", value_name = "NAME", conflicts_with = "source")]
    rules: Vec<String>,
    /// Download every blob of the target, each once, and hash it
    #[arg(long)]
    read: bool,
    /// Copy again what is missing or different, then compare again
    #[arg(long)]
    repair: bool,
    /// Only these platforms of SOURCE were copied; may be given several times
    #[arg(long = "platform", value_name = "OS/ARCH", requires = "source")]
    platforms: Vec<Platform>,
    /// What became of an index whose other platforms were left out
    #[arg(long, value_enum, default_value_t = Index::Rewrite, requires = "platforms")]
    index: Index,
    /// Leave out signatures, SBOMs and attestations that refer to SOURCE
    #[arg(long, requires = "source")]
    no_referrers: bool,
    /// How to reach registries that the configuration does not mention
    #[arg(long, value_enum, value_name = "HOW", requires = "source")]
    insecure: Option<InsecureArg>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Index {
    /// A smaller index, with a digest of its own
    Rewrite,
    /// The same index with the other platforms missing
    Sparse,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum InsecureArg {
    /// Without TLS
    Http,
    /// TLS with any certificate
    NoVerify,
}

/// What is to be verified, and what heals it.
struct Work {
    tasks: Vec<Task>,
    failures: Vec<Failure>,
    repairer: Option<Repairer>,
    /// Unpacked archives, which are gone when dropped.
    _places: Vec<Place>,
}

pub async fn run(global: &Global, args: Args) -> Result<Exit, CliError> {
    let cancel = signals::stop_token();
    let work = async {
        match (&args.source, &args.target) {
            (Some(source), Some(target)) => of_references(global, &args, source, target).await,
            _ => of_rules(global, &args).await,
        }
    };
    let work = tokio::select! {
        () = cancel.cancelled() => return Err(CliError::Failed("interrupted".to_owned())),
        work = work => work?,
    };
    let report = compare(global, &args, work, &cancel).await;
    match global.output {
        Output::Json => output::print_json(&report)?,
        Output::Text => print_report(&report, global.quiet)?,
    }
    Ok(if report.success { Exit::Done } else { Exit::Failed })
}

async fn compare(global: &Global, args: &Args, work: Work, cancel: &CancellationToken) -> Report {
    let text = global.output == Output::Text;
    let watch = |image: &ImageReport| {
        if text && !(global.quiet && image.outcome == Outcome::Repaired) {
            // A reader that has gone is noticed when the report is finished.
            let _ = output::print_text(&image_lines(image));
        }
    };
    let verifier = Verifier::new(args.read);
    verifier.run(&work.tasks, work.failures, work.repairer.as_ref(), cancel, &watch).await
}

/// Everything that the configuration's rules select.
async fn of_rules(global: &Global, args: &Args) -> Result<Work, CliError> {
    let config = session::required_config(global)?;
    let rules: Vec<&SyncRule> = super::sync::choose(&config.sync, &args.rules)?;
    // Only a repair needs to know and change what was noted: without it, a daemon may go on.
    let state = if args.repair { State::open(&config.daemon.state)? } else { State::in_memory() };
    let registries = session::registries(config.registries.clone(), RegistryConfig::default());
    let carrier = session::carrier(state);
    let syncer = Syncer::new(registries, Arc::clone(&carrier), session::now);
    let (mut tasks, mut failures) = (Vec::new(), Vec::new());
    for rule in rules {
        let (selected, failed) = syncer.select(rule).await;
        failures.extend(failed);
        for selected in selected {
            tasks.extend(verify::tasks(selected, rule.on_conflict));
        }
    }
    let repairer = args.repair.then(|| Repairer::new(carrier, session::now));
    Ok(Work { tasks, failures, repairer, _places: Vec::new() })
}

/// One image, or all of a repository's.
async fn of_references(
    global: &Global,
    args: &Args,
    source: &str,
    target: &str,
) -> Result<Work, CliError> {
    let insecure = match args.insecure {
        None => Insecure::No,
        Some(InsecureArg::Http) => Insecure::Http,
        Some(InsecureArg::NoVerify) => Insecure::NoVerify,
    };
    let default = RegistryConfig { insecure, ..RegistryConfig::default() };
    let registries = session::registries(session::optional_registries(global)?, default);
    let source = Place::open(source, &registries, false).await?;
    let target = Place::open(target, &registries, args.repair).await?;
    check_usage(args, &source, &target)?;
    let options = options(args);
    let wants_tags = args.all_tags || options.referrers;
    let tags = if wants_tags { source.repository.tags().await? } else { None };
    let items = if args.all_tags {
        all_tags(&source, tags.as_deref())?
    } else {
        vec![one_item(&source, &target)?]
    };
    let sides = Sides::new(
        source.repository.clone(),
        target.repository.clone(),
        TagIndex::new(tags.as_deref().unwrap_or_default()),
        Arc::new(options),
        OnConflict::Overwrite,
    );
    let sides = Arc::new(sides);
    let repairer =
        args.repair.then(|| Repairer::new(session::carrier(State::in_memory()), session::now));
    let tasks = items.into_iter().map(|item| (sides.clone(), item)).collect();
    Ok(Work { tasks, failures: Vec::new(), repairer, _places: vec![source, target] })
}

/// What makes no sense is said before anything is asked.
fn check_usage(args: &Args, source: &Place, target: &Place) -> Result<(), CliError> {
    let named = |place: &Place| place.tag.is_some() || place.digest.is_some();
    let problem = if args.repair && target.is_archive() {
        "an archive cannot be repaired, it is only ever written as a whole: copy to it again"
    } else if args.all_tags && (named(source) || named(target)) {
        "with --all-tags, SOURCE and TARGET name repositories, without tag and digest"
    } else {
        return Ok(());
    };
    Err(CliError::Usage(problem.to_owned()))
}

fn options(args: &Args) -> Options {
    Options {
        platforms: args.platforms.clone(),
        index: match args.index {
            Index::Rewrite => IndexMode::Rewrite,
            Index::Sparse => IndexMode::Sparse,
        },
        referrers: !args.no_referrers,
        foreign_layers: ForeignLayers::default(),
    }
}

/// What two references mean, as `copy` takes them: a registry's `latest` and a layout's only image
/// where nothing is said of the source; the source's tag where nothing is said of the target.
fn one_item(source: &Place, target: &Place) -> Result<Item, CliError> {
    let reference = match (&source.digest, &source.tag, &source.only) {
        (Some(digest), _, _) => Reference::Digest(digest.clone()),
        (None, Some(tag), _) => Reference::Tag(tag.clone()),
        (None, None, Some(only)) => only.clone(),
        (None, None, None) if source.is_layout => {
            return Err(CliError::Usage(format!(
                "{} does not have exactly one image: name one by its tag, or use --all-tags",
                source.repository.name()
            )));
        }
        (None, None, None) => Reference::Tag(
            "latest".parse().map_err(|error| CliError::Usage(format!("latest: {error}")))?,
        ),
    };
    let named = match &reference {
        Reference::Tag(tag) => Some(tag),
        Reference::Digest(_) => source.tag.as_ref(),
    };
    // A layout's only image may have no tag at all, as skopeo writes it.
    let untagged = matches!(target.only, Some(Reference::Digest(_)));
    let placement = match (&target.tag, &target.digest, named) {
        (Some(tag), _, _) => Placement::Tag(tag.clone()),
        (None, None, Some(tag)) if !untagged => Placement::Tag(tag.clone()),
        _ => Placement::Digest,
    };
    Ok(Item { reference, placement })
}

fn all_tags(source: &Place, tags: Option<&[Tag]>) -> Result<Vec<Item>, CliError> {
    let Some(tags) = tags else {
        return Err(Error::new("list tags of", source.repository.name(), Cause::Missing).into());
    };
    // Derived tags follow their subject.
    let own = tags.iter().filter(|tag| derived::parse(tag).is_none());
    Ok(own
        .map(|tag| Item {
            reference: Reference::Tag(tag.clone()),
            placement: Placement::Tag(tag.clone()),
        })
        .collect())
}

/// Nothing for an image that is equal.
fn image_lines(image: &ImageReport) -> String {
    let verb = match image.outcome {
        Outcome::Equal => return String::new(),
        Outcome::Repaired => "repaired",
        Outcome::Different => "DIFFERENT",
        Outcome::Failed => "FAILED",
    };
    let mut text = format!("{verb} {} -> {}\n", image.source, image.target);
    if let Some(repair) = &image.repair {
        for problem in &repair.healed {
            text.push_str(&format!("  healed: {problem}\n"));
        }
        for error in &repair.errors {
            text.push_str(&format!("  repair: {error}\n"));
        }
    }
    for problem in &image.problems {
        text.push_str(&format!("  {problem}\n"));
        if let Some(hint) = &problem.hint {
            text.push_str(&format!("  hint: {hint}\n"));
        }
    }
    for note in &image.notes {
        text.push_str(&format!("  note: {note}\n"));
    }
    text
}

fn print_report(report: &Report, quiet: bool) -> Result<(), CliError> {
    for failure in &report.failures {
        eprintln!("FAILED {failure}");
        if let Some(hint) = &failure.hint {
            eprintln!("  hint: {hint}");
        }
    }
    if quiet {
        return Ok(());
    }
    let counts = report.counts;
    let mut line = format!("{} of {} images equal", counts.equal, counts.total());
    for (count, word) in
        [(counts.repaired, "repaired"), (counts.different, "different"), (counts.failed, "failed")]
    {
        if count > 0 {
            line.push_str(&format!(", {count} {word}"));
        }
    }
    let checked = report.checked;
    line.push_str(&format!(
        "; {} manifests hashed, {} blobs looked up ({})",
        checked.manifests,
        checked.blobs,
        output::bytes(checked.bytes)
    ));
    if report.read {
        line.push_str(&format!(", {} read and hashed", output::bytes(checked.bytes_read)));
    }
    line.push_str(&format!(" in {}", output::seconds(report.seconds)));
    if report.interrupted {
        line.push_str("; interrupted");
    }
    output::print_text(&format!("{line}\n"))
}
