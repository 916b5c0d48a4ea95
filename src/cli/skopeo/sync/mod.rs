//! `tranship sync --src … --dest …`, as `skopeo sync` has it: copies without a configuration.
//!
//! - `file`: skopeo's YAML file; `constraint`: the versions that it names. `plan`: what is copied
//!   where. What is copied, is copied as by `tranship copy`.

mod constraint;
mod file;
mod plan;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use clap::ValueEnum;
use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

use super::copying::{BothSides, Copying};
use super::reach::{Reaching, Sides};
use super::{HEADING, Overrides, of_index};
use crate::cli::args::{Global, Reach};
use crate::cli::exit::{CliError, Exit, failed};
use crate::cli::{copy, session, signals};
use crate::config::{ForeignLayers, IndexMode};
use crate::copy::{CopyReport, Extent, Watch, What};
use crate::fair::Flow;
use crate::layout::MARKER;
use crate::oci::{Address, ImageAddress, RegistryHost, Store};
use crate::repository::Failure;
use crate::state::State;
use crate::stores::{Access, Stores};
use crate::sync::{ImageReport, Mode};
use crate::transfer::{Carrier, Options};
use file::{File, Wanted};
use plan::Order;

/// Repositories under way at once.
const REPOSITORIES: usize = 4;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = HEADING)]
pub struct Syncing {
    /// Copy without a configuration: what SOURCE is
    #[arg(long, short, value_enum, value_name = "TRANSPORT", requires_all = ["dest", "source", "target"])]
    #[arg(conflicts_with = "rules")]
    src: Option<From>,
    /// What TARGET is
    #[arg(long, short, value_enum, value_name = "TRANSPORT", requires = "src")]
    dest: Option<To>,
    /// HOST/REPOSITORY[:TAG] with --src docker, FILE with --src yaml, DIR with --src oci
    #[arg(requires = "src")]
    source: Option<String>,
    /// HOST[/PREFIX] with --dest docker, DIR with --dest oci
    #[arg(requires = "src")]
    target: Option<String>,
    /// Keep the source's host and path in the target's names
    #[arg(long, hide_short_help = true)]
    scoped: bool,
    /// Stands behind each tag at the target
    #[arg(long, value_name = "SUFFIX", hide_short_help = true, default_value = "")]
    append_suffix: String,
    /// Accepted: an image that fails never stops the others
    #[arg(long, hide = true)]
    keep_going: bool,
    #[command(flatten)]
    copying: Copying,
    #[command(flatten)]
    sides: BothSides,
    #[command(flatten)]
    reach: Reach,
}

/// What is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum From {
    /// An image or a repository in a registry
    Docker,
    /// A file of skopeo's that lists images
    Yaml,
    /// A layout, or a folder of layouts
    Oci,
    #[value(hide = true)]
    Dir,
}

/// Where it is copied to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum To {
    /// Repositories of a registry
    Docker,
    /// Layouts below a folder
    Oci,
    #[value(hide = true)]
    Dir,
}

impl Syncing {
    /// Whether this form of the command was typed.
    pub fn is_meant(&self) -> bool {
        self.src.is_some()
    }
}

pub async fn run(global: &Global, args: Syncing, dry_run: bool) -> Result<Exit, CliError> {
    let stop = signals::Stop::on_signal();
    let begin = Instant::now();
    let Syncing { src, dest, source, target, scoped, append_suffix, copying, sides, reach, .. } =
        args;
    // clap has seen to it that all are there.
    let (Some(src), Some(dest), Some(source), Some(target)) = (src, dest, source, target) else {
        return Err(CliError::usage("--src needs --dest, SOURCE and TARGET"));
    };
    refuse_folders(src, dest)?;
    let on_disk = dest == To::Oci;
    let mut wanted = match src {
        From::Docker => of_registry(&source)?,
        From::Yaml => file::read(Path::new(&source))?,
        From::Oci | From::Dir => File::default(),
    };
    let target_host = if on_disk { None } else { Some(host_of(&target)?) };
    let nothing = |host| (host, Overrides::default());
    let target_hosts = target_host.into_iter().map(nothing).collect();
    let (source_said, target_said, retries) = sides.said(wanted.hosts, target_hosts).await?;
    let reaching = Reaching { global, reach: &reach, retries: &retries };
    let sides = reaching.sides(source_said, target_said).await?;
    if src == From::Oci {
        let folder = std::path::absolute(&source).map_err(failed(format!("find {source}")))?;
        wanted.wanted = on_this_disk(&sides.source, &folder).await?;
    }
    let orders = plan::orders(wanted.wanted, &target, on_disk, scoped).map_err(CliError::Usage)?;
    let carrier = session::carrier(State::in_memory());
    let what = What {
        of_index: of_index(global.skopeo.platform(), copying.all, None),
        suffix: append_suffix,
        mode: if dry_run { Mode::DryRun } else { Mode::Apply },
        ..What::plain(Extent::Image)
    };
    let options = Options {
        platforms: Vec::new(),
        index: IndexMode::Rewrite,
        referrers: !copying.remove_signatures,
        foreign_layers: ForeignLayers::Skip,
    };
    let mut report = {
        let shown = copy::Shown::start(global, &carrier);
        let image = |image: &ImageReport| shown.settled(image);
        // How many images there are is known when all repositories have been listed.
        let (images, unlisted) = (AtomicUsize::new(0), AtomicUsize::new(orders.len()));
        let found = |more| {
            let all = images.fetch_add(more, Ordering::AcqRel) + more;
            if unlisted.fetch_sub(1, Ordering::AcqRel) == 1 {
                shown.tally.found(all);
            }
        };
        let watch = Watch { found: &found, image: &image };
        let work = Work { carrier: &carrier, sides: &sides, what, options, watch };
        work.run(orders, &stop.token).await
    };
    report.seconds = begin.elapsed().as_secs_f64();
    copying.write_digests(&report, Some(|image| format!("docker://{}", image.target)))?;
    let told = copy::Told { source: "", target: &format!("{target}/"), summary: true };
    copy::tell(global, &carrier, &report, &stop, &told)
}

