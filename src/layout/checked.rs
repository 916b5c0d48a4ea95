//! Which files have the content that their name says.
//!
//! A blob's file may be damaged or cut short: by a full disk, a copy of the folder that broke off,
//! or a hand. So a file that this process has not written itself is hashed before something relies
//! on its content, once: it is the same as long as its place on the disk, its length and its time
//! are.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::LazyLock;

use parking_lot::Mutex;

use super::{files, no_links};
use crate::oci::Digest;

/// How many files are remembered. If there are more, they are hashed again.
const REMEMBERED: usize = 1 << 18;

/// Of the whole process: layouts are opened again for each run.
static CHECKED: LazyLock<Mutex<HashMap<Identity, bool>>> = LazyLock::new(Mutex::default);

/// What stays the same as long as the content does.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Identity {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    /// The same file may have several names.
    digest: Digest,
}

impl Identity {
    fn of(metadata: &Metadata, digest: &Digest) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            digest: digest.clone(),
        }
    }
}

/// What is known of a blob's file, unless it is known to be damaged; `None`: it is not there.
pub(super) fn found(layout: &Path, digest: &Digest) -> io::Result<Option<Metadata>> {
    let path = files::blob(layout, digest);
    let metadata = files::found(no_links::metadata(&path)).map_err(files::at(&path))?;
    Ok(metadata.filter(|metadata| known(metadata, digest) != Some(false)))
}

/// Whether a blob is there with the right content. Reads the file if it is not known.
pub(super) fn is_whole(layout: &Path, digest: &Digest) -> io::Result<bool> {
    let Some(metadata) = found(layout, digest)? else { return Ok(false) };
    if known(&metadata, digest) == Some(true) {
        return Ok(true);
    }
    let path = files::blob(layout, digest);
    let file = files::found(no_links::open(&path)).map_err(files::at(&path))?;
    file.map_or(Ok(false), |file| has_digest(&file, digest)).map_err(files::at(&path))
}

/// Whether an open file has the content, which is remembered.
pub(super) fn has_digest(file: &File, digest: &Digest) -> io::Result<bool> {
    let before = file.metadata()?;
    let is_right = hash_file(file, digest)? == *digest;
    // If it was written to meanwhile, this is another file.
    if Identity::of(&before, digest) == Identity::of(&file.metadata()?, digest) {
        remember(&before, digest, is_right);
    }
    Ok(is_right)
}

/// Whether the content of a file is right, if that is known.
pub(super) fn known(metadata: &Metadata, digest: &Digest) -> Option<bool> {
    if metadata.len() == 0 && !digest.matches(b"") {
        return Some(false);
    }
    CHECKED.lock().get(&Identity::of(metadata, digest)).copied()
}

/// Remembers whether a file has the right content.
pub(super) fn remember(metadata: &Metadata, digest: &Digest, is_right: bool) {
    let mut checked = CHECKED.lock();
    if checked.len() >= REMEMBERED {
        checked.clear();
    }
    checked.insert(Identity::of(metadata, digest), is_right);
}

/// The digest of a file from its first byte on, by the algorithm of `wanted`.
pub(super) fn hash_file(mut file: &File, wanted: &Digest) -> io::Result<Digest> {
    let mut hasher = wanted.hasher();
    let mut buffer = vec![0; files::CHUNK];
    file.seek(SeekFrom::Start(0))?;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            length => hasher.update(&buffer[..length]),
        }
    }
}
