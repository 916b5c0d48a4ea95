//! A source and a target, scripted, with images to copy: what the fault tests break.
//!
//! The rule `app` copies `acme/app` (tags `v1` to `v5`), the rule `other` copies `acme/other`
//! (tag `w1`), both into `mirror/…`. A fault that strikes one image must leave the rest alone:
//!
//! ```text
//! let bench = Bench::new();
//! bench.source.on("GET", Kind::Manifest).containing("v2").fail(Fault::status(403));
//! let report = bench.sync().await;
//! report.only_failure("v2");
//! bench.assert_arrived_but("v2").await;
//! ```

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;
use tranship::config::{self, Config, SyncRule};
use tranship::http::{Backoff, RetryPolicy};
use tranship::metrics::Metrics;
use tranship::registry::Registries;
use tranship::repository::Failure;
use tranship::secret::Environment;
use tranship::state::State;
use tranship::sync::{Action, Mode, RuleReport, Syncer};
use tranship::transfer::Carrier;

use super::compare::assert_same_at;
use super::endpoint::Place;
use super::images::{Family, Image};
use super::scripted::{Fault, Scripted};

/// Without a byte moving for so long, a registry of the bench counts as gone: longer than a busy
/// machine takes for anything.
pub const IDLE: Duration = Duration::from_secs(10);
/// The same, where a registry hangs on purpose.
pub const SHORT: Duration = Duration::from_millis(400);
/// Tries of each request.
pub const ATTEMPTS: u32 = 3;

/// Images under way at once.
pub const IMAGES: usize = 32;

pub const APP: &str = "acme/app";
pub const OTHER: &str = "acme/other";
pub const TAGS: [&str; 5] = ["v1", "v2", "v3", "v4", "v5"];
/// Bytes of the layers of each image of `APP`.
pub const LAYERS: [usize; 2] = [40_000, 300_000];

/// As patient as a test may be.
pub fn policy() -> RetryPolicy {
    let backoff = Backoff::new(Duration::from_millis(5), Duration::from_millis(50));
    RetryPolicy { attempts: ATTEMPTS, backoff, patience: Duration::from_secs(5) }
}

/// Runs rules by the library.
pub struct Runner {
    pub state: State,
    pub policy: RetryPolicy,
    pub metrics: Metrics,
}

impl Runner {
    /// Nothing is known yet.
    pub fn new() -> Self {
        Self { state: State::in_memory(), policy: policy(), metrics: Metrics::new() }
    }

    /// One pass over all rules of a configuration, as one process does it.
    pub async fn run(&self, text: &str) -> Report {
        let (syncer, sync) = self.syncer(text, IMAGES);
        let rules: Vec<_> = sync.iter().collect();
        let pass =
            async { syncer.run(&rules, Mode::Apply, &CancellationToken::new(), &|_| {}).await };
        let reports = tokio::time::timeout(Duration::from_secs(60), pass).await;
        let rules = reports.expect("a pass ends within a minute");
        Report { rules, received: syncer.carrier().totals().received_bytes }
    }

    /// What carries the rules of a configuration out, with so many images under way at once.
    pub fn syncer(&self, text: &str, images: usize) -> (Arc<Syncer>, Vec<SyncRule>) {
        let nothing = |_: &str| None;
        let Config { registries, sync, cleanup, .. } =
            config::parse(&with_state(text), "/nowhere/tranship.toml".as_ref(), &nothing)
                .unwrap_or_else(|error| panic!("{error}\n{text}"));
        let environment = Environment::new(|_| None);
        let carrier = Carrier::new(self.state.clone(), self.policy, || 0.5)
            .with_listener(Arc::new(self.metrics.clone()));
        let registries = Registries::new(registries, Default::default(), environment, || 0.5)
            .with_policy(self.policy)
            .with_pulses(carrier.pulses().clone())
            .with_metrics(self.metrics.clone());
        let clock = || 1_000_000;
        let syncer = Syncer::with_images(registries.into(), carrier.into(), clock, images);
        (Arc::new(syncer.with_rules(&sync, &cleanup)), sync)
    }
}

fn with_state(text: &str) -> String {
    format!("[daemon]\nstate = \"/nowhere\"\n{text}")
}

/// A `[registry]` entry for plain http; `more` are further lines of it.
pub fn registry(place: &impl Place, idle: Duration, more: &str) -> String {
    let idle = idle.as_millis();
    format!(
        "[registry.\"{}\"]\ninsecure = \"http\"\nidle_timeout = \"{idle}ms\"\n{more}\n",
        place.host()
    )
}

/// A `[[sync]]` entry; `more` are further lines of it.
pub fn rule(name: &str, source: &str, target: &str, more: &str) -> String {
    format!("[[sync]]\nname = \"{name}\"\nsource = \"{source}\"\ntarget = \"{target}\"\n{more}\n")
}

/// What a pass did.
#[derive(Debug)]
pub struct Report {
    pub rules: Vec<RuleReport>,
    /// Bytes of blobs that were read from sources.
    pub received: u64,
}

impl Report {
    /// What the process would end with: 0 or 1.
    pub fn exit(&self) -> i32 {
        i32::from(!self.rules.iter().all(RuleReport::is_success))
    }

