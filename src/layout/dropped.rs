//! Manifests that were deleted a moment ago.
//!
//! Who pushes an index asks for its children first and sends those that are not there. One that is
//! deleted after the answer would be missing in the index, and nobody would ever send it. So a
//! deleted manifest cannot be found any more, but its file is kept aside, and an index that
//! names it brings it back.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::index::Index;
use super::{files, fresh};
use crate::oci::manifest::MAX_MANIFEST_BYTES;
use crate::oci::{Digest, Manifest};

/// How long a deleted manifest can be brought back: an image should not be under way longer.
pub(super) const KEPT: Duration = Duration::from_secs(60 * 60);

fn folder(layout: &Path) -> PathBuf {
    files::own(layout).join("dropped")
}

fn aside(layout: &Path, digest: &Digest) -> PathBuf {
    folder(layout).join(format!("{}-{}", digest.algorithm(), digest.hex()))
}

/// Sets the file of a manifest aside that is not listed any more; whether that was done. The list
/// and the blobs are held alone.
///
/// It stays where the folder of blobs is a link, because other layouts may need it; and where an
/// index that was pushed just now, after the decision to delete this, has it as a part.
pub(super) fn set_aside(layout: &Path, index: &Index, digest: &Digest) -> io::Result<bool> {
    let path = files::blob(layout, digest);
    let metadata = files::found(fs::symlink_metadata(&path)).map_err(files::at(&path))?;
    let Some(metadata) = metadata.filter(|metadata| !metadata.is_dir()) else { return Ok(false) };
    if files::linked_blobs(layout)?.is_some() {
        return Ok(false);
    }
    // Who counts on a file that is younger than `FRESH` does not freshen it.
    let modified = metadata.modified().map_err(files::at(&path))?;
    let age = SystemTime::now().duration_since(modified).unwrap_or_default();
    if age < 2 * fresh::FRESH && is_part(layout, index, digest)? {
        return Ok(false);
    }
    files::publish(&path, &aside(layout, digest))?;
    Ok(true)
}

/// Whether a listed index has a manifest as its child, however deep.
fn is_part(layout: &Path, index: &Index, wanted: &Digest) -> io::Result<bool> {
    let listed = index.entries().iter();
    let mut next: Vec<_> = listed
        .filter_map(|entry| Some((entry.digest.clone()?, entry.media_type.clone())))
        .collect();
    let mut met = std::collections::HashSet::new();
    while let Some((digest, media_type)) = next.pop() {
        if !met.insert(digest.clone()) {
            continue;
        }
        let path = files::blob(layout, &digest);
        let Some(raw) = files::read(&path, MAX_MANIFEST_BYTES as u64)? else { continue };
        // What is no manifest has no parts.
        let Ok(manifest) = Manifest::parse(raw.into(), media_type.as_deref(), Some(&digest)) else {
            continue;
        };
        for child in manifest.children() {
            if child.digest == *wanted {
                return Ok(true);
            }
            next.push((child.digest.clone(), Some(child.media_type.clone())));
        }
    }
    Ok(false)
}

/// Gives a manifest that was set aside its place again; whether there was one. The blobs or the list
/// are held.
pub(super) fn bring_back(layout: &Path, digest: &Digest) -> io::Result<bool> {
    let aside = aside(layout, digest);
    if files::size(&aside)?.is_none() {
        return Ok(false);
    }
    let path = files::blob(layout, digest);
    Ok(files::found(fs::rename(&aside, &path)).map_err(files::at(&path))?.is_some())
}

/// Removes what was set aside at `oldest` or earlier; `None`: nothing was.
pub(super) fn forget(layout: &Path, oldest: Option<SystemTime>) -> io::Result<()> {
    let folder = folder(layout);
    let entries = files::found(fs::read_dir(&folder)).map_err(files::at(&folder))?;
    let (Some(entries), Some(oldest)) = (entries, oldest) else { return Ok(()) };
    for entry in entries {
        let entry = entry.map_err(files::at(&folder))?;
        let path = entry.path();
        // It may be back in its place by now.
        let Some(metadata) = files::found(entry.metadata()).map_err(files::at(&path))? else {
            continue;
        };
        // The move is its last change.
        if files::touched(&metadata).map_err(files::at(&path))? <= oldest {
            files::remove(&path)?;
        }
    }
    Ok(())
}
