//! The file `index.json`: read through a cache, edited so that no entry is ever lost, whoever
//! else edits it at the same time.
//!
//! Edits that wait for each other are carried out together: reading, writing and three fsyncs
//! are paid once for all of them.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::index::Index;
use super::lock::{Hold, hold};
use super::upload::new_path;
use super::{dropped, files, fresh, no_links};
use crate::oci::{Digest, Manifest, Tag};

/// File times move in ticks of some milliseconds: a file written again within a tick can look
/// the same, so a file this young when it was read is read again.
const TICK: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(super) struct Listing {
    pub layout: PathBuf,
    cached: Mutex<Option<Cached>>,
    waiting: Mutex<Vec<Waiting>>,
    /// Held by the task that carries out the waiting edits.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone)]
struct Cached {
    stamp: Stamp,
    settled: bool,
    index: Arc<Index>,
}

/// What changes when the file changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: SystemTime,
    length: u64,
    /// These two change also when a file of the same length and time takes its place.
    changed: (i64, i64),
    inode: u64,
}

/// A change of the list of images.
#[derive(Debug)]
pub(super) enum Edit {
    /// Lists a manifest whose blob is there.
    Put {
        manifest: Box<Manifest>,
        tag: Option<Tag>,
        untagged: Untagged,
    },
    DropTag(Tag),
    /// Drops all entries of a manifest, then sets its blob aside: see `dropped`.
    DropDigest(Digest),
}

/// What became of an edit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Done {
    Listed,
    /// It was not listed, because this blob of it is gone.
    Lacks(Digest),
    Dropped,
    /// Nothing was there to be dropped.
    Nothing,
}

/// Whether a manifest gets an entry without a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Untagged {
    No,
    /// Unless it is listed already.
    IfUnlisted,
    /// So that it stays listed when all its tags are gone.
    Always,
}

/// An edit, and who waits for its result.
type Waiting = (Edit, oneshot::Sender<io::Result<Done>>);