/// skopeo's own kind of folder, which nothing else reads.
fn refuse_folders(src: From, dest: To) -> Result<(), CliError> {
    let (option, hint) = if src == From::Dir {
        (
            "--src dir",
            "write the folder again as layouts: `tranship sync --src docker --dest oci` makes what --src oci reads",
        )
    } else if dest == To::Dir {
        ("--dest dir", "--dest oci writes OCI image layouts below DIR, which --src oci reads")
    } else {
        return Ok(());
    };
    Err(CliError::Hinted {
        exit: Exit::Usage,
        message: format!(
            "{option} is not supported: skopeo's own kind of folder is not read or written"
        ),
        hint,
    })
}

/// An image, or all tags of a repository.
fn of_registry(source: &str) -> Result<File, CliError> {
    let repository: ImageAddress =
        source.parse().map_err(|error| CliError::Usage(format!("{error}")))?;
    let Address::Registry(host, _) = &repository.repository else {
        let message = format!("`{source}` is on disk: use --src oci with its folder");
        return Err(CliError::Usage(message));
    };
    let hosts = vec![(host.clone(), Overrides::default())];
    let extent = match repository.names_image() {
        true => Extent::Image,
        false => Extent::all_tags(),
    };
    Ok(File { wanted: vec![Wanted { repository, extent }], hosts })
}

/// The layout that is there, or all layouts below.
async fn on_this_disk(stores: &Stores, folder: &Path) -> Result<Vec<Wanted>, CliError> {
    let all = |repository| Wanted {
        repository: ImageAddress { repository, tag: None, digest: None },
        extent: Extent::all_tags(),
    };
    if folder.join(MARKER).exists() {
        return Ok(vec![all(Address::Layout(folder.to_owned()))]);
    }
    let store = Store::Folder(folder.to_owned());
    let mut names = stores.repositories(&store, &[""], Flow::ALONE).await?;
    names.sort_unstable();
    if names.is_empty() {
        let message = format!("there is no layout in {}", folder.display());
        return Err(CliError::Failed(message));
    }
    Ok(names.iter().map(|name| all(store.address(name))).collect())
}

/// The registry that a target is in: `HOST[/PREFIX]`.
fn host_of(target: &str) -> Result<RegistryHost, CliError> {
    let name = target.strip_prefix("docker://").unwrap_or(target);
    let host = name.split('/').next().unwrap_or_default();
    host.parse().map_err(|error| CliError::Usage(format!("{error}")))
}

/// What all repositories of the command share.
struct Work<'a> {
    carrier: &'a Carrier,
    sides: &'a Sides,
    what: What,
    options: Options,
    watch: Watch<'a>,
}

impl Work<'_> {
    async fn run(&self, orders: Vec<Order>, cancel: &CancellationToken) -> CopyReport {
        // Collected first: the compiler cannot prove such a future `Send` inside the stream.
        let copies: Vec<_> = orders.into_iter().map(|order| self.one(order, cancel)).collect();
        let mut copies = futures_util::stream::iter(copies).buffered(REPOSITORIES);
        let mut report = CopyReport::default();
        while let Some(copied) = copies.next().await {
            report.add(copied);
        }
        report
    }

    async fn one(&self, order: Order, cancel: &CancellationToken) -> CopyReport {
        let Order { source, extent, target } = order;
        let opened = async {
            let access = match self.what.mode {
                Mode::Apply => Access::Write,
                Mode::DryRun => Access::Preview,
            };
            let source = self.sides.source.open_image(&source, Flow::ALONE, Access::Read).await?;
            Ok((source, self.sides.target.open_image(&target, Flow::ALONE, access).await?))
        };
        let opened: Result<_, crate::repository::Error> = opened.await;
        let (source, target) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                let failures = vec![Failure::of(&error)];
                return CopyReport { failures, ..CopyReport::default() };
            }
        };
        let what = What { extent, ..self.what.clone() };
        let options = self.options.clone();
        crate::copy::run(self.carrier, &source, target, what, options, cancel, self.watch).await
    }
}
