//! Blobs on their way into a layout: partial files that outlive the process, hashed as they
//! are written, and published under their digest only when the whole content has it.

use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio_util::sync::CancellationToken;

use super::lock::{Hold, hold};
use super::no_links::Entry;
use super::{checked, files, fresh, no_links};
use crate::oci::{Digest, Hasher, shown_as_text};

/// Partial files that nobody has touched for this long are removed.
const ABANDONED: Duration = Duration::from_secs(7 * 24 * 3600);

/// How many unfinished uploads have their hash kept in memory; the others are read again at the end.
const KEPT: usize = 1024;

/// The name of an upload: 128 random bits in hexadecimal, so that it cannot be guessed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UploadId(String);

impl UploadId {
    pub(super) fn random() -> io::Result<Self> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        Ok(Self(format!("{:032x}", u128::from_be_bytes(bytes))))
    }
}

shown_as_text!(UploadId.0);

impl FromStr for UploadId {
    type Err = UploadError;

    fn from_str(text: &str) -> Result<Self, UploadError> {
        let valid =
            text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if valid { Ok(Self(text.to_owned())) } else { Err(UploadError::Gone) }
    }
}

/// Why an upload does not go on.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    #[error("there is no such upload")]
    Gone,
    #[error("another process is writing this upload")]
    Busy,
    #[error("the upload has {length} bytes, and cannot go on at {offset}")]
    Offset { length: u64, offset: u64 },
    /// What arrived before is kept.
    #[error("the body broke off")]
    BrokenOff,
    /// The same upload was taken up by another request. What arrived before is kept.
    #[error("another request took the upload over")]
    TakenOver,
    #[error("the body is longer than announced")]
    TooLong,
    #[error("its bytes have the digest {found}, but {wanted} was announced")]
    Digest { wanted: Digest, found: Digest },
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The uploads of one layout.
#[derive(Debug, Default)]
pub(super) struct Uploads {
    slots: Mutex<HashMap<UploadId, Arc<Slot>>>,
    swept: AtomicBool,
}

/// What is in memory of an upload.
#[derive(Debug, Default)]
struct Slot {
    /// Held by the request that writes.
    gate: Arc<tokio::sync::Mutex<Hashed>>,
    /// Cancels the request that writes now.
    stop: Mutex<CancellationToken>,
}

/// The hash of a partial file's first `length` bytes, while it is known.
#[derive(Debug, Default)]
struct Hashed(Option<(u64, Hasher)>);

impl Uploads {
    /// Begins an upload in a layout.
    pub async fn begin(&self, layout: &Path) -> io::Result<UploadId> {
        let folder = files::uploads(layout);
        let sweep = !self.swept.swap(true, Ordering::Relaxed);
        files::blocking(move || {
            files::create_folders(&folder)?;
            if sweep {
                remove_abandoned(&folder, SystemTime::now())?;
            }
            let id = UploadId::random()?;
            let path = folder.join(id.as_str());
            no_links::create_new(&path).map_err(files::at(&path))?;
            Ok(id)
        })
        .await
    }

    /// Takes an upload over from the request that writes it now: a sender that asks again has lost its
    /// earlier request, which may not have noticed yet.
    pub async fn open(&self, layout: &Path, id: &UploadId) -> Result<Upload, UploadError> {
        let path = files::uploads(layout).join(id.as_str());
        let slot = self.slot(id);
        let stop = CancellationToken::new();
        std::mem::replace(&mut *slot.stop.lock(), stop.clone()).cancel();
        let hashed = Arc::clone(&slot.gate).lock_owned().await;
        let opened = files::blocking({
            let path = path.clone();
            move || open_partial(&path)
        });
        let Some((file, length)) = opened.await? else {
            self.forget(id);
            return Err(UploadError::Gone);
        };
        let file = file.ok_or(UploadError::Busy)?;
        let sink = Sink::Idle(Box::new(Writer { file, length, hashed }));
        Ok(Upload { layout: layout.to_owned(), path, length, sink, stop })
    }

    pub fn forget(&self, id: &UploadId) {
        self.slots.lock().remove(id);
    }

