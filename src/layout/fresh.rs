//! Blobs that a push relies on. A push that finds a blob in place makes its file young again, as git
//! does, while it holds the blobs against collectors. `garbage` has the whole protocol.

use std::collections::HashSet;
use std::fs::{File, Metadata};
use std::io;
use std::path::Path;
use std::time::SystemTime;

use super::{checked, dropped, files, no_links};
use crate::oci::manifest::{MAX_MANIFEST_BYTES, ManifestError};
use crate::oci::{Digest, Manifest, media_type};

/// Makes a blob's file no older than a minute and gives its size in bytes; `None` if there is none, or
/// it is known to be damaged. The answer stays true for as long as the blobs are held.
pub(super) fn freshen(layout: &Path, digest: &Digest) -> io::Result<Option<u64>> {
    let path = files::blob(layout, digest);
    let Some(metadata) = checked::found(layout, digest)? else { return Ok(None) };
    if is_stale(&metadata)? {
        let file = match files::found(no_links::open(&path)) {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(None),
            Err(error) => return tolerate(error, &path).map(|()| Some(metadata.len())),
        };
        touch(&file, &path, digest)?;
    }
    Ok(Some(metadata.len()))
}

/// The same for a file that is open.
pub(super) fn freshen_open(file: &File, path: &Path, digest: &Digest) -> io::Result<()> {
    let metadata = file.metadata().map_err(files::at(path))?;
    if is_stale(&metadata)? { touch(file, path, digest) } else { Ok(()) }
}

fn is_stale(metadata: &Metadata) -> io::Result<bool> {
    let age = SystemTime::now().duration_since(metadata.modified()?);
    Ok(age.is_ok_and(|age| age > files::FRESH))
}

fn touch(file: &File, path: &Path, digest: &Digest) -> io::Result<()> {
    let touch = || {
        let known = checked::known(&file.metadata()?, digest);
        file.set_modified(SystemTime::now())?;
        if let Some(is_right) = known {
            checked::remember(&file.metadata()?, digest, is_right);
        }
        Ok(())
    };
    touch().or_else(|error| tolerate(error, path))
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
/// subjects. But what is there must have its size, and a child must be whole: nobody would check it
/// later.
pub(super) fn missing(layout: &Path, manifest: &Manifest) -> io::Result<Option<Digest>> {
    lacks(layout, manifest, &mut |digest| match freshen(layout, digest)? {
        None if dropped::bring_back(layout, digest)? => freshen(layout, digest),
        size => Ok(size),
    })
}

/// Whether nothing is missing of a manifest that is there. Changes nothing.
pub(super) fn is_complete(layout: &Path, digest: &Digest) -> io::Result<bool> {
    let path = files::blob(layout, digest);
    let Some(raw) = files::read(&path, MAX_MANIFEST_BYTES as u64)? else { return Ok(false) };
    let manifest = match Manifest::parse(raw.into(), None, Some(digest)) {
        Ok(manifest) => manifest,
        Err(error) => return Ok(!matches!(error, ManifestError::Digest { .. })),
    };
    let mut size =
        |digest: &Digest| Ok(checked::found(layout, digest)?.map(|metadata| metadata.len()));
    Ok(lacks(layout, &manifest, &mut size)?.is_none())
}

/// What `size` gives of a blob: its size in bytes, or `None` if it is not there.
type Look<'a> = &'a mut dyn FnMut(&Digest) -> io::Result<Option<u64>>;

fn lacks(layout: &Path, manifest: &Manifest, size: Look<'_>) -> io::Result<Option<Digest>> {
    let mut met = HashSet::new();
    let mut children = Vec::new();
    let mut missing = check(layout, manifest, size, &mut met, &mut children)?;
    while missing.is_none()
        && let Some(child) = children.pop()
    {
        missing = check(layout, &child, size, &mut met, &mut children)?;
    }
    Ok(missing)
}

/// Checks what one manifest names; adds the children that are there and were not `met` before.
fn check(
    layout: &Path,
    manifest: &Manifest,
    size: Look<'_>,
    met: &mut HashSet<Digest>,
    children: &mut Vec<Manifest>,
) -> io::Result<Option<Digest>> {
    for blob in manifest.blobs() {
        match size(&blob.digest)? {
            None if media_type::is_nondistributable(&blob.media_type) => {}
            None => return Ok(Some(blob.digest.clone())),
            Some(found) if found == blob.size => {}
            // A descriptor with a wrong size is no reason to send a blob again.
            Some(_) if checked::is_whole(layout, &blob.digest)? => {}
            Some(_) => return Ok(Some(blob.digest.clone())),
        }
    }
    for child in manifest.children() {
        let Some(found) = size(&child.digest)? else { continue };
        // Only manifests name anything.
        if found > MAX_MANIFEST_BYTES as u64
            || !child.may_be_manifest()
            || !met.insert(child.digest.clone())
        {
            continue;
        }
        let path = files::blob(layout, &child.digest);
        let Some(raw) = files::read(&path, MAX_MANIFEST_BYTES as u64)? else { continue };
        match Manifest::parse(raw.into(), Some(&child.media_type), Some(&child.digest)) {
            Ok(child) => children.push(child),
            Err(ManifestError::Digest { .. }) => return Ok(Some(child.digest.clone())),
            Err(_) => {}
        }
    }
    Ok(None)
}
