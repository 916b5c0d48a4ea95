//! Keys and values, in memory or in sled.
//!
//! What is kept here only saves time, so nothing in here returns an error. After the first error,
//! or a panic inside of sled, the store is empty and takes nothing any more; the log says so once.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use parking_lot::Mutex;

/// A file in the folder of a database that was found to be damaged; it says how. Much damage shows
/// only when a page is read, so opening the database would not find it again.
pub(super) const DAMAGE_MARK: &str = "damaged";

/// A key, and its new value or `None` to remove it.
pub(super) type Change = (Vec<u8>, Option<Vec<u8>>);

#[derive(Debug)]
pub(super) enum Store {
    Memory(Mutex<BTreeMap<Vec<u8>, Vec<u8>>>),
    Disk(Disk),
}

/// An open database.
pub(super) struct Disk {
    db: sled::Db,
    /// The database's data file. sled's own flush does not make the file's growth durable.
    file: File,
    /// Where `DAMAGE_MARK` goes.
    mark: PathBuf,
    /// The first failure. From then on the database is not touched.
    broken: OnceLock<String>,
}

/// Why an operation on sled did not work.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Sled(#[from] sled::Error),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("the database library panicked: {0}")]
    Panic(String),
}

/// Whether an error of the system says nothing about the database.
pub(super) fn is_systems(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::PermissionDenied
            | ErrorKind::ResourceBusy
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::StorageFull
            | ErrorKind::QuotaExceeded
            | ErrorKind::OutOfMemory
    )
}

/// Runs an operation of sled, which panics if a page is damaged.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    // Nothing that `work` touched is used after a panic: the database is given up.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let message = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        Err(Failure::Panic(message.to_owned()))
    })
}

impl Store {
    pub(super) fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Memory(map) => map.lock().get(key).cloned(),
            Self::Disk(disk) => disk.run(|db| Ok(db.get(key)?.map(|value| value.to_vec())))?,
        }
    }

    /// Makes all changes, or none if the process is killed meanwhile.
    pub(super) fn apply(&self, changes: Vec<Change>) {
        match self {
            Self::Memory(map) => {
                let mut map = map.lock();
                for (key, value) in changes {
                    match value {
                        Some(value) => map.insert(key, value),
                        None => map.remove(&key),
                    };
                }
            }
            Self::Disk(disk) => {
                disk.run(|db| write(db, changes));
            }
        }
    }

    /// What `pick` makes of the entries whose keys start with `prefix`, in the order of their keys;
    /// of more than `limit`, the last ones. There may be very many entries: only what is picked is
    /// held. `pick` must not use the store.
    ///
    /// Every scan is done here, so this is where scans could be kept off the runtime's workers.
    pub(super) fn scan<T>(
        &self,
        prefix: &[u8],
        limit: usize,
        mut pick: impl FnMut(&[u8], &[u8]) -> Option<T>,
    ) -> Vec<T> {
        let mut picked: Vec<T> = match self {
            Self::Memory(map) => {
                let map = map.lock();
                let entries = map.range(prefix.to_vec()..);
                let entries: Vec<_> =
                    entries.take_while(|(key, _)| key.starts_with(prefix)).collect();
                let picked = entries.into_iter().rev().filter_map(|(key, value)| pick(key, value));
                picked.take(limit).collect()
            }
            Self::Disk(disk) => disk
                .run(|db| {
                    let mut picked = Vec::new();
                    for entry in db.scan_prefix(prefix).rev() {
                        if picked.len() == limit {
                            break;
                        }
                        let (key, value) = entry?;
                        picked.extend(pick(&key, &value));
                    }
                    Ok(picked)
                })
                .unwrap_or_default(),
        };
        picked.reverse();
        picked
    }

    /// Makes everything that was applied durable, against the loss of power too.
    pub(super) fn flush(&self) {
        if let Self::Disk(disk) = self {
            disk.run(|db| disk.flush_to_disk(db));
        }
    }

    /// Why the store was given up, if it was.
    pub(super) fn broken(&self) -> Option<&str> {
        match self {
            Self::Memory(_) => None,
            Self::Disk(disk) => disk.broken.get().map(String::as_str),
        }
    }

    /// Gives the store up: it is empty from now on.
    pub(super) fn give_up(&self, why: &str) {
        if let Self::Disk(disk) = self {
            disk.give_up(why);
        }
    }
}

fn write(db: &sled::Db, changes: Vec<Change>) -> Result<(), Failure> {
    let is_single = changes.len() == 1;
    let mut batch = sled::Batch::default();
    for (key, value) in changes {
        match value {
            // A batch makes sled write out its buffer, so a single change is made without one.
            Some(value) if is_single => return Ok(db.insert(key, value).map(drop)?),
            None if is_single => return Ok(db.remove(key).map(drop)?),
            Some(value) => batch.insert(key, value),
            None => batch.remove(key),
        }
    }
    Ok(db.apply_batch(batch)?)
}

