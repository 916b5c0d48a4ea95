//! Manifests that were deleted a moment ago.
//!
//! A client that pushes an index first asks which of its children are there, and sends the others. If a
//! child were deleted after the answer, the index would lack it for ever. So the file of a deleted
//! manifest, which cannot be found any more, is set aside for a while, and an index that names it
//! brings it back.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::index::Index;
use super::{files, no_links};
use crate::oci::manifest::MAX_MANIFEST_BYTES;
use crate::oci::{Digest, Manifest};

/// How long a deleted manifest can be brought back: longer than a push should take.
pub(super) const KEPT: Duration = Duration::from_secs(60 * 60);

fn folder(layout: &Path) -> PathBuf {
    files::own(layout).join("dropped")
}

fn aside(layout: &Path, digest: &Digest) -> PathBuf {
    folder(layout).join(format!("{}-{}", digest.algorithm(), digest.hex()))
}

/// Sets the file of a manifest aside that is not listed any more; gives whether it did. The caller holds
/// the list and the blobs alone.
///
/// The file stays if an index that was pushed after the decision to delete it has it as a part.
pub(super) fn set_aside(layout: &Path, index: &Index, digest: &Digest) -> io::Result<bool> {
    let path = files::blob(layout, digest);
    let Some(metadata) = files::metadata(&path)? else { return Ok(false) };
    // A file younger than `FRESH` is not freshened by those who count on it.
    let modified = metadata.modified().map_err(files::at(&path))?;
    let age = SystemTime::now().duration_since(modified).unwrap_or_default();
    if age < 2 * files::FRESH && is_part(layout, index, digest)? {
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

/// Moves a manifest that was set aside back; gives whether there was one. The caller holds the blobs or
/// the list.
pub(super) fn bring_back(layout: &Path, digest: &Digest) -> io::Result<bool> {
    let aside = aside(layout, digest);
    if files::size(&aside)?.is_none() {
        return Ok(false);
    }
    let path = files::blob(layout, digest);
    Ok(files::found(no_links::rename(&aside, &path)).map_err(files::at(&path))?.is_some())
}

/// Removes what was set aside at `oldest` or earlier; `None`: nothing was.
pub(super) fn forget(layout: &Path, oldest: Option<SystemTime>) -> io::Result<()> {
    let Some(oldest) = oldest else { return Ok(()) };
    for entry in files::entries(&folder(layout))? {
        let path = entry.path;
        // It may have been brought back by now.
        let Some(metadata) = files::metadata(&path)? else { continue };
        // The move is its last change.
        if files::touched(&metadata).map_err(files::at(&path))? <= oldest {
            files::remove(&path)?;
        }
    }
    Ok(())
}
