//! How blobs and manifests get into a layout without an upload: found there, mounted from another
//! layout of the tree, or written whole.

use std::io;
use std::path::Path;

use super::folder::{Layout, attempt};
use super::listing::Untagged;
use super::lock::{Hold, hold};
use super::upload::new_path;
use super::{checked, files, fresh, no_links};
use crate::oci::{Digest, Manifest, RepositoryName, Tag};
use crate::repository::{Placement, Result};

impl Layout {
    /// Whether the layout has a blob, if need be by making it this one's from the layout named
    /// `from` of the same tree.
    ///
    /// If so, the caller counts on it, and no collector takes it soon.
    pub(crate) async fn has_or_mounts(&self, digest: &Digest, from: Option<&str>) -> Result<bool> {
        let from = from.and_then(|from| from.parse::<RepositoryName>().ok());
        let source = match (&self.0.tree, from) {
            (Some(tree), Some(from)) => Some(tree.join(from.as_str())),
            _ => None,
        };
        let (layout, wanted) = (self.0.folder.clone(), digest.clone());
        let has = attempt("look for or mount blob", self.at_digest(digest), move || {
            if checked::is_whole(&layout, &wanted)? {
                let _held = hold(&layout, Hold::Blobs)?;
                if fresh::freshen(&layout, &wanted)?.is_some() {
                    return Ok(true);
                }
            }
            let mounted = source.map_or(Ok(false), |source| mount(&source, &layout, &wanted));
            match mounted {
                // The other layout is not one of this tree, wherever the link leads.
                Err(error) if no_links::is_link(&error) => Ok(false),
                mounted => mounted,
            }
        });
        has.await
    }

    /// Stores a manifest's bytes under its digest, unless a blob that it names is not there, which
    /// is then the answer.
    ///
    /// The manifest appears in the same moment in which its blobs are seen: an index that is
    /// listed without this child must not get one that is not whole.
    pub(super) async fn store_manifest(
        &self,
        manifest: &Manifest,
    ) -> std::io::Result<Option<Digest>> {
        let (folder, manifest) = (self.0.folder.clone(), manifest.clone());
        files::blocking(move || {
            let path = files::blob(&folder, &manifest.digest);
            let length = manifest.raw.len() as u64;
            // A damaged file is replaced, which costs reading the others.
            let there = files::size(&path)? == Some(length)
                && files::read(&path, length)?.as_deref() == Some(&manifest.raw[..]);
            if there {
                let _held = hold(&folder, Hold::Blobs)?;
                if let Some(lacks) = fresh::missing(&folder, &manifest)? {
                    return Ok(Some(lacks));
                }
                if fresh::freshen(&folder, &manifest.digest)?.is_some() {
                    return Ok(None);
                }
            }
            let new = new_path(&folder)?;
            files::write_new(&new, &manifest.raw)?;
            let _held = hold(&folder, Hold::Blobs)?;
            let lacks = fresh::missing(&folder, &manifest)?;
            match &lacks {
                None => files::publish(&new, &path)?,
                Some(_) => drop(files::remove(&new)?),
            }
            Ok(lacks)
        })
        .await
    }
}

/// How a manifest is listed in `index.json`: its tag, and whether it has an entry without one.
pub(super) fn entry(placement: &Placement, manifest: &Manifest) -> (Option<Tag>, Untagged) {
    let tag = match placement {
        Placement::Tag(tag) => Some(tag.clone()),
        Placement::Digest | Placement::Part => None,
    };
    // A document without a media type of its own has it in its entry alone.
    let own_type = || Manifest::parse(manifest.raw.clone(), None, Some(&manifest.digest));
    let untagged = if manifest.subject.is_some() {
        // The list is where referrers are found, also when a tag of theirs is gone.
        Untagged::Always
    } else if *placement == Placement::Digest
        || tag.is_none() && own_type().is_ok_and(|own| own.media_type != manifest.media_type)
    {
        Untagged::IfUnlisted
    } else {
        Untagged::No
    };
    (tag, untagged)
}

/// Links a blob from another layout, or copies it where the file system cannot link.
fn mount(from: &Path, layout: &Path, digest: &Digest) -> io::Result<bool> {
    // A damaged blob is not spread: the bytes are asked for instead.
    if !checked::is_whole(from, digest)? {
        return Ok(false);
    }
    let source = files::blob(from, digest);
    let new = new_path(layout)?;
    if no_links::hard_link(&source, &new).is_err() {
        let opened = files::found(no_links::open(&source)).map_err(files::at(&source))?;
        // A collector took it from there meanwhile.
        let Some(mut source) = opened else { return Ok(false) };
        let mut copy = || {
            let mut copy = no_links::create_new(&new)?;
            io::copy(&mut source, &mut copy)?;
            copy.sync_data()?;
            checked::has_digest(&no_links::open(&new)?, digest)
        };
        let copied = copy().map_err(files::at(&new));
        if !matches!(copied, Ok(true)) {
            files::remove(&new)?;
            return copied;
        }
    }
    // A link is as old as what it links to.
    let _held = hold(layout, Hold::Blobs)?;
    files::publish(&new, &files::blob(layout, digest))?;
    // If the target is another name of the same file, both are left.
    files::remove(&new)?;
    Ok(fresh::freshen(layout, digest)?.is_some())
}
