//! Opening a state directory: by one process at a time, and even if the database is damaged.
//!
//! ```text
//! DIR/lock                      held as long as a process uses the directory
//! DIR/index.sled/               the database
//! DIR/index.sled.damaged-<n>/   databases that could not be used, the newest ones
//! DIR/history/                  what the runs did: see `crate::history`
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::disk::{Disk, Unopened, patiently};

const DATABASE: &str = "index.sled";
const DAMAGED: &str = "index.sled.damaged-";

/// How many databases that were set aside are kept, for finding out what happened.
const MAX_DAMAGED: usize = 2;

/// Why a state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error(
        "the state directory {} is in use by another tranship process: wait for it or stop it, or \
         set `state` under [daemon] to another directory", .0.display()
    )]
    InUse(PathBuf),
    #[error(
        "the state directory {} cannot be created: {cause}; create it for this user, or set \
         `state` under [daemon] to another directory", .path.display()
    )]
    Create { path: PathBuf, cause: std::io::Error },
    #[error(
        "the state directory {} is on a read-only file system: mount it writable, or set `state` \
         under [daemon] to another directory", .0.display()
    )]
    ReadOnly(PathBuf),
    #[error(
        "the state directory {} cannot be written to: {cause}; make it this user's own, or set \
         `state` under [daemon] to another directory", .path.display()
    )]
    Denied { path: PathBuf, cause: std::io::Error },
    #[error(
        "the disk of the state directory {} is full: free some space, or set `state` under \
         [daemon] to another directory", .0.display()
    )]
    Full(PathBuf),
    #[error("the state directory {} cannot be used: {cause}", .path.display())]
    Unusable { path: PathBuf, cause: String },
}

/// A database, and the lock that keeps other processes out.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) disk: Disk,
    pub(super) lock: File,
    /// Where the previous database was moved to, if it could not be used.
    pub(super) set_aside: Option<PathBuf>,
}

/// Opens the database in `dir`, which is created if it is not there.
pub(super) fn open(dir: &Path) -> Result<Opened, StateError> {
    prepare(dir)?;
    let lock = lock(dir)?;
    let path = dir.join(DATABASE);
    let is_new = match DirBuilder::new().mode(0o700).create(&path) {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
        Err(error) => return Err(unusable(dir, error)),
    };
    let mut aside = None;
    let disk = match Disk::open(&path, is_new) {
        Ok(disk) => disk,
        Err(Unopened::System(error)) => return Err(unusable(dir, error)),
        Err(Unopened::Damaged(why)) => {
            let kept = set_aside(dir).map_err(|error| unusable(dir, error))?;
            tracing::warn!(
                "the state in {} cannot be used and starts anew, which costs time and nothing \
                 else: {why}; what was there is kept as {}",
                path.display(),
                kept.display(),
            );
            aside = Some(kept);
            DirBuilder::new().mode(0o700).create(&path).map_err(|error| unusable(dir, error))?;
            Disk::open(&path, true).map_err(|unopened| match unopened {
                Unopened::System(error) => unusable(dir, error),
                Unopened::Damaged(cause) => StateError::Unusable { path: dir.to_owned(), cause },
            })?
        }
    };
    Ok(Opened { disk, lock, set_aside: aside })
}

/// Creates the directory if it is not there, and closes it to other users.
fn prepare(dir: &Path) -> Result<(), StateError> {
    // The mode is that of directories that are created here only.
    let created = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    created.map_err(|cause| match cause.kind() {
        ErrorKind::ReadOnlyFilesystem => StateError::ReadOnly(dir.to_owned()),
        _ => StateError::Create { path: dir.to_owned(), cause },
    })?;
    let mode = fs::metadata(dir).map_err(|error| unusable(dir, error))?.permissions().mode();
    if mode & 0o077 != 0 {
        // Where the directory is a volume that belongs to someone else, this cannot be done; the
        // database's own folder is closed to others in any case.
        let done = match fs::set_permissions(dir, Permissions::from_mode(mode & 0o700)) {
            Ok(()) => "it is closed to them now".to_owned(),
            Err(error) => format!("and it stays so: {error}"),
        };
        let shown = mode & 0o7777;
        tracing::warn!(
            "the state directory {} was open to other users ({shown:04o}): {done}",
            dir.display()
        );
    }
    Ok(())
}

/// Locks the directory, before sled does: sled's own error names no remedy.
fn lock(dir: &Path) -> Result<File, StateError> {
    let path = dir.join("lock");
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| unusable(dir, error))?;
    match try_lock(&lock) {
        Ok(true) => Ok(lock),
        Ok(false) => Err(StateError::InUse(dir.to_owned())),
        Err(error) => Err(StateError::Unusable {
            path: dir.to_owned(),
            cause: format!("its file system cannot lock files: {error}"),
        }),
    }
}

/// Locks a file. `false`: somebody else holds the lock, and not just for a moment.
pub(super) fn try_lock(file: &File) -> std::io::Result<bool> {
    let locked = patiently(|| match file.try_lock() {
        Err(TryLockError::WouldBlock) => None,
        other => Some(other),
    });
    locked.map_or(Ok(false), |locked| Ok(locked.map(|()| true)?))
}

fn unusable(dir: &Path, cause: std::io::Error) -> StateError {
    let path = dir.to_owned();
    match cause.kind() {
        ErrorKind::ReadOnlyFilesystem => StateError::ReadOnly(path),
        ErrorKind::PermissionDenied => StateError::Denied { path, cause },
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StateError::Full(path),
        _ => StateError::Unusable { path, cause: cause.to_string() },
    }
}

/// Renames the database, and removes the oldest ones that were set aside if there are too many.
fn set_aside(dir: &Path) -> std::io::Result<PathBuf> {
    let mut numbers: Vec<u32> = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        numbers
            .extend(name.to_str().and_then(|name| name.strip_prefix(DAMAGED)?.parse::<u32>().ok()));
    }
    numbers.sort_unstable();
    let next = numbers.last().map_or(1, |last| last.saturating_add(1));
    let name = |number: u32| dir.join(format!("{DAMAGED}{number}"));
    fs::rename(dir.join(DATABASE), name(next))?;
    let surplus = (numbers.len() + 1).saturating_sub(MAX_DAMAGED);
    for &number in numbers.iter().take(surplus) {
        fs::remove_dir_all(name(number))?;
    }
    Ok(name(next))
}
