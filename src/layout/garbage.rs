//! Removes the blobs that no listed image needs.
//!
//! Mark, then sweep. Everything that can be reached from the entries of `index.json` is marked:
//! manifests, children of indexes however deep, configurations, layers, subjects. Every other file
//! under `blobs/` that is named by a digest and old enough is removed. If something on the way cannot
//! be read or understood, the collection ends, because nobody knows what it needs. A manifest that is
//! listed and not there needs nothing.
//!
//! Others may be bringing images meanwhile: blobs first, then children, the entry of `index.json`
//! last. The collector and they keep these rules:
//!
//! 1. **Age.** Only files that are older than `older_than` are removed, which should be longer than a
//!    push takes. A file is as old as the later of its modification and its change, because `rsync -a`
//!    preserves modification times. Nothing else protects the files of programs other than tranship,
//!    nor a child that an index may lack: image-spec allows it to be absent.
//! 2. **Freshening.** Whoever finds a blob and therefore does not send it makes its file young again
//!    (`fresh`): an upload that is answered with "present", a mount, a manifest for all that it names.
//!    A question for a blob's size does not.
//! 3. **The blobs' lock.** The collector holds it alone for each batch, in which it checks the age of
//!    the files a last time and removes them. Whoever freshens a blob, or gives one its name, holds it
//!    shared. So no blob is found or freshened while it is being removed, and when a manifest's file
//!    appears, all that it names is there.
//! 4. **The list's lock.** A batch also keeps `index.json` from being edited. An edit that lists an
//!    image checks, under that lock, that all its blobs are there, and refuses the image otherwise. So
//!    whatever is listed was whole when it was listed, and is marked from then on, whatever its age.
//!    The collector marks again at the beginning of each batch.
//! 5. **Deletion.** A deletion of a manifest holds both locks alone while the file is set aside, from
//!    where an index that names it brings it back (`dropped`).
//!
//! Links are not followed, so nothing is removed outside of the layout.
//!
//! The list's lock is taken before the blobs' lock; nobody waits for the list's lock while holding the
//! other. Both are held for one batch at a time, so that writers do not wait long.
//!
//! A collector can be killed at any moment: only what nothing listed needs is ever gone. Newer files
//! are removed first, because manifests are written after what they name; and an index whose child is
//! there without its blobs is refused.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::fs::FileType;

use super::folder::Layout;
use super::index::Index;
use super::listing::Listing;
use super::lock::{Hold, hold};
use super::no_links::Entry;
use super::{dropped, files};
use crate::oci::manifest::MAX_MANIFEST_BYTES;
use crate::oci::{Descriptor, Digest, Manifest};
use crate::repository::Garbage;

/// How many files are removed while others wait.
const BATCH: usize = 500;

/// How long others have a chance to write between two batches.
const GAP: Duration = Duration::from_millis(10);

impl Layout {
    /// Removes the blobs that no entry of `index.json` needs and that were written or counted on
    /// last at `oldest` or earlier. `dry_run`: only counts them.
    ///
    /// # Errors
    /// Something that is listed cannot be read or understood, or a folder of blobs is a link. Then
    /// nothing is removed; if it was listed while the collection was under way, nothing more.
    pub(super) async fn collect(
        &self,
        oldest: Option<SystemTime>,
        dry_run: bool,
    ) -> io::Result<Garbage> {
        let listing = Arc::clone(&self.0.listing);
        let mut collector =
            Collector { oldest, marks: Marks::default(), garbage: Garbage::default() };
        let looked = files::blocking(move || {
            let candidates = collector.look(&listing)?;
            Ok((collector, candidates))
        });
        let (mut collector, mut candidates) = looked.await?;
        if dry_run {
            let bytes = candidates.iter().map(|candidate| candidate.bytes).sum();
            return Ok(Garbage { blobs: candidates.len() as u64, bytes, ..collector.garbage });
        }
        while !candidates.is_empty() {
            let rest = candidates.split_off(candidates.len().min(BATCH));
            let batch = std::mem::replace(&mut candidates, rest);
            let swept = self.0.listing.alone(move |listing| {
                collector.sweep(listing, &batch)?;
                Ok(collector)
            });
            collector = swept.await?;
            // Other processes only look for a gap from time to time.
            tokio::time::sleep(GAP).await;
        }
        let layout = self.0.folder.clone();
        files::blocking(move || dropped::forget(&layout, oldest)).await?;
        Ok(collector.garbage)
    }
}

/// A manifest, and what its descriptor says that it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Pointer {
    digest: Digest,
    media_type: Option<String>,
}

impl From<&Descriptor> for Pointer {
    fn from(descriptor: &Descriptor) -> Self {
        let Descriptor { digest, media_type, .. } = descriptor.clone();
        Self { digest, media_type: Some(media_type) }
    }
}

/// What a manifest names.
#[derive(Debug)]
struct Names {
    manifests: Vec<Pointer>,
    blobs: Vec<Digest>,
}

impl Names {
    fn of(manifest: &Manifest) -> Self {
        let manifests = manifest.children().iter().chain(&manifest.subject);
        Self {
            manifests: manifests.map(Pointer::from).collect(),
            blobs: manifest.blobs().iter().map(|blob| blob.digest.clone()).collect(),
        }
    }
}

/// What can be reached from the list, kept up to date.
#[derive(Debug, Default)]
struct Marks {
    /// Content never changes under its digest, so each manifest is read once.
    known: HashMap<Pointer, Arc<Names>>,
    /// The list that `reached` was made from.
    index: Option<Arc<Index>>,
    reached: HashSet<Digest>,
    /// Every manifest that is reached was there. A missing one may have been pushed since.
    complete: bool,
}