    /// Panics unless everything was done; gives the number of images copied.
    pub fn success(&self) -> usize {
        assert_eq!(self.exit(), 0, "{self:#?}");
        self.rules.iter().map(|rule| rule.counts.copied).sum()
    }

    /// Every failure of an image: the image's name at the source, and what failed.
    pub fn failures(&self) -> Vec<(&str, &Failure)> {
        let images = self.rules.iter().flat_map(|rule| &rule.images);
        images
            .filter(|image| image.action == Action::Failed)
            .flat_map(|image| image.errors.iter().map(|error| (image.source.as_str(), error)))
            .collect()
    }

    /// Panics unless exactly one image failed, `acme/app` with this tag, for one reason; gives
    /// that reason.
    pub fn only_failure(&self, tag: &str) -> &Failure {
        assert_eq!(self.exit(), 1, "{self:#?}");
        assert!(self.rules.iter().all(|rule| rule.failures.is_empty()), "{self:#?}");
        match &self.failures()[..] {
            [(image, failure)] if image.ends_with(&format!("/{APP}:{tag}")) => failure,
            _ => panic!("not only {tag} failed: {self:#?}"),
        }
    }
}

/// The two registries, the images, and the rules.
pub struct Bench {
    pub source: Scripted,
    pub target: Scripted,
    pub runner: Runner,
    /// Of `APP`, in the order of `TAGS`.
    pub images: Vec<Image>,
    pub other: Image,
    /// Of both registries.
    pub idle: Duration,
    /// Lines of the `[registry]` entries of source and target.
    pub source_lines: String,
    pub target_lines: String,
    /// Lines of both rules.
    pub rule_lines: String,
}

impl Bench {
    pub fn new() -> Self {
        let images = TAGS.iter().map(|tag| Image::single(Family::Oci, tag, &LAYERS)).collect();
        Self::with(images)
    }

    /// With these images under `TAGS`.
    pub fn with(images: Vec<Image>) -> Self {
        let (source, target) = (Scripted::start(), Scripted::start());
        for (tag, image) in TAGS.iter().zip(&images) {
            image.load(&source, APP, tag);
        }
        let other = Image::single(Family::Docker, "other", &[5_000]);
        other.load(&source, OTHER, "w1");
        Self {
            source,
            target,
            runner: Runner::new(),
            images,
            other,
            idle: IDLE,
            source_lines: String::new(),
            target_lines: String::new(),
            rule_lines: "referrers = false".to_owned(),
        }
    }

    /// Gives up soon on this fault, if it is one of registries that hang.
    pub fn patience_for(mut self, fault: &Fault) -> Self {
        self.idle = if matches!(fault, Fault::Hang) { SHORT } else { IDLE };
        self
    }

    /// The configuration file.
    pub fn config(&self) -> String {
        let name = |place: &Scripted, rest: &str| format!("{}/{rest}", place.host());
        let target = name(&self.target, "mirror/{tail}");
        [
            registry(&self.source, self.idle, &self.source_lines),
            registry(&self.target, self.idle, &self.target_lines),
            rule("app", &name(&self.source, APP), &target, &self.rule_lines),
            rule("other", &name(&self.source, OTHER), &target, &self.rule_lines),
        ]
        .concat()
    }

    /// One pass over both rules.
    pub async fn sync(&self) -> Report {
        self.runner.run(&self.config()).await
    }

    /// The digest of a layer that only the image with this tag has.
    pub fn layer(&self, tag: &str) -> &str {
        let image = self.image(tag);
        &image.blobs[image.blobs.len() - 1].digest
    }

    pub fn image(&self, tag: &str) -> &Image {
        let at = TAGS.iter().position(|known| *known == tag).unwrap();
        &self.images[at]
    }

    /// Panics unless everything is at the target, bit for bit, and nothing half-done.
    pub async fn assert_arrived(&self) {
        self.assert_arrived_but("").await;
    }

    /// As `assert_arrived`, but for one tag of `acme/app`, which must not be there at all.
    pub async fn assert_arrived_but(&self, tag: &str) {
        for present in TAGS.iter().take(self.images.len()).filter(|present| **present != tag) {
            self.assert_tag(present).await;
        }
        let (there, here) = ((&self.source, OTHER, "w1"), (&self.target, "mirror/other", "w1"));
        assert_same_at(there, here).await;
        assert_eq!(self.target.tag("mirror/app", tag), None, "{tag} points at something");
        self.target.assert_tags_complete();
    }

    /// Panics if the target keeps uploads that nobody will ever complete.
    pub fn assert_no_upload_left(&self) {
        assert_eq!(self.target.open_uploads(), 0, "uploads left open:\n{}", self.target.traffic());
    }

    pub async fn assert_tag(&self, tag: &str) {
        assert_same_at((&self.source, APP, tag), (&self.target, "mirror/app", tag)).await;
    }

    /// Ends all faults and copies again: what was left behind must arrive, and no more than that
    /// be copied.
    pub async fn assert_heals(&self) {
        self.source.clear_rules();
        self.target.clear_rules();
        let report = self.sync().await;
        assert_eq!(report.success(), 1, "{report:#?}");
        self.assert_arrived().await;
    }
}

/// Runs passes side by side, but so few that the machine is not what they wait for.
pub async fn several<F: Future<Output = ()>>(passes: impl IntoIterator<Item = F>) {
    futures_util::stream::iter(passes).for_each_concurrent(4, |pass| pass).await;
}
