//! The state's database: sled, in a folder of its own.
//!
//! A sled that failed to write takes nothing any more, so it is closed and opened again. If it
//! panicked or its contents are wrong, it is damaged: it is not touched any more, and the next start
//! sets it aside.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::RwLock;

use super::codec;
use super::database::{Changes, Database, Failure};

/// The version of the database as a whole. A database of another version is set aside and a new one
/// begun, by newer and older programs alike. `codec` says how a single kind of record changes.
const SCHEMA: u64 = 1;

/// A file in the folder of a database that was found to be damaged; it says how. Much damage shows
/// only when a page is read, so opening the database would not find it again.
const DAMAGE_MARK: &str = "damaged";

/// How long a lock is waited for.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);

/// How much sled writes when it opens a database, besides a snapshot as large as the one before, in
/// bytes: the rest of a segment, and some more.
const OPENING: u64 = 2 << 20;

/// How much of the database sled keeps in memory, in bytes.
const CACHE: u64 = 2 << 20;

/// An open database.
#[derive(Debug)]
pub(super) struct Disk {
    /// The folder.
    path: PathBuf,
    /// `None` after it was closed, until it is opened again.
    open: RwLock<Option<Open>>,
    /// The last save failed.
    has_failed: AtomicBool,
    /// From then on the database is not touched.
    damage: OnceLock<String>,
}

struct Open {
    db: sled::Db,
    /// The database's data file. sled's own flush does not make the file's growth durable.
    file: File,
}

/// Why a database was not opened.
#[derive(Debug)]
pub(super) enum Unopened {
    /// The cause is the system: another database could not be opened either.
    System(io::Error),
    /// The cause is the database.
    Damaged(String),
}