impl Marks {
    /// What can be reached from the list as it is now.
    fn update(&mut self, listing: &Listing) -> io::Result<&HashSet<Digest>> {
        let index = listing.load()?;
        let same = self.index.as_ref().is_some_and(|before| Arc::ptr_eq(before, &index));
        if same && self.complete {
            return Ok(&self.reached);
        }
        let (mut reached, mut met, mut complete) = (HashSet::new(), HashSet::new(), true);
        let mut next = roots(&index)?;
        while let Some(pointer) = next.pop() {
            if met.contains(&pointer) {
                continue;
            }
            reached.insert(pointer.digest.clone());
            if let Some(names) = self.read(&listing.layout, &pointer)? {
                next.extend(names.manifests.iter().filter(|named| !met.contains(*named)).cloned());
                reached.extend(names.blobs.iter().cloned());
            } else {
                complete = false;
            }
            met.insert(pointer);
        }
        (self.index, self.reached, self.complete) = (Some(index), reached, complete);
        Ok(&self.reached)
    }

    /// What a manifest names; `None` if it is not there.
    fn read(&mut self, layout: &Path, pointer: &Pointer) -> io::Result<Option<Arc<Names>>> {
        if let Some(names) = self.known.get(pointer) {
            return Ok(Some(Arc::clone(names)));
        }
        let Pointer { digest, media_type } = pointer;
        let path = files::blob(layout, digest);
        let Some(raw) = files::read(&path, MAX_MANIFEST_BYTES as u64)? else { return Ok(None) };
        let manifest = Manifest::parse(raw.into(), media_type.as_deref(), Some(digest));
        let manifest = manifest.map_err(|error| {
            unknown(format!("{digest} is listed or belongs to a listed image, and {error}"))
        })?;
        let names = Arc::new(Names::of(&manifest));
        self.known.insert(pointer.clone(), Arc::clone(&names));
        Ok(Some(names))
    }
}

/// A file that may be removed.
#[derive(Debug)]
struct Candidate {
    digest: Digest,
    touched: SystemTime,
    bytes: u64,
}

#[derive(Debug)]
struct Collector {
    /// Files that were written later stay. `None`: all of them.
    oldest: Option<SystemTime>,
    marks: Marks,
    garbage: Garbage,
}

impl Collector {
    /// Finds what may be removed, while others can write.
    fn look(&mut self, listing: &Listing) -> io::Result<Vec<Candidate>> {
        let reached = self.marks.update(listing)?;
        let mut garbage = Garbage::default();
        let mut candidates = Vec::new();
        for entry in files::entries(&listing.layout.join(files::BLOBS))? {
            let algorithm = entry.name.to_str().filter(|name| ["sha256", "sha512"].contains(name));
            // A link is an error that says so.
            let is_folder = matches!(entry.kind, FileType::Directory | FileType::Symlink);
            let Some(algorithm) = algorithm.filter(|_| is_folder) else {
                garbage.foreign += 1;
                continue;
            };
            for Entry { name, path, kind } in files::entries(&entry.path)? {
                let digest = name.to_str().map(|hex| format!("{algorithm}:{hex}").parse());
                let Some(Ok(digest)) = digest.filter(|_| kind == FileType::RegularFile) else {
                    garbage.foreign += 1;
                    continue;
                };
                if reached.contains(&digest) {
                    continue;
                }
                // Somebody may have deleted it meanwhile.
                let Some(metadata) = files::metadata(&path)? else { continue };
                let touched = files::touched(&metadata).map_err(files::at(&path))?;
                if is_young(self.oldest, touched) {
                    garbage.young += 1;
                } else {
                    candidates.push(Candidate { digest, touched, bytes: metadata.len() });
                }
            }
        }
        self.garbage = garbage;
        candidates.sort_by_key(|candidate| std::cmp::Reverse(candidate.touched));
        Ok(candidates)
    }

    /// Removes those files of a batch that nothing needs even now. The caller holds the list's lock.
    fn sweep(&mut self, listing: &Listing, batch: &[Candidate]) -> io::Result<()> {
        let layout = &listing.layout;
        let _alone = hold(layout, Hold::BlobsAlone)?;
        let reached = self.marks.update(listing)?;
        for Candidate { digest, .. } in batch {
            if reached.contains(digest) {
                continue;
            }
            let path = files::blob(layout, digest);
            let Some(metadata) = files::metadata(&path)? else { continue };
            if is_young(self.oldest, files::touched(&metadata).map_err(files::at(&path))?) {
                self.garbage.young += 1;
            } else if files::remove(&path)? {
                self.garbage.blobs += 1;
                self.garbage.bytes += metadata.len();
            }
        }
        Ok(())
    }
}

fn is_young(oldest: Option<SystemTime>, touched: SystemTime) -> bool {
    oldest.is_none_or(|oldest| touched > oldest)
}

/// The manifests that are listed.
fn roots(index: &Index) -> io::Result<Vec<Pointer>> {
    let mut roots = Vec::with_capacity(index.entries().len());
    for entry in index.entries() {
        let Some(digest) = entry.digest.clone() else {
            let why = entry.problem.as_deref().unwrap_or("it has no digest");
            return Err(unknown(format!("an entry of index.json is not understood: {why}")));
        };
        roots.push(Pointer { digest, media_type: entry.media_type.clone() });
    }
    Ok(roots)
}

fn unknown(what: String) -> io::Error {
    io::Error::other(format!("{what}; what it needs is not known, so nothing can be removed"))
}
