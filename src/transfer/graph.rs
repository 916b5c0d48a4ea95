//! Every manifest of an image, each read once and verified.

use std::collections::{HashMap, HashSet};
use std::ops::Deref;

use futures_util::{StreamExt, TryStreamExt};

use super::options::Options;
use super::platforms;
use super::reading::{Held, ManifestReader};
use crate::config::{ForeignLayers, IndexMode};
use crate::oci::{Descriptor, Digest, Document, Manifest, media_type};
use crate::repository::{Cause, Error, Repository, Result};

/// Indexes in indexes in indexes: real ones nest two or three deep.
const MAX_DEPTH: usize = 16;
/// Manifests of one image. The largest known indexes have some hundred.
const MAX_MANIFESTS: usize = 10_000;
/// Manifests of one image that are asked for at once.
const PARALLEL_READS: usize = 8;
/// Blobs and manifests of one image that are dealt with at once at targets.
pub(super) const PARALLEL: usize = 12;

/// An image with everything below it, as it will stand at the target. Whatever is dropped of it gives
/// its memory back.
#[derive(Debug)]
pub struct Graph {
    pub root: Held,
    /// The manifests below the root, each deeper than all that point at it. Put in reverse order,
    /// children stand before their parents.
    pub levels: Vec<Vec<Held>>,
    /// What a person should know about the copy.
    pub notes: Vec<String>,
}

impl Graph {
    /// Reads what is below `root`, and applies the platform filter to it.
    pub async fn gather(
        reader: &ManifestReader<'_>,
        root: Held,
        options: &Options,
    ) -> Result<Self> {
        let source = reader.repository;
        let mut notes = Vec::new();
        let root = filter(source, root, options, &mut notes)?;
        let mut seen: HashSet<Digest> = HashSet::from([root.digest.clone()]);
        let mut met: Vec<Held> = Vec::new();
        let mut next: Vec<Descriptor> = wanted_children(&root, options).cloned().collect();
        for depth in 0.. {
            next.retain(|child| child.may_be_manifest() && seen.insert(child.digest.clone()));
            if next.is_empty() {
                break;
            }
            if depth >= MAX_DEPTH || seen.len() > MAX_MANIFESTS {
                return Err(too_large(source, &root));
            }
            let mut reading = futures_util::stream::iter(next)
                .map(|child| async move { read(reader, child).await })
                .buffered(PARALLEL_READS);
            // The filter chooses among the root's children only: what was chosen is copied whole.
            next = Vec::new();
            while let Some(manifest) = reading.try_next().await? {
                next.extend_from_slice(manifest.children());
                met.push(manifest);
            }
        }
        let levels = by_depth(met).ok_or_else(|| too_large(source, &root))?;
        Ok(Self { root, levels, notes })
    }

    /// All manifests, the root first.
    pub fn manifests(&self) -> impl Iterator<Item = &Manifest> {
        let below = self.levels.iter().flatten();
        std::iter::once(&self.root).chain(below).map(Deref::deref)
    }

    /// Every blob that a target must have, each once, and a note on those left out.
    pub fn blobs(&self, options: &Options) -> (Vec<Descriptor>, Option<String>) {
        blobs(self.manifests(), options)
    }
}