impl From<Failure> for Unopened {
    fn from(failure: Failure) -> Self {
        match failure {
            // These say nothing about the database.
            Failure::Refused {
                kind:
                    kind @ (ErrorKind::PermissionDenied
                    | ErrorKind::ResourceBusy
                    | ErrorKind::ReadOnlyFilesystem
                    | ErrorKind::StorageFull
                    | ErrorKind::QuotaExceeded
                    | ErrorKind::OutOfMemory),
                words,
            } => Self::System(io::Error::new(kind, words)),
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl From<Unopened> for Failure {
    fn from(unopened: Unopened) -> Self {
        match unopened {
            Unopened::System(error) => {
                Self::Refused { kind: error.kind(), words: error.to_string() }
            }
            Unopened::Damaged(why) => Self::Damaged(why),
        }
    }
}

impl Disk {
    /// Opens the database in a folder, which is there. If it `is_new`, it gets its first entry.
    pub(super) fn open(path: &Path, is_new: bool) -> Result<Self, Unopened> {
        let open = Open::at(path)?;
        let (key, value) = sentinel();
        if is_new {
            guarded(|| open.save(&Changes::from([(key, Some(value))])))?;
        } else {
            open.check()?;
        }
        Ok(Self {
            path: path.to_owned(),
            open: RwLock::new(Some(open)),
            has_failed: AtomicBool::new(false),
            damage: OnceLock::new(),
        })
    }

    fn run<T>(&self, work: impl FnOnce(&Open) -> Result<T, Failure>) -> Result<T, Failure> {
        if let Some(why) = self.damage.get() {
            return Err(Failure::Damaged(why.clone()));
        }
        let open = self.open.read();
        let Some(open) = &*open else {
            return Err(io::Error::from(ErrorKind::ResourceBusy).into());
        };
        let result = guarded(|| work(open));
        result.inspect_err(|failure| self.note(failure))
    }

    /// Marks the database if it is damaged.
    fn note(&self, failure: &Failure) {
        if let Failure::Damaged(why) = failure
            && self.damage.set(why.clone()).is_ok()
        {
            // Best effort: without the mark, the next process runs into the damage again.
            let _ = fs::write(self.path.join(DAMAGE_MARK), why);
        }
    }

    /// Closes the database and opens it again. Who reads meanwhile waits. As long as the disk has no
    /// room for that, what is there can be read.
    fn reopen(&self) -> Result<(), Failure> {
        try_room(&self.path)?;
        let mut open = self.open.write();
        if let Some(old) = open.take() {
            // Closing may wait for writes in progress; if it takes too long, the lock is not free
            // yet, and this is tried again. Without a thread, it is closed here.
            let closing = std::thread::Builder::new().name("state-closing".to_owned());
            let _ = closing.spawn(move || close(old));
        }
        let reopened = Open::at(&self.path).and_then(|new| new.check().map(|()| new));
        let new = reopened.map_err(Failure::from).inspect_err(|failure| self.note(failure))?;
        *open = Some(new);
        self.has_failed.store(false, Ordering::Release);
        Ok(())
    }
}

impl Database for Disk {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Failure> {
        self.run(|open| open.get(key))
    }

    fn scan(
        &self,
        prefix: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Failure> {
        self.run(|open| {
            for entry in open.db.scan_prefix(prefix).rev() {
                let (key, value) = entry?;
                if !visit(&key, &value) {
                    break;
                }
            }
            Ok(())
        })
    }

    fn save(&self, changes: &Changes) -> Result<(), Failure> {
        if self.has_failed.load(Ordering::Acquire) {
            self.reopen()?;
        }
        let saved = self.run(|open| open.save(changes));
        self.has_failed.store(saved.is_err(), Ordering::Release);
        saved
    }

    fn free_space(&self) -> io::Result<u64> {
        let system = rustix::fs::statvfs(&self.path)?;
        Ok(system.f_bavail.saturating_mul(system.f_frsize))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let Some(open) = self.open.get_mut().take() else { return };
        if self.damage.get().is_some() || *self.has_failed.get_mut() {
            // Closing a database that failed may panic, or wait for writes that never happen. With
            // one more owner, it is not closed before the process ends.
            std::mem::forget(open.db.clone());
        } else {
            close(open);
        }
    }
}

impl Open {
    fn at(path: &Path) -> Result<Self, Unopened> {
        let config = sled::Config::new()
            .path(path)
            .mode(sled::Mode::LowSpace)
            .cache_capacity(CACHE)
            .use_compression(false)
            .flush_every_ms(None);
        if let Ok(mut why) = fs::read_to_string(path.join(DAMAGE_MARK)) {
            if why.is_empty() {
                // It was written to a full disk.
                why.push_str("an earlier process found damage in it");
            }
            return Err(Unopened::Damaged(why));
        }
        remove_unfinished(path).map_err(Failure::from)?;
        Ok(guarded(|| {
            let opened = patiently(|| match config.open() {
                Err(error) if is_locked(&error) => None,
                other => Some(other),
            });
            // Only this process uses the directory, so no other process holds the lock.
            let db = opened.unwrap_or_else(|| Err(io::Error::from(ErrorKind::ResourceBusy).into()));
            let file = OpenOptions::new().write(true).open(path.join("db"));
            Ok(Self { db: db?, file: file? })
        })?)
    }

    /// Whether the database is one of this version that has kept its contents.
    fn check(&self) -> Result<(), Unopened> {
        let (key, value) = sentinel();
        match guarded(|| self.get(&key))? {
            Some(found) if found == value => Ok(()),
            Some(_) => Err(Unopened::Damaged(format!(
                "another version of tranship wrote it (this one has version {SCHEMA})"
            ))),
            // sled opens a database that was cut off as an empty one.
            None => Err(Unopened::Damaged("its contents are gone".to_owned())),
        }
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Failure> {
        Ok(self.db.get(key)?.map(|value| value.to_vec()))
    }

    fn save(&self, changes: &Changes) -> Result<(), Failure> {
        let mut batch = sled::Batch::default();
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(key.as_slice(), value.as_slice()),
                None => batch.remove(key.as_slice()),
            }
        }
        self.db.apply_batch(batch)?;
        self.db.flush()?;
        Ok(self.file.sync_all()?)
    }
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // sled's own implementation prints the whole content.
        f.debug_struct("Open").finish_non_exhaustive()
    }
}

/// The entry that every database has. A database without it has lost its contents.
fn sentinel() -> (Vec<u8>, Vec<u8>) {
    (vec![0], codec::encode(&("tranship state", SCHEMA)))
}

/// Removes the snapshots that were not written to their end, because the disk was full or the
/// process was killed: sled would take them for damaged ones.
fn remove_unfinished(path: &Path) -> io::Result<()> {
    for snapshot in snapshots(path)? {
        if snapshot.extension().is_some_and(|extension| extension == "generating") {
            fs::remove_file(snapshot)?;
        }
    }
    Ok(())
}

/// sled's snapshots of what it knows about its data file.
fn snapshots(path: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
    let paths = entries.into_iter().map(|entry| entry.path());
    let is_snapshot = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"snap."))
    };
    Ok(paths.filter(is_snapshot).collect())
}

