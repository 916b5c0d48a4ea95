//! Blobs that a push relies on. A push that finds a blob in place makes its file young again, as git
//! does, while it holds the blobs against collectors. `garbage` has the whole protocol.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::SystemTime;

use super::{dropped, files};
use crate::oci::manifest::{MAX_MANIFEST_BYTES, ManifestError};
use crate::oci::{Digest, Manifest, media_type};

/// Makes a blob's file no older than a minute and gives its size in bytes; `None` if there is none. The
/// answer stays true for as long as the blobs are held.
pub(super) fn freshen(path: &Path) -> io::Result<Option<u64>> {
    let metadata = files::found(fs::metadata(path)).map_err(files::at(path))?;
    let Some(metadata) = metadata.filter(fs::Metadata::is_file) else { return Ok(None) };
    if is_stale(&metadata)? {
        let file = match files::found(File::open(path)) {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(None),
            Err(error) => return tolerate(error, path).map(|()| Some(metadata.len())),
        };
        touch(&file, path)?;
    }
    Ok(Some(metadata.len()))
}

/// The same for a file that is open.
pub(super) fn freshen_open(file: &File, path: &Path) -> io::Result<()> {
    let metadata = file.metadata().map_err(files::at(path))?;
    if is_stale(&metadata)? { touch(file, path) } else { Ok(()) }
}

fn is_stale(metadata: &fs::Metadata) -> io::Result<bool> {
    let age = SystemTime::now().duration_since(metadata.modified()?);
    Ok(age.is_ok_and(|age| age > files::FRESH))
}

fn touch(file: &File, path: &Path) -> io::Result<()> {
    file.set_modified(SystemTime::now()).or_else(|error| tolerate(error, path))
}

/// Only the owner of a file may change its time. Files of other users stay as old as they are: the
/// check before an image is listed does not depend on times.
fn tolerate(error: io::Error, path: &Path) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Ok(()),
        _ => Err(files::at(path)(error)),
    }
}

/// A blob that a manifest names and the layout lacks. All others are freshened, and children that were
/// deleted a moment ago are brought back. The caller holds the blobs or the list.
///
/// Non-distributable layers may be missing, and so may children of an index (it may be sparse) and
/// subjects. But a child that is there must be whole: nobody would check it later.
pub(super) fn missing(layout: &Path, manifest: &Manifest) -> io::Result<Option<Digest>> {
    let mut met = HashSet::new();
    let mut children = Vec::new();
    let mut missing = check(layout, manifest, &mut met, &mut children)?;
    while missing.is_none()
        && let Some(child) = children.pop()
    {
        missing = check(layout, &child, &mut met, &mut children)?;
    }
    Ok(missing)
}

/// Checks what one manifest names; adds the children that are there and were not `met` before.
fn check(
    layout: &Path,
    manifest: &Manifest,
    met: &mut HashSet<Digest>,
    children: &mut Vec<Manifest>,
) -> io::Result<Option<Digest>> {
    for blob in manifest.blobs() {
        let optional = media_type::is_nondistributable(&blob.media_type);
        if freshen(&files::blob(layout, &blob.digest))?.is_none() && !optional {
            return Ok(Some(blob.digest.clone()));
        }
    }
    for child in manifest.children() {
        let path = files::blob(layout, &child.digest);
        let size = match freshen(&path)? {
            None if dropped::bring_back(layout, &child.digest)? => freshen(&path)?,
            size => size,
        };
        let Some(size) = size else { continue };
        // Only manifests name anything.
        if size > MAX_MANIFEST_BYTES as u64
            || !media_type::is_manifest(&child.media_type)
            || !met.insert(child.digest.clone())
        {
            continue;
        }
        let Some(raw) = files::read(&path, MAX_MANIFEST_BYTES as u64)? else { continue };
        match Manifest::parse(raw.into(), Some(&child.media_type), Some(&child.digest)) {
            Ok(child) => children.push(child),
            Err(ManifestError::Digest { .. }) => return Ok(Some(child.digest.clone())),
            Err(_) => {}
        }
    }
    Ok(None)
}