impl Disk {
    /// `path` is the database's folder.
    pub(super) fn new(db: sled::Db, path: &Path) -> Result<Self, Failure> {
        let file = OpenOptions::new().write(true).open(path.join("db"))?;
        Ok(Self { db, file, mark: path.join(DAMAGE_MARK), broken: OnceLock::new() })
    }

    /// A value, or why it cannot be read: for opening the database.
    pub(super) fn get_now(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Failure> {
        self.try_run(|db| Ok(db.get(key)?.map(|value| value.to_vec())))
    }

    /// Writes a value durably, or says why not: for opening the database.
    pub(super) fn put_now(&self, key: &[u8], value: &[u8]) -> Result<(), Failure> {
        self.try_run(|db| {
            db.insert(key, value)?;
            self.flush_to_disk(db)
        })
    }

    fn flush_to_disk(&self, db: &sled::Db) -> Result<(), Failure> {
        db.flush()?;
        Ok(self.file.sync_all()?)
    }

    fn try_run<T>(&self, work: impl FnOnce(&sled::Db) -> Result<T, Failure>) -> Result<T, Failure> {
        guarded(|| work(&self.db)).inspect_err(|failure| {
            let _ = self.broken.set(failure.to_string());
        })
    }

    /// The result of `work`, or `None` if the database is broken, then or before.
    fn run<T>(&self, work: impl FnOnce(&sled::Db) -> Result<T, Failure>) -> Option<T> {
        if self.broken.get().is_some() {
            return None;
        }
        guarded(|| work(&self.db)).inspect_err(|failure| self.fail(failure)).ok()
    }

    fn fail(&self, failure: &Failure) {
        let why = failure.to_string();
        self.give_up(&why);
        match failure {
            Failure::Io(error) | Failure::Sled(sled::Error::Io(error)) if is_systems(error) => {}
            // Best effort: without the mark, the next process runs into the damage again.
            _ => drop(std::fs::write(&self.mark, why)),
        }
    }

    fn give_up(&self, why: &str) {
        if self.broken.set(why.to_owned()).is_ok() {
            tracing::warn!(
                "the state cannot be used any more and is left alone until the next start, which \
                 only costs time: {why}"
            );
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let broken = self.broken.get().is_some();
        if broken || self.try_run(|db| self.flush_to_disk(db)).is_err() {
            // Closing a database that failed panics, or waits for writes that never happen. With
            // one more owner, it is not closed before the process ends.
            std::mem::forget(self.db.clone());
        }
    }
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // sled's own implementation prints the whole content.
        f.debug_struct("Disk").field("broken", &self.broken).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::local::Local;
    use super::super::{BlobLocations, Health, Storage};
    use super::*;

    /// Runs `work` on the state's database, as every operation is run.
    fn run(state: &Local, work: impl FnOnce(&sled::Db) -> Result<(), Failure>) {
        let Store::Disk(disk) = &*state.store else { panic!("a state on disk") };
        assert!(disk.run(work).is_none());
    }

    #[test]
    fn a_panic_empties_the_state_and_the_next_start_sets_it_aside() {
        let dir = tempfile::TempDir::new().unwrap();
        let blob = crate::oci::Digest::of(b"blob");
        let state = Local::open(dir.path()).unwrap();
        state.add("ghcr.io", "a", &blob);
        run(&state, |_| panic!("bad page"));
        assert!(state.get("ghcr.io", &blob).is_empty());
        state.add("ghcr.io", "b", &blob);
        assert!(state.get("ghcr.io", &blob).is_empty());
        assert!(state.health().broken.unwrap().contains("bad page"));
        assert_eq!(state.health().set_aside, None);
        drop(state);

        let state = Local::open(dir.path()).unwrap();
        assert!(state.get("ghcr.io", &blob).is_empty());
        let aside = dir.path().join("index.sled.damaged-1").join(DAMAGE_MARK);
        assert!(std::fs::read_to_string(&aside).unwrap().contains("bad page"));
        let health = state.health();
        assert_eq!(
            health,
            Health { broken: None, set_aside: Some(aside.parent().unwrap().into()) }
        );
        state.add("ghcr.io", "c", &blob);
        assert_eq!(state.get("ghcr.io", &blob), ["c"]);
    }

    /// A full disk says nothing about the database.
    #[test]
    fn an_error_of_the_system_is_no_damage() {
        let dir = tempfile::TempDir::new().unwrap();
        let state = Local::open(dir.path()).unwrap();
        run(&state, |_| Err(std::io::Error::from(ErrorKind::StorageFull).into()));
        assert!(!dir.path().join("index.sled").join(DAMAGE_MARK).exists());
    }
}
