//! Moves one image from a source to one or several targets.
//!
//! - `graph`: every manifest of an image, read once. `platforms`: which children are wanted.
//! - `image`: the order in which things are put, so that a tag never points at something
//!   incomplete. `referrers`: what follows an image: signatures, SBOMs, attestations.
//! - `blobs`: what a target lacks, and whether it can be mounted. `carry`: one blob over the wire.
//! - `seen`: what targets were seen to have. `underway`: transfers as they are seen from outside;
//!   `span`: in traces.
//! - `trail`, `resume`, `locks`, `meter`: the parts these are made of.

mod blobs;
mod carry;
mod graph;
mod image;
mod locks;
mod meter;
mod platforms;
mod referrers;
mod resume;
mod seen;
mod span;
mod trail;
mod underway;

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::config::{ForeignLayers, IndexMode};
use crate::fair::Permits;
use crate::http::RetryPolicy;
use crate::metrics::Metrics;
use crate::oci::{Digest, Platform};
use crate::state::State;

pub use graph::{Graph, subjects};
pub use image::{Condition, Delivered, Job, Outcome, Target};
pub use locks::Locks;
pub use meter::{Meter, Reading};
pub use referrers::{Found, TagIndex, fingerprint, survey};
use seen::Seen;
pub use underway::TransferStatus;
use underway::Underway;

/// Blobs on the wire at once, in the whole process: each costs up to a few hundred KiB of memory.
const STREAMS: usize = 48;

/// What of an image is wanted.
#[derive(Debug, Clone)]
pub struct Options {
    /// Empty: all.
    pub platforms: Vec<Platform>,
    pub index: IndexMode,
    /// Signatures, SBOMs and attestations come along.
    pub referrers: bool,
    pub foreign_layers: ForeignLayers,
}

impl Options {
    /// A number that is another one for other options, and the same one for ever for these.
    pub fn mark(&self) -> u64 {
        let platforms: Vec<String> = self.platforms.iter().map(Platform::to_string).collect();
        let index = match self.index {
            IndexMode::Rewrite => "rewrite",
            IndexMode::Sparse => "sparse",
        };
        let foreign = self.foreign_layers == ForeignLayers::Copy;
        let text = format!("{} {index} {} {foreign}", platforms.join(","), self.referrers);
        let digest = Digest::of(text.as_bytes());
        digest.as_bytes().iter().take(8).fold(0, |mark, byte| mark << 8 | u64::from(*byte))
    }
}

/// Moves images. Knows what all transfers of a run must know of each other, so that every blob
/// goes over the wire once.
#[derive(Debug)]
pub struct Carrier {
    state: State,
    policy: RetryPolicy,
    /// Random numbers from 0 to 1 that spread retries.
    jitter: fn() -> f64,
    meter: Meter,
    metrics: Metrics,
    /// Who brings a blob into a store, or a fallback tag up to date.
    locks: Locks<(String, Digest)>,
    streams: Permits,
    underway: Underway,
    /// What was seen at the targets lately, as hashes: a hint, like the state, but for all
    /// repositories of a store.
    seen: Mutex<Seen>,
    /// How each store answers when asked to mount a blob from the repository that wants it.
    self_mounts: Mutex<HashMap<String, blobs::SelfMount>>,
}

impl Carrier {
    pub fn new(state: State, policy: RetryPolicy, jitter: fn() -> f64) -> Self {
        Self {
            state,
            policy,
            jitter,
            meter: Meter::default(),
            metrics: Metrics::new(),
            locks: Locks::default(),
            streams: Permits::new(STREAMS),
            underway: Underway::default(),
            seen: Mutex::default(),
            self_mounts: Mutex::default(),
        }
    }

    /// Counts into these metrics, beside its own meter.
    pub fn with_metrics(self, metrics: Metrics) -> Self {
        Self { metrics, ..self }
    }

    /// What was moved until now.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// The transfers under way, the oldest first.
    pub fn transfers(&self) -> Vec<TransferStatus> {
        self.underway.list()
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    /// Waits before the next try, after this many failures.
    async fn pause(&self, failures: u32) {
        // A break that follows progress counts as the first failure.
        let wait = self.policy.backoff.jittered(failures.max(1), (self.jitter)());
        tokio::time::sleep(wait).await;
    }

    fn seen(&self) -> parking_lot::MutexGuard<'_, Seen> {
        self.seen.lock()
    }
}
