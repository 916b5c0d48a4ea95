//! The state of one machine: in a directory, or in memory.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use parking_lot::{Mutex, MutexGuard};

use super::database::{Change, Database};
use super::flusher::{Flusher, Pace};
use super::open::{self, StateError};
use super::size::Size;
use super::store::{Condition, Store};
use super::{Health, Storage};

/// Each purpose's file implements its trait for this. The fields are dropped in this order: what
/// was written is flushed, the database is closed, the directory is unlocked.
#[derive(Debug)]
pub(super) struct Local {
    /// `None` in memory.
    flusher: Option<Flusher>,
    pub(super) store: Arc<Store>,
    /// Held while a value is read, changed and written.
    updating: Mutex<()>,
    /// `None` in memory.
    size: Option<Size>,
    set_aside: Option<PathBuf>,
    /// Held as long as the directory is in use.
    _lock: Option<File>,
}

impl Local {
    /// See [`State::open`](super::State::open).
    pub(super) fn open(dir: &Path) -> Result<Self, StateError> {
        let opened = open::open(dir)?;
        let local = Self::on(opened.disk, Pace::default());
        let local = local.map_err(|error| StateError::Unusable {
            path: dir.to_owned(),
            cause: error.to_string(),
        })?;
        Ok(Self {
            size: Some(Size::of(dir)),
            set_aside: opened.set_aside,
            _lock: Some(opened.lock),
            ..local
        })
    }

    /// In a database that is open.
    pub(super) fn on(database: impl Database + 'static, pace: Pace) -> std::io::Result<Self> {
        let store = Arc::new(Store::on(database, pace.patience));
        let flusher = Flusher::start(Arc::clone(&store), pace)?;
        Ok(Self { flusher: Some(flusher), store, ..Self::in_memory() })
    }

    pub(super) fn in_memory() -> Self {
        Self {
            flusher: None,
            store: Arc::new(Store::Memory(Mutex::default())),
            updating: Mutex::default(),
            size: None,
            set_aside: None,
            _lock: None,
        }
    }

    pub(super) fn apply(&self, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        self.store.apply(changes);
        if let Some(flusher) = &self.flusher {
            flusher.applied();
        }
    }

    pub(super) fn updating(&self) -> MutexGuard<'_, ()> {
        self.updating.lock()
    }
}

impl Storage for Local {
    fn flush(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            if let Some(flusher) = &self.flusher {
                flusher.flush().await;
            }
        })
    }

    fn health(&self) -> Health {
        let Condition { broken, behind, unsaved, lost } = self.store.condition();
        Health { broken, behind, unsaved, lost, set_aside: self.set_aside.clone() }
    }

    fn size_bytes(&self) -> u64 {
        self.size.as_ref().map_or(0, Size::bytes)
    }
}