    fn slot(&self, id: &UploadId) -> Arc<Slot> {
        let mut slots = self.slots.lock();
        if slots.len() >= KEPT && !slots.contains_key(id) {
            slots.retain(|_, slot| slot.gate.try_lock().is_err() || Arc::strong_count(slot) > 1);
        }
        Arc::clone(slots.entry(id.clone()).or_default())
    }
}

/// The path of a new file, which is published or removed in the end.
pub(super) fn new_path(layout: &Path) -> io::Result<PathBuf> {
    let folder = files::uploads(layout);
    files::create_folders(&folder)?;
    Ok(folder.join(UploadId::random()?.as_str()))
}

/// A partial file and its length; `Some((None, _))` where another process has it.
fn open_partial(path: &Path) -> io::Result<Option<(Option<File>, u64)>> {
    let file = files::found(no_links::open_writable(path)).map_err(files::at(path))?;
    let Some(mut file) = file else { return Ok(None) };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(Some((None, 0))),
        Err(TryLockError::Error(error)) => return Err(files::at(path)(error)),
    }
    let length = file.seek(SeekFrom::End(0)).map_err(files::at(path))?;
    Ok(Some((Some(file), length)))
}

fn remove_abandoned(folder: &Path, now: SystemTime) -> io::Result<()> {
    for Entry { path, .. } in files::entries(folder)? {
        // A file that is gone by now, or cannot be looked at, is no reason to refuse an upload.
        let modified = no_links::metadata(&path).and_then(|metadata| metadata.modified());
        let age = modified.ok().and_then(|modified| now.duration_since(modified).ok());
        if age.is_some_and(|age| age > ABANDONED) {
            files::remove(&path)?;
        }
    }
    Ok(())
}

/// One upload that this request alone writes.
#[derive(Debug)]
pub(crate) struct Upload {
    layout: PathBuf,
    path: PathBuf,
    length: u64,
    sink: Sink,
    stop: CancellationToken,
}

#[derive(Debug)]
enum Sink {
    Idle(Box<Writer>),
    Busy(JoinHandle<io::Result<Box<Writer>>>),
    /// A write failed, or was stopped with the runtime.
    Broken,
}

/// The file with its hash. It holds the upload's gate, so that nobody else writes while the last write
/// of an abandoned request is under way.
#[derive(Debug)]
struct Writer {
    file: File,
    length: u64,
    hashed: OwnedMutexGuard<Hashed>,
}

impl Upload {
    /// How many bytes have arrived.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Drops what arrived after `offset`.
    pub async fn truncate(&mut self, offset: u64) -> Result<(), UploadError> {
        if offset > self.length {
            return Err(UploadError::Offset { length: self.length, offset });
        }
        if offset < self.length {
            let mut writer = self.settle().await?;
            let truncated = files::blocking(move || {
                writer.file.set_len(offset)?;
                writer.file.seek(SeekFrom::Start(offset))?;
                writer.length = offset;
                Ok(writer)
            });
            self.sink = Sink::Idle(truncated.await?);
            self.length = offset;
        }
        Ok(())
    }

    /// Appends a body. However it ends, what arrived is kept.
    ///
    /// `length`: the exact length of the body in bytes, if it is known.
    pub async fn append<E>(
        &mut self,
        chunks: impl Stream<Item = Result<Bytes, E>> + Unpin,
        length: Option<u64>,
    ) -> Result<(), UploadError> {
        let mut chunks = chunks;
        let end = length.map(|length| self.length + length);
        let stop = self.stop.clone();
        let ended = loop {
            let (batch, ended) = gather(&mut chunks, &stop).await;
            let bytes: u64 = batch.iter().map(|chunk| chunk.len() as u64).sum();
            if end.is_some_and(|end| self.length + bytes > end) {
                break Err(UploadError::TooLong);
            }
            // The write before this one went on while this batch was gathered.
            let writer = self.settle().await?;
            self.sink = Sink::Busy(spawn_blocking(move || writer.write(&batch)));
            self.length += bytes;
            if let Some(ended) = ended {
                break ended;
            }
        };
        let writer = self.settle().await?;
        self.sink = Sink::Idle(writer);
        ended?;
        match end {
            Some(end) if self.length < end => Err(UploadError::BrokenOff),
            _ => Ok(()),
        }
    }