/// Tries whether sled has the room that it needs to open its folder: quotas are not in the free
/// space.
fn try_room(path: &Path) -> io::Result<()> {
    let mut needed = OPENING;
    for snapshot in snapshots(path)? {
        needed += fs::metadata(snapshot)?.len();
    }
    let probe = path.join("probe");
    let tried = File::create(&probe).and_then(|mut file| {
        io::copy(&mut io::repeat(0).take(needed), &mut file)?;
        file.sync_all()
    });
    fs::remove_file(probe)?;
    tried
}

/// sled has no kind of error for this.
fn is_locked(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(error) if error.to_string().starts_with("could not acquire lock"))
}

/// Closes a database; sled may panic if that fails.
fn close(open: Open) {
    let _ = guarded(|| {
        drop(open);
        Ok(())
    });
}

/// Runs an operation of sled, which panics if a page is damaged.
fn guarded<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    // Nothing that `work` touched is used after a panic: the database is given up.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let message = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        Err(Failure::Damaged(format!("the database library panicked: {message}")))
    })
}

/// Tries for a moment until there is a result. A lock may outlive its owner that long: a program
/// that the owner has just forked holds it too until it executes, and sled closes its file only
/// when its own threads have ended.
pub(super) fn patiently<T>(mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        let result = attempt();
        if result.is_some() || Instant::now() >= deadline {
            return result;
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

#[cfg(test)]
mod tests {
    use super::super::flusher::Pace;
    use super::super::local::Local;
    use super::super::open::{self, Opened};
    use super::super::{BlobLocations, Storage};
    use super::*;

    #[test]
    fn a_panic_empties_the_state_and_the_next_start_sets_it_aside() {
        let dir = tempfile::TempDir::new().unwrap();
        let blob = crate::oci::Digest::of(b"blob");
        let Opened { disk, lock, .. } = open::open(dir.path()).unwrap();
        let failure = disk.run(|_| -> Result<(), _> { panic!("bad page") }).unwrap_err();
        assert!(matches!(failure, Failure::Damaged(_)));
        let state = Local::on(disk, Pace::default()).unwrap();
        assert!(state.get("ghcr.io", &blob).is_empty());
        state.add("ghcr.io", "b", &blob);
        assert!(state.get("ghcr.io", &blob).is_empty());
        assert!(state.health().broken.unwrap().contains("bad page"));
        assert_eq!(state.health().set_aside, None);
        drop((state, lock));

        let state = Local::open(dir.path()).unwrap();
        assert!(state.get("ghcr.io", &blob).is_empty());
        let aside = dir.path().join("index.sled.damaged-1").join(DAMAGE_MARK);
        assert!(fs::read_to_string(&aside).unwrap().contains("bad page"));
        let health = state.health();
        assert_eq!((health.broken, health.set_aside), (None, Some(aside.parent().unwrap().into())));
        state.add("ghcr.io", "c", &blob);
        assert_eq!(state.get("ghcr.io", &blob), ["c"]);
    }

    /// A sled that failed to write is opened again, with everything that was saved before.
    #[test]
    fn after_a_save_that_failed_the_database_is_opened_again() {
        let dir = tempfile::TempDir::new().unwrap();
        let change = |key: u8| Changes::from([(vec![key], Some(vec![key]))]);
        let Opened { disk, lock, .. } = open::open(dir.path()).unwrap();
        disk.save(&change(1)).unwrap();
        for key in 2..5 {
            disk.has_failed.store(true, Ordering::Release);
            assert_eq!(disk.get(&[1]).unwrap(), Some(vec![1]), "what is there can be read");
            disk.save(&change(key)).unwrap();
            assert!(!disk.has_failed.load(Ordering::Acquire));
            assert_eq!(disk.get(&[key]).unwrap(), Some(vec![key]));
        }
        assert!(!dir.path().join("index.sled").join(DAMAGE_MARK).exists());
        drop((disk, lock));
        let opened = open::open(dir.path()).unwrap();
        assert_eq!(opened.set_aside, None);
        let saved = [1, 2, 3, 4].map(|key| opened.disk.get(&[key]).unwrap());
        assert_eq!(saved, [1, 2, 3, 4].map(|key| Some(vec![key])));
    }

    /// If it cannot be opened again, it is closed until that works.
    #[test]
    fn a_database_that_cannot_be_opened_again_is_tried_later() {
        let dir = tempfile::TempDir::new().unwrap();
        let change = Changes::from([(vec![1], Some(vec![1]))]);
        let Opened { disk, .. } = open::open(dir.path()).unwrap();
        disk.save(&change).unwrap();
        disk.has_failed.store(true, Ordering::Release);
        let other = disk.open.read().as_ref().unwrap().db.clone();
        for _ in 0..2 {
            let failure = disk.save(&change).unwrap_err();
            assert!(matches!(failure, Failure::Refused { .. }), "{failure}");
            assert!(matches!(disk.get(&[1]), Err(Failure::Refused { .. })));
        }
        drop(other);
        disk.save(&change).unwrap();
        assert_eq!(disk.get(&[1]).unwrap(), Some(vec![1]));
    }

    /// As long as there is no room for opening it again, it is not closed.
    #[test]
    fn without_room_to_open_it_again_the_database_can_be_read() {
        let dir = tempfile::TempDir::new().unwrap();
        let change = Changes::from([(vec![1], Some(vec![1]))]);
        let Opened { disk, .. } = open::open(dir.path()).unwrap();
        disk.save(&change).unwrap();
        disk.has_failed.store(true, Ordering::Release);
        // The room is tried with a file of this name.
        let in_the_way = dir.path().join("index.sled/probe");
        fs::create_dir(&in_the_way).unwrap();
        assert!(matches!(disk.save(&change), Err(Failure::Refused { .. })));
        assert_eq!(disk.get(&[1]).unwrap(), Some(vec![1]));
        fs::remove_dir(&in_the_way).unwrap();
        disk.save(&change).unwrap();
        assert!(!in_the_way.exists());
    }

    /// A process that is killed, or meets a full disk, while sled opens the database leaves one.
    #[test]
    fn a_snapshot_that_was_not_finished_is_no_damage() {
        let dir = tempfile::TempDir::new().unwrap();
        let Opened { disk, lock, .. } = open::open(dir.path()).unwrap();
        disk.save(&Changes::from([(vec![1], Some(vec![1]))])).unwrap();
        drop((disk, lock));
        let unfinished = dir.path().join("index.sled/snap.FFFFFFFFFFFFFFFF.generating");
        fs::write(&unfinished, "").unwrap();
        let opened = open::open(dir.path()).unwrap();
        assert_eq!(opened.set_aside, None);
        assert_eq!(opened.disk.get(&[1]).unwrap(), Some(vec![1]));
        assert!(!unfinished.exists());
    }
}