/// Every blob of these manifests that a target must have, each once, and a note on those left out.
pub(super) fn blobs<'a>(
    manifests: impl Iterator<Item = &'a Manifest>,
    options: &Options,
) -> (Vec<Descriptor>, Option<String>) {
    let mut seen = HashSet::new();
    let mut foreign = 0_usize;
    let mut blobs = Vec::new();
    for manifest in manifests {
        // Indexes may point at plain blobs (BuildKit's cache does).
        let listed = wanted_children(manifest, options).filter(|child| !child.may_be_manifest());
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

/// The sum of the sizes that descriptors claim, which may be anything.
pub(super) fn size_of_all(blobs: &[Descriptor]) -> u64 {
    blobs.iter().fold(0, |sum, blob| sum.saturating_add(blob.size))
}

/// The digests of all manifests of an image. Only indexes are read, because only they point at
/// manifests.
pub async fn subjects(
    reader: &ManifestReader<'_>,
    root: Held,
    options: &Options,
) -> Result<Vec<Digest>> {
    let mut children: Vec<Descriptor> = wanted_children(&root, options).cloned().collect();
    let mut found = vec![root.digest.clone()];
    drop(root);
    for _ in 0..MAX_DEPTH {
        let manifests = children.iter().filter(|child| child.may_be_manifest());
        found.extend(manifests.map(|child| child.digest.clone()));
        children.retain(Descriptor::may_be_index);
        let mut next = Vec::new();
        for child in children {
            next.extend_from_slice(read(reader, child).await?.children());
        }
        if next.is_empty() || found.len() > MAX_MANIFESTS {
            break;
        }
        children = next;
    }
    Ok(found)
}

/// The children that will be copied. The filter applies to children that have a platform.
fn wanted_children<'a>(
    manifest: &'a Manifest,
    options: &Options,
) -> impl Iterator<Item = &'a Descriptor> + use<'a> {
    let keep = platforms::select(manifest.children(), &options.platforms);
    manifest.children().iter().zip(keep).filter_map(|(child, keep)| keep.then_some(child))
}

/// Sorts the manifests below a root by the longest path to them, so that each stands deeper than
/// all that point at it: an index may stand beside another one that holds it further down.
/// `None`: they are more than `MAX_DEPTH` deep.
fn by_depth<M: Deref<Target = Manifest>>(met: Vec<M>) -> Option<Vec<Vec<M>>> {
    let mut parents: HashMap<Digest, usize> = HashMap::new();
    for child in met.iter().flat_map(|manifest| manifest.children()) {
        *parents.entry(child.digest.clone()).or_default() += 1;
    }
    let mut levels = Vec::new();
    let mut rest = met;
    while !rest.is_empty() {
        if levels.len() >= MAX_DEPTH {
            return None;
        }
        let is_free = |manifest: &M| parents.get(&manifest.digest).is_none_or(|n| *n == 0);
        let (level, deeper): (Vec<_>, Vec<_>) = rest.into_iter().partition(is_free);
        for child in level.iter().flat_map(|manifest| manifest.children()) {
            parents.entry(child.digest.clone()).and_modify(|n| *n -= 1);
        }
        levels.push(level);
        rest = deeper;
    }
    Some(levels)
}

/// Applies the platform filter to the root.
fn filter(
    source: &dyn Repository,
    root: Held,
    options: &Options,
    notes: &mut Vec<String>,
) -> Result<Held> {
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
    Ok(root.replace(smaller))
}

async fn read(reader: &ManifestReader<'_>, child: Descriptor) -> Result<Held> {
    let source = reader.repository;
    let found = reader.read_child(&child).await?;
    let manifest = found.ok_or_else(|| about(source, &child.digest, Cause::Missing))?;
    if manifest.media_type != child.media_type && !child.media_type.is_empty() {
        let message = format!(
            "its parent says that it is `{}`, it says `{}`",
            child.media_type, manifest.media_type
        );
        return Err(about(source, &child.digest, Cause::Corrupt(message)));
    }
    Ok(manifest)
}

fn too_large(source: &dyn Repository, root: &Manifest) -> Error {
    let message = format!(
        "its indexes nest more than {MAX_DEPTH} deep, or it has more than {MAX_MANIFESTS} manifests"
    );
    about(source, &root.digest, Cause::Protocol(message))
}

fn about(source: &dyn Repository, digest: &Digest, cause: Cause) -> Error {
    Error::new("read", format!("{}@{digest}", source.name()), cause)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    /// Manifests by number; each points at those of its list, and at a blob that makes it unlike
    /// all others.
    fn dag(edges: &[Vec<bool>]) -> Vec<Arc<Manifest>> {
        let mut all: Vec<Arc<Manifest>> = Vec::new();
        for (at, points_at) in edges.iter().enumerate() {
            let digest = Digest::of(at.to_string().as_bytes());
            let own = Descriptor::new("application/octet-stream", digest, 1);
            let below = all.iter().zip(points_at).filter(|(_, points)| **points);
            let children: Vec<_> =
                std::iter::once(own).chain(below.map(|(child, _)| child.descriptor())).collect();
            all.push(Arc::new(Manifest::index_of(&children).unwrap()));
        }
        all
    }

    proptest! {
        #[test]
        fn every_manifest_stands_deeper_than_its_parents(
            edges in proptest::collection::vec(proptest::collection::vec(any::<bool>(), 12), 1..12),
            order in any::<prop::sample::Index>(),
        ) {
            let mut met = dag(&edges);
            let count = met.len();
            met.rotate_left(order.index(count));
            let levels = by_depth(met).unwrap();
            prop_assert_eq!(levels.iter().map(Vec::len).sum::<usize>(), count);
            let depth: HashMap<&Digest, usize> = levels
                .iter()
                .enumerate()
                .flat_map(|(depth, level)| level.iter().map(move |manifest| (&manifest.digest, depth)))
                .collect();
            for manifest in levels.iter().flatten() {
                for child in manifest.children() {
                    if let Some(below) = depth.get(&child.digest) {
                        prop_assert!(*below > depth[&manifest.digest]);
                    }
                }
            }
        }
    }

    #[test]
    fn a_chain_that_is_too_long_is_refused_though_its_parts_were_met_at_once() {
        let chain = |length: usize| {
            let edges: Vec<Vec<bool>> =
                (0..length).map(|at| (0..at).map(|below| below + 1 == at).collect()).collect();
            by_depth(dag(&edges))
        };
        assert_eq!(chain(MAX_DEPTH).map(|levels| levels.len()), Some(MAX_DEPTH));
        assert!(chain(MAX_DEPTH + 1).is_none());
    }
}