    /// Verifies the whole content and publishes it. A content that has another digest is
    /// removed, because no further bytes can make it right.
    pub async fn commit(mut self, digest: &Digest) -> Result<(), UploadError> {
        let writer = self.settle().await?;
        let (layout, path, wanted) = (self.layout.clone(), self.path.clone(), digest.clone());
        let found = files::blocking(move || {
            let found = writer.digest(&wanted)?;
            if found == wanted {
                writer.file.sync_data().map_err(files::at(&path))?;
                // The last of it may have arrived long ago.
                fresh::freshen_open(&writer.file, &path, &wanted)?;
                let metadata = writer.file.metadata().map_err(files::at(&path))?;
                checked::remember(&metadata, &wanted, true);
                let _held = hold(&layout, Hold::Blobs)?;
                files::publish(&path, &files::blob(&layout, &wanted))?;
            } else {
                files::remove(&path)?;
            }
            Ok(found)
        })
        .await?;
        if found == *digest {
            Ok(())
        } else {
            Err(UploadError::Digest { wanted: digest.clone(), found })
        }
    }

    /// Gives the upload up.
    pub async fn discard(mut self) -> Result<(), UploadError> {
        let writer = self.settle().await?;
        let path = self.path.clone();
        files::blocking(move || {
            let _writer = writer;
            files::remove(&path)
        })
        .await?;
        Ok(())
    }

    /// Waits for the write that is under way, and takes the writer.
    async fn settle(&mut self) -> io::Result<Box<Writer>> {
        match std::mem::replace(&mut self.sink, Sink::Broken) {
            Sink::Idle(writer) => Ok(writer),
            Sink::Busy(write) => {
                write.await.unwrap_or_else(|_| Err(io::Error::other("the write was stopped")))
            }
            Sink::Broken => Err(io::Error::other("an earlier write failed")),
        }
        .map_err(files::at(&self.path))
    }
}

/// The next chunks, enough for one write, and how the body ended if it did.
async fn gather<E>(
    chunks: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin),
    stop: &CancellationToken,
) -> (Vec<Bytes>, Option<Result<(), UploadError>>) {
    let mut batch = Vec::new();
    let mut size = 0;
    while size < files::CHUNK {
        let next = tokio::select! {
            biased;
            () = stop.cancelled() => return (batch, Some(Err(UploadError::TakenOver))),
            next = chunks.next() => next,
        };
        match next {
            Some(Ok(chunk)) => {
                size += chunk.len();
                batch.push(chunk);
            }
            Some(Err(_)) => return (batch, Some(Err(UploadError::BrokenOff))),
            None => return (batch, Some(Ok(()))),
        }
    }
    (batch, None)
}

impl Writer {
    fn write(mut self: Box<Self>, batch: &[Bytes]) -> io::Result<Box<Self>> {
        let mut hasher = match self.hashed.0.take() {
            Some((length, hasher)) if length == self.length => Some(hasher),
            _ if self.length == 0 => Some(Hasher::Sha256(Default::default())),
            _ => None,
        };
        for chunk in batch {
            self.file.write_all(chunk)?;
            self.length += chunk.len() as u64;
            if let Some(hasher) = &mut hasher {
                hasher.update(chunk);
            }
        }
        self.hashed.0 = hasher.map(|hasher| (self.length, hasher));
        Ok(self)
    }

    /// The digest of the whole file, by the algorithm of `wanted`.
    fn digest(&self, wanted: &Digest) -> io::Result<Digest> {
        if let (Some((length, hasher @ Hasher::Sha256(_))), Digest::Sha256(_)) =
            (&self.hashed.0, wanted)
            && *length == self.length
        {
            return Ok(hasher.clone().finish());
        }
        checked::hash_file(&self.file, wanted)
    }
}
