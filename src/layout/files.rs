//! The files of a layout: where they are, and how they are written so that a crash at any
//! moment leaves either the old content or the new. Links are not followed: see `no_links`.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::task::{JoinHandle, spawn_blocking};

use super::no_links::{self, Entry};
use crate::oci::Digest;

/// How much is read, hashed or written at a time, in bytes.
pub(super) const CHUNK: usize = 256 << 10;

/// A blob's file this young is not made younger: that would cost a write and change little.
pub(super) const FRESH: Duration = Duration::from_secs(60);

/// An index larger than this (some hundred thousand images) is not read.
pub(super) const MAX_INDEX_BYTES: u64 = 256 << 20;

/// What makes a folder a layout, and what stands in it (image-spec image-layout.md).
pub(crate) const MARKER: &str = "oci-layout";
pub(super) const INDEX: &str = "index.json";
pub(super) const BLOBS: &str = "blobs";

/// Where tranship keeps what is not part of the image: the specification tolerates extra files.
const OWN: &str = ".tranship";

pub(super) fn blob(layout: &Path, digest: &Digest) -> PathBuf {
    layout.join(BLOBS).join(digest.algorithm()).join(digest.hex())
}

pub(super) fn own(layout: &Path) -> PathBuf {
    layout.join(OWN)
}

pub(super) fn uploads(layout: &Path) -> PathBuf {
    own(layout).join("uploads")
}

/// Runs file operations where they do not block the runtime.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    match spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::other("the file operation was stopped")),
    }
}

/// Adds the path to an error: the system's own words lack it.
pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> io::Error + '_ {
    move |error| match no_links::is_link(&error) {
        // It names the link.
        true => error,
        false => io::Error::new(error.kind(), format!("{}: {error}", path.display())),
    }
}

/// When a file was last touched in any way.
///
/// Tools that preserve times (`cp -p`, `rsync -a`, tar) write files that look old; nobody can choose
/// when the file system says that a file was changed.
pub(super) fn touched(metadata: &Metadata) -> io::Result<SystemTime> {
    let modified = metadata.modified()?;
    Ok(changed(metadata).map_or(modified, |changed| changed.max(modified)))
}

fn changed(metadata: &Metadata) -> Option<SystemTime> {
    let seconds = Duration::from_secs(u64::try_from(metadata.ctime()).ok()?);
    let nanos = Duration::from_nanos(u64::try_from(metadata.ctime_nsec()).ok()?);
    SystemTime::UNIX_EPOCH.checked_add(seconds + nanos)
}

/// Turns "it is not there" into `None`.
pub(super) fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// What is in a folder; nothing if there is none.
pub(super) fn entries(folder: &Path) -> io::Result<Vec<Entry>> {
    Ok(found(no_links::entries(folder)).map_err(at(folder))?.unwrap_or_default())
}

/// What is known of a regular file; `None` if there is none.
pub(super) fn metadata(path: &Path) -> io::Result<Option<Metadata>> {
    found(no_links::metadata(path)).map_err(at(path))
}

/// The size of a regular file in bytes; `None` if there is none.
pub(super) fn size(path: &Path) -> io::Result<Option<u64>> {
    Ok(metadata(path)?.map(|metadata| metadata.len()))
}

/// A whole file of at most `limit` bytes; `None` if there is none.
pub(super) fn read(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let Some(file) = found(no_links::open(path)).map_err(at(path))? else { return Ok(None) };
    let mut content = Vec::new();
    file.take(limit + 1).read_to_end(&mut content).map_err(at(path))?;
    if content.len() as u64 > limit {
        let error = io::Error::other(format!("it is larger than {limit} bytes"));
        return Err(at(path)(error));
    }
    Ok(Some(content))
}

/// Makes the names in a folder survive a power failure.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    no_links::sync_folder(path).map_err(at(path))
}

/// Writes a file that is not there yet, and makes its content survive a power failure.
pub(super) fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let write = || {
        let mut file = no_links::create_new(path)?;
        file.write_all(content)?;
        file.sync_data()
    };
    write().map_err(at(path))
}

/// Gives a complete file the name under which others see it.
pub(super) fn publish(from: &Path, to: &Path) -> io::Result<()> {
    let folder = to.parent().unwrap_or(Path::new("."));
    create_folders(folder)?;
    no_links::rename(from, to).map_err(at(to))
}

/// Removes a file; `false` if there was none.
pub(super) fn remove(path: &Path) -> io::Result<bool> {
    Ok(found(no_links::remove_file(path)).map_err(at(path))?.is_some())
}

/// Makes a folder, with all folders on the way, where there is none.
pub(super) fn create_folders(path: &Path) -> io::Result<()> {
    no_links::create_folders(path).map_err(at(path))
}

/// A file's bytes from `offset` on, `length` of them, read one chunk ahead of the reader.
pub(super) fn chunks(
    file: File,
    offset: u64,
    length: u64,
) -> BoxStream<'static, io::Result<Bytes>> {
    type Read = JoinHandle<io::Result<(File, Vec<u8>)>>;
    fn next(mut file: File, left: u64) -> Read {
        spawn_blocking(move || {
            let wanted = left.min(CHUNK as u64);
            let mut chunk = Vec::with_capacity(wanted as usize);
            (&mut file).take(wanted).read_to_end(&mut chunk)?;
            Ok((file, chunk))
        })
    }
    let start = async move {
        let mut file = file;
        blocking(move || file.seek(SeekFrom::Start(offset)).map(|_| file)).await
    };
    stream::once(start)
        .flat_map(move |file| {
            let first = file.map(|file| (next(file, length), length));
            stream::try_unfold(first, |state| async move {
                let (read, left) = state?;
                if left == 0 {
                    return Ok(None);
                }
                let (file, chunk) = read
                    .await
                    .map_err(|_| io::Error::other("the file operation was stopped"))??;
                if chunk.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                let left = left - chunk.len() as u64;
                Ok(Some((Bytes::from(chunk), Ok((next(file, left), left)))))
            })
        })
        .boxed()
}