impl Listing {
    pub fn new(layout: PathBuf) -> Self {
        Self {
            layout,
            cached: Mutex::default(),
            waiting: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// The index as it is now.
    pub async fn read(self: &Arc<Self>) -> io::Result<Arc<Index>> {
        let listing = Arc::clone(self);
        files::blocking(move || listing.load()).await
    }

    /// Carries out an edit and makes it durable.
    pub async fn edit(self: &Arc<Self>, edit: Edit) -> io::Result<Done> {
        let (tell, told) = oneshot::channel();
        self.waiting.lock().push((edit, tell));
        // In a task of its own, so that the edits of others are not cancelled with this caller.
        tokio::spawn(Arc::clone(self).carry_out());
        told.await.unwrap_or_else(|_| Err(io::Error::other("the edit was stopped")))
    }

    async fn carry_out(self: Arc<Self>) {
        let _turn = self.turn.lock().await;
        if self.waiting.lock().is_empty() {
            return;
        }
        let layout = self.layout.clone();
        let alone = files::blocking(move || hold(&layout, Hold::Index)).await;
        // Another process may have held the lock for long: only now is it known who still waits. If
        // the caller was cancelled, the edit must not happen later.
        let mut batch = std::mem::take(&mut *self.waiting.lock());
        batch.retain(|(_, tell)| !tell.is_closed());
        if batch.is_empty() {
            return;
        }
        let listing = Arc::clone(&self);
        let (edits, tells): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        let result = files::blocking(move || {
            let _alone = alone?;
            listing.apply(&edits)
        })
        .await;
        for (at, tell) in tells.into_iter().enumerate() {
            let result = match &result {
                Ok(done) => Ok(done[at].clone()),
                Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
            };
            // A caller that was cancelled meanwhile does not get the result.
            let _ = tell.send(result);
        }
    }

    /// Runs `work` while nobody edits the list.
    pub async fn alone<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let _turn = self.turn.lock().await;
        let listing = Arc::clone(self);
        files::blocking(move || {
            let _alone = hold(&listing.layout, Hold::Index)?;
            work(&listing)
        })
        .await
    }

    /// The index as it is now. Blocks.
    pub fn load(&self) -> io::Result<Arc<Index>> {
        let path = self.layout.join(files::INDEX);
        let metadata = no_links::metadata(&path).map_err(files::at(&path))?;
        let stamp = Stamp {
            modified: metadata.modified().map_err(files::at(&path))?,
            length: metadata.len(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
        };
        let touched = files::touched(&metadata).map_err(files::at(&path))?;
        if let Some(cached) = &*self.cached.lock()
            && cached.settled
            && cached.stamp == stamp
        {
            return Ok(Arc::clone(&cached.index));
        }
        let settled = SystemTime::now().duration_since(touched).is_ok_and(|age| age >= TICK);
        let content = files::read(&path, files::MAX_INDEX_BYTES)?
            .ok_or_else(|| files::at(&path)(io::ErrorKind::NotFound.into()))?;
        let index = Index::parse(&content).map_err(|error| files::at(&path)(error.into()))?;
        let index = Arc::new(index);
        *self.cached.lock() = Some(Cached { stamp, settled, index: Arc::clone(&index) });
        Ok(index)
    }

    /// Applies edits in their order. The locks are held.
    fn apply(&self, edits: &[Edit]) -> io::Result<Vec<Done>> {
        let mut index = Index::clone(&*self.load()?);
        let mut changed = false;
        let mut done = Vec::with_capacity(edits.len());
        for edit in edits {
            let dropped = match edit {
                Edit::Put { manifest, tag, untagged } => {
                    // A collector may have removed something since the caller checked. It cannot now.
                    if let Some(lacks) = fresh::missing(&self.layout, manifest)? {
                        done.push(Done::Lacks(lacks));
                        continue;
                    }
                    self.keep_blob(manifest)?;
                    let descriptor = manifest.descriptor();
                    if let Some(tag) = tag {
                        changed |= index.set_tag(tag, &descriptor)?;
                    }
                    changed |= match untagged {
                        Untagged::No => false,
                        Untagged::IfUnlisted => index.list(&descriptor)?,
                        Untagged::Always => index.list_untagged(&descriptor)?,
                    };
                    done.push(Done::Listed);
                    continue;
                }
                Edit::DropTag(tag) => index.drop_tag(tag),
                Edit::DropDigest(digest) => index.drop_digest(digest),
            };
            changed |= dropped;
            done.push(if dropped { Done::Dropped } else { Done::Nothing });
        }
        if changed {
            self.write(&index)?;
        }
        self.set_aside(edits, &index, &mut done)?;
        Ok(done)
    }

    /// Sets the blobs of dropped manifests aside, while nobody looks for them.
    fn set_aside(&self, edits: &[Edit], index: &Index, done: &mut [Done]) -> io::Result<()> {
        if !edits.iter().any(|edit| matches!(edit, Edit::DropDigest(_))) {
            return Ok(());
        }
        let _alone = hold(&self.layout, Hold::BlobsAlone)?;
        for (at, edit) in edits.iter().enumerate() {
            if let Edit::DropDigest(digest) = edit
                && index.by_digest(digest).is_none()
                && dropped::set_aside(&self.layout, index, digest)?
            {
                done[at] = Done::Dropped;
            }
        }
        dropped::forget(&self.layout, SystemTime::now().checked_sub(dropped::KEPT))
    }

    /// Writes the manifest's blob again if it was deleted since; nobody can delete it now.
    fn keep_blob(&self, manifest: &Manifest) -> io::Result<()> {
        let path = files::blob(&self.layout, &manifest.digest);
        if files::size(&path)? != Some(manifest.raw.len() as u64) {
            let new = new_path(&self.layout)?;
            files::write_new(&new, &manifest.raw)?;
            files::publish(&new, &path)?;
        }
        Ok(())
    }

    fn write(&self, index: &Index) -> io::Result<()> {
        self.sync_blobs()?;
        let path = self.layout.join(files::INDEX);
        let new = files::own(&self.layout).join("index.json.new");
        // A process that was killed may have left one.
        files::remove(&new)?;
        files::write_new(&new, &index.to_bytes()?)?;
        files::publish(&new, &path)?;
        files::sync_folder(&self.layout)
    }

    /// Makes the blobs durable before the list that names them.
    fn sync_blobs(&self) -> io::Result<()> {
        let blobs = self.layout.join(files::BLOBS);
        for algorithm in ["sha256", "sha512"] {
            let folder = blobs.join(algorithm);
            files::found(no_links::sync_folder(&folder)).map_err(files::at(&folder))?;
        }
        files::sync_folder(&blobs)
    }
}

/// Makes a folder a layout without images, unless it is one. Several may do so at once. No link is
/// followed on the way to it.
pub(super) fn create(layout: &Path) -> io::Result<()> {
    for folder in [layout.join(files::BLOBS), files::uploads(layout)] {
        files::create_folders(&folder)?;
    }
    // The marker last: a folder with it has everything.
    let index = Index::empty()?.to_bytes()?;
    let marker = br#"{"imageLayoutVersion":"1.0.0"}"#;
    for (name, content) in [(files::INDEX, &index[..]), (files::MARKER, &marker[..])] {
        let path = layout.join(name);
        if files::size(&path)?.is_some() {
            continue;
        }
        let new = new_path(layout)?;
        files::write_new(&new, content)?;
        // A link is refused where a file is there by now; a rename would replace it.
        match no_links::hard_link(&new, &path) {
            // Some file systems have no links: there, two who create at once are not told apart.
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                no_links::rename(&new, &path).map_err(files::at(&path))?;
            }
            _ => drop(files::remove(&new)?),
        }
    }
    files::sync_folder(layout)
}
