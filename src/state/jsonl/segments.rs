//! The files of a log: their names, their order, and the lock.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::state::open::try_lock;

/// One file of a log. They are ordered as they were written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) path: PathBuf,
}

impl Segment {
    /// Numbered, not dated: the clock may jump.
    pub(super) fn new(dir: &Path, number: u64) -> Self {
        Self { number, path: dir.join(format!("{number:012}.jsonl")) }
    }
}

/// All segments, the oldest first; none if there is no such directory.
pub(super) fn list(dir: &Path) -> io::Result<Vec<Segment>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut segments = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".jsonl")?.parse().ok());
        segments.extend(number.map(|number| Segment::new(dir, number)));
    }
    segments.sort_unstable();
    Ok(segments)
}

/// Creates a segment, durably, to be appended to.
pub(super) fn create(dir: &Path, segment: &Segment) -> io::Result<File> {
    let file = options().create_new(true).open(&segment.path)?;
    File::open(dir)?.sync_all()?;
    Ok(file)
}

/// Opens a segment that is there, to be appended to.
pub(super) fn open(segment: &Segment) -> io::Result<File> {
    options().open(&segment.path)
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).append(true).mode(0o600);
    options
}

/// Creates the directory and takes its lock.
pub(super) fn lock(dir: &Path) -> io::Result<File> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let lock = options().create(true).open(dir.join(LOCK))?;
    // `is_being_written` holds the lock for a moment.
    if try_lock(&lock)? {
        return Ok(lock);
    }
    Err(io::Error::new(ErrorKind::ResourceBusy, "another process writes it"))
}

/// Whether a process has the log open for writing.
pub fn is_being_written(dir: &Path) -> bool {
    let Ok(lock) = File::open(dir.join(LOCK)) else { return false };
    matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock))
}

const LOCK: &str = "lock";
