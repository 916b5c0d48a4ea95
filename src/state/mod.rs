//! What is known, and what was begun: one trait for each purpose.
//!
//! Everything in here is a hint that saves requests, or a place to go on from. Nothing in here
//! replaces the verification of bytes. So the methods return no errors: a state that cannot be read
//! is empty, one that cannot be written stays in memory until it can, and the log says so once.
//!
//! The methods never block on a network: an implementation answers from what this process holds,
//! and replicates in the background. What was noted is durable after [`Storage::flush`], and soon
//! without it.
//!
//! - A file for each purpose, with its records, its trait and the trait's implementation by `local`:
//!   `tags`: tags that were copied. `owners`: by which rule. `withdrawn`: tags that cleanup rules
//!   deleted. `blobs`: where blobs are. `journal`: uploads that were begun. `marks`: where each rule stands. `manifests`:
//!   what is known of manifests. `in_use`: what ran lately. `abilities`: what registries can do.
//!   `quarantines`: where copies of what was deleted are. `keep_lines`: which ones kept something.
//! - `local`: the state of one machine. Below it: `store`: keys and values, in memory or on a disk.
//!   `pending`: those that are not on the disk yet; `flusher` brings them there. `database`: what
//!   keeps them on the disk; `disk`: sled. `codec`: their bytes; `old`: those of older versions.
//!   `open`: directory, lock, damage. `size`: disk space.
//! - `jsonl`: append-only logs beside the database, for what must not be lost. There, errors are
//!   returned.

mod abilities;
mod blobs;
mod codec;
mod database;
mod disk;
mod flusher;
mod in_use;
mod journal;
pub mod jsonl;
mod keep_lines;
mod local;
mod manifests;
mod marks;
mod old;
mod open;
mod owners;
mod pending;
mod quarantines;
mod size;
mod store;
mod tags;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod trouble;
mod withdrawn;

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use local::Local;

pub use abilities::RegistryAbilities;
pub use blobs::BlobLocations;
pub use in_use::{InUseHistory, RememberedImage, UnexpectedlyEmpty};
pub use journal::{Checkpoint, Journal, UploadJournals, UploadKey};
pub use keep_lines::KeepLines;
pub use manifests::{Created, KnownManifests, ListedReferrers, ManifestFacts, ManifestSummary};
pub use marks::{Announced, RuleMark, RuleMarks};
pub use open::StateError;
pub use owners::{TagOwner, TagOwners};
pub use quarantines::Quarantines;
pub use tags::{TagKey, TagState, TagStates};
pub use withdrawn::{Withdrawn, WithdrawnTags};

/// The state of one process, by purpose. Clones are the same state. Code that needs one purpose only
/// takes that part.
#[derive(Debug, Clone)]
pub struct State {
    pub tags: Arc<dyn TagStates>,
    pub owners: Arc<dyn TagOwners>,
    pub withdrawn: Arc<dyn WithdrawnTags>,
    pub blobs: Arc<dyn BlobLocations>,
    pub uploads: Arc<dyn UploadJournals>,
    pub marks: Arc<dyn RuleMarks>,
    pub manifests: Arc<dyn KnownManifests>,
    pub in_use: Arc<dyn InUseHistory>,
    pub abilities: Arc<dyn RegistryAbilities>,
    pub quarantines: Arc<dyn Quarantines>,
    pub keep_lines: Arc<dyn KeepLines>,
    pub storage: Arc<dyn Storage>,
}

/// How the other parts are kept.
pub trait Storage: Debug + Send + Sync {
    /// Makes everything that was noted until now durable.
    fn flush(&self) -> BoxFuture<'_, ()>;

    /// Costs nothing.
    fn health(&self) -> Health;

    /// The disk space that everything in the state directory takes, history included, in bytes; 0 in
    /// memory. Costs nothing: it is measured in the background.
    fn size_bytes(&self) -> u64;
}

/// Whether the state works. If it does not, everything goes on, but costs more requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// Why the database cannot be read: what it has counts as unknown.
    pub broken: Option<String>,
    /// Why what was noted lately does not get to the disk. It is kept in memory, and written when
    /// that is possible.
    pub behind: Option<String>,
    /// How long the oldest change that is not on the disk has waited.
    pub unsaved: Duration,
    /// Changes that were forgotten because too many waited for the disk.
    pub lost: u64,
    /// Where the database is kept that was found to be damaged when this state was opened.
    pub set_aside: Option<PathBuf>,
}

impl State {
    /// Opens the state in a directory, which is created with mode 0700 if it is not there. A
    /// database that is damaged or of another version is set aside, and an empty one begun.
    ///
    /// Blocks while it reads the disk.
    ///
    /// # Errors
    /// Another process uses the directory, or it cannot be created or written to.
    pub fn open(dir: &Path) -> Result<Self, StateError> {
        let local = Local::open(dir)?;
        old::convert(&local);
        Ok(Self::local(local))
    }

    /// A state that lives as long as the process, for commands that do one thing.
    pub fn in_memory() -> Self {
        Self::local(Local::in_memory())
    }

    fn local(local: Local) -> Self {
        let local = Arc::new(local);
        Self {
            tags: local.clone(),
            owners: local.clone(),
            withdrawn: local.clone(),
            blobs: local.clone(),
            uploads: local.clone(),
            marks: local.clone(),
            manifests: local.clone(),
            in_use: local.clone(),
            abilities: local.clone(),
            quarantines: local.clone(),
            keep_lines: local.clone(),
            storage: local,
        }
    }
}
