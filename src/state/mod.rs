//! The embedded database: what is known, and what was begun.
//!
//! Everything in here is a hint that saves requests, or a place to go on from. Nothing in here
//! replaces the verification of bytes. So no method returns an error: a state that cannot be read
//! is empty, one that cannot be written to forgets, and the log says so once.
//!
//! - `tags`: tags that were copied. `blobs`: where blobs are. `journal`: uploads that were begun.
//!   `marks`: which slot of its schedule each rule was at. `manifests`: what was seen of them.
//!   `abilities`: what registries were found to be able to do. `in_use`: what ran lately.
//!   `quarantines`: where copies of what was deleted are.
//!   `withdrawn`: tags that cleanup rules deleted.
//! - `codec`: the bytes of keys and values. `store`: keys and values in memory or in sled.
//! - `open`: directory, lock, damage. `flusher`: durability. `health`: what became of all that.
//! - `jsonl`: beside the database, logs of what must not be lost. There, errors are returned.

mod abilities;
mod blobs;
mod codec;
mod flusher;
mod health;
mod in_use;
mod journal;
pub mod jsonl;
mod manifests;
mod marks;
mod open;
mod quarantines;
mod store;
mod tags;
#[cfg(test)]
mod tests;
mod withdrawn;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flusher::Flusher;
use parking_lot::{Mutex, MutexGuard};
use store::{Change, Store};

pub use abilities::Ability;
pub use blobs::MAX_LOCATIONS;
pub use health::Health;
pub use in_use::{ListsNothing, SeenInUse};
pub use journal::{Journal, Point, UploadKey};
pub use manifests::{Created, SeenManifest, SeenReferrers};
pub use marks::{Mark, Told};
pub use open::StateError;
pub use tags::{TagKey, TagState};
pub use withdrawn::Withdrawn;

/// The state of one process. Clones are the same state.
#[derive(Debug, Clone)]
pub struct State(Arc<Inner>);

/// Dropped in this order: flushed, then closed, then unlocked.
#[derive(Debug)]
struct Inner {
    /// `None` where there is nothing to flush to.
    flusher: Option<Flusher>,
    store: Arc<Store>,
    /// Held while a value is read, changed and written.
    updating: Mutex<()>,
    /// `None` in memory.
    dir: Option<PathBuf>,
    set_aside: Option<PathBuf>,
    /// Of the directory.
    size: health::Size,
    /// Held as long as the directory is in use.
    _lock: Option<File>,
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
        let opened = open::open(dir)?;
        let store = Arc::new(Store::Disk(opened.disk));
        let flusher = Flusher::start(Arc::clone(&store)).map_err(|error| StateError::Unusable {
            path: dir.to_owned(),
            cause: error.to_string(),
        })?;
        Ok(Self(Arc::new(Inner {
            flusher: Some(flusher),
            store,
            updating: Mutex::default(),
            dir: Some(dir.to_owned()),
            set_aside: opened.set_aside,
            size: health::Size::of(dir),
            _lock: Some(opened.lock),
        })))
    }

    /// A state that lives as long as the process, for commands that do one thing.
    pub fn in_memory() -> Self {
        Self(Arc::new(Inner {
            flusher: None,
            store: Arc::new(Store::Memory(Mutex::default())),
            updating: Mutex::default(),
            dir: None,
            set_aside: None,
            size: health::Size::default(),
            _lock: None,
        }))
    }

    /// Makes everything that was noted until now durable. It is so within a fraction of a second
    /// without this too.
    pub async fn flush(&self) {
        if let Some(flusher) = &self.0.flusher {
            flusher.flush().await;
        }
    }

    fn store(&self) -> &Store {
        &self.0.store
    }

    fn apply(&self, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        self.0.store.apply(changes);
        if let Some(flusher) = &self.0.flusher {
            flusher.written();
        }
    }

    fn updating(&self) -> MutexGuard<'_, ()> {
        self.0.updating.lock()
    }
}
