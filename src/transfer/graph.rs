//! Every manifest of an image, each read once and verified.

use std::collections::HashSet;

use futures_util::{StreamExt, TryStreamExt};

use super::{Options, platforms};
use crate::config::{ForeignLayers, IndexMode};
use crate::oci::{Descriptor, Digest, Document, Manifest, media_type};
use crate::repository::{Cause, Error, Reference, Repository, Result};

/// Indexes in indexes in indexes: real ones nest two or three deep.
const MAX_DEPTH: usize = 16;
/// Manifests of one image. The largest known indexes have some hundred.
const MAX_MANIFESTS: usize = 10_000;
/// Manifests of one image that are asked for at once.
const PARALLEL: usize = 8;

/// An image with everything below it, as it will stand at the target.
#[derive(Debug)]
pub struct Graph {
    pub root: Manifest,
    /// What the root points at, level by level, the deepest last: put in reverse order, children
    /// stand before their parents.
    pub levels: Vec<Vec<Manifest>>,
    /// What a person should know of the copy.
    pub notes: Vec<String>,
}

impl Graph {
    /// Reads what is below `root`, and applies the platform filter to it.
    pub async fn gather(
        source: &dyn Repository,
        root: Manifest,
        options: &Options,
    ) -> Result<Self> {
        let mut notes = Vec::new();
        let root = filter(source, root, options, &mut notes)?;
        let mut seen: HashSet<Digest> = HashSet::from([root.digest.clone()]);
        let mut levels: Vec<Vec<Manifest>> = Vec::new();
        let mut next = wanted_children(&root, options);
        loop {
            next.retain(|child| {
                media_type::is_manifest(&child.media_type) && seen.insert(child.digest.clone())
            });
            if next.is_empty() {
                return Ok(Self { root, levels, notes });
            }
            if levels.len() >= MAX_DEPTH || seen.len() > MAX_MANIFESTS {
                let message = format!(
                    "its indexes nest more than {MAX_DEPTH} deep, or it has more than {MAX_MANIFESTS} manifests"
                );
                return Err(about(source, &root.digest, Cause::Protocol(message)));
            }
            let level: Vec<Manifest> = futures_util::stream::iter(next)
                .map(|child| async move { read(source, child).await })
                .buffered(PARALLEL)
                .try_collect()
                .await?;
            // The filter chooses among the root's children only: what was chosen comes whole.
            next = level.iter().flat_map(|manifest| manifest.children().to_vec()).collect();
            levels.push(level);
        }
    }

    /// All manifests, the root first.
    pub fn manifests(&self) -> impl Iterator<Item = &Manifest> {
        std::iter::once(&self.root).chain(self.levels.iter().flatten())
    }

    /// Every blob that a target must have, each once, and a note on those left out.
    pub fn blobs(&self, options: &Options) -> (Vec<Descriptor>, Option<String>) {
        let mut seen = HashSet::new();
        let mut foreign = 0_usize;
        let mut blobs = Vec::new();
        for manifest in self.manifests() {
            // Indexes may point at plain blobs (BuildKit's cache does).
            let keep = platforms::select(manifest.children(), &options.platforms);
            let wanted = manifest.children().iter().zip(keep).filter(|(_, keep)| *keep);
            let listed = wanted
                .map(|(child, _)| child)
                .filter(|child| !media_type::is_manifest(&child.media_type));
            for blob in manifest.blobs().iter().chain(listed) {
                if media_type::is_nondistributable(&blob.media_type)
                    && options.foreign_layers == ForeignLayers::Skip
                {
                    foreign += 1;
                } else if seen.insert(&blob.digest) {
                    blobs.push(blob.clone());
                }
            }
        }
        let note = (foreign > 0).then(|| {
            format!("{foreign} non-distributable layer(s) left out: clients fetch them from where their vendor offers them (foreign_layers = \"copy\" brings them along)")
        });
        (blobs, note)
    }
}

/// The digests of all manifests of an image. Only indexes are read: what an image manifest points
/// at is no manifest.
pub async fn subjects(
    source: &dyn Repository,
    root: Manifest,
    options: &Options,
) -> Result<Vec<Digest>> {
    let mut children = wanted_children(&root, options);
    let mut found = vec![root.digest];
    for _ in 0..MAX_DEPTH {
        let manifests = children.iter().filter(|child| media_type::is_manifest(&child.media_type));
        found.extend(manifests.map(|child| child.digest.clone()));
        children.retain(|child| media_type::is_index(&child.media_type));
        let mut next = Vec::new();
        for child in children {
            next.extend(read(source, child).await?.children().to_vec());
        }
        if next.is_empty() || found.len() > MAX_MANIFESTS {
            break;
        }
        children = next;
    }
    Ok(found)
}

/// The children that will be copied. The filter is for indexes that have platforms.
fn wanted_children(manifest: &Manifest, options: &Options) -> Vec<Descriptor> {
    let keep = platforms::select(manifest.children(), &options.platforms);
    manifest
        .children()
        .iter()
        .zip(keep)
        .filter(|(_, keep)| *keep)
        .map(|(child, _)| child.clone())
        .collect()
}

/// Makes the root what it will be at the target.
fn filter(
    source: &dyn Repository,
    root: Manifest,
    options: &Options,
    notes: &mut Vec<String>,
) -> Result<Manifest> {
    let Document::Index { children } = &root.document else { return Ok(root) };
    let keep = platforms::select(children, &options.platforms);
    if keep.iter().all(|keep| *keep) {
        return Ok(root);
    }
    if !keep.contains(&true) {
        let offered: Vec<String> = children
            .iter()
            .filter_map(|child| Some(child.platform.as_ref()?.to_string()))
            .collect();
        let message = format!("it has none of the wanted platforms, only {}", offered.join(", "));
        return Err(about(source, &root.digest, Cause::Unsupported(message)));
    }
    if options.index == IndexMode::Sparse {
        notes.push(
            "children of other platforms left out, the index kept as it is (sparse)".to_owned(),
        );
        return Ok(root);
    }
    let smaller = root
        .with_children(|at| keep[at])
        .map_err(|error| about(source, &root.digest, error.into()))?;
    notes.push(format!(
        "index rewritten for the wanted platforms: {} became {}; signatures of the whole index no longer match",
        root.digest, smaller.digest
    ));
    Ok(smaller)
}

async fn read(source: &dyn Repository, child: Descriptor) -> Result<Manifest> {
    let reference = Reference::Digest(child.digest.clone());
    let found = source.manifest(&reference).await?;
    let manifest = found.ok_or_else(|| about(source, &child.digest, Cause::Missing))?;
    if manifest.media_type != child.media_type {
        let message = format!(
            "its parent says that it is `{}`, it says `{}`",
            child.media_type, manifest.media_type
        );
        return Err(about(source, &child.digest, Cause::Corrupt(message)));
    }
    Ok(manifest)
}

fn about(source: &dyn Repository, digest: &Digest, cause: Cause) -> Error {
    Error::new("read", format!("{}@{digest}", source.name()), cause)
}
