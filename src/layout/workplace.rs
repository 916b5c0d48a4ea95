//! The temporary folder in which an archive is unpacked or built.
//!
//! It goes with its handle, also while something is at work in it. A process that is killed leaves
//! it; the next one that makes such a folder beside it removes it.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use tempfile::TempDir;
use tokio::task::{AbortHandle, spawn_blocking};

use super::{files, no_links};

/// A file in the folder that is locked as long as its process lives.
const LOCK: &str = "archive.lock";

/// How long work is waited for that is told to stop: it looks at every chunk that it moves.
const PATIENCE: Duration = Duration::from_secs(5);

/// A temporary folder that is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Workplace {
    folder: TempDir,
    /// Held until the folder is removed.
    _lock: File,
}

impl Workplace {
    /// Makes a folder in `parent` whose name begins with `prefix`. What killed processes left there
    /// is removed before. Blocks.
    pub fn make(parent: &Path, prefix: &str) -> io::Result<Self> {
        // What cannot be removed is no reason not to work.
        let _ = remove_abandoned(parent, prefix);
        let made = tempfile::Builder::new().prefix(prefix).tempdir_in(parent);
        let folder = made.map_err(files::at(parent))?;
        // It is locked before it has its name: no other process ever sees it unlocked.
        let unnamed = folder.path().join("archive.lock.new");
        let lock = File::create_new(&unnamed).map_err(files::at(&unnamed))?;
        lock.lock().map_err(files::at(&unnamed))?;
        fs::rename(&unnamed, folder.path().join(LOCK)).map_err(files::at(&unnamed))?;
        Ok(Self { folder, _lock: lock })
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Does something in the folder, where it does not block the runtime. If the future is dropped, the
    /// work is told to stop, and the folder is removed when it has.
    pub async fn work<T: Send + 'static>(
        self,
        work: impl FnOnce(&Path, &Stop) -> io::Result<T> + Send + 'static,
    ) -> io::Result<(Self, T)> {
        let (ending, ended) = channel::<()>();
        let (path, stop) = (self.path().to_owned(), Stop::default());
        let told = stop.clone();
        let task = spawn_blocking(move || {
            let _ending = ending;
            work(&path, &told)
        });
        let mut busy = Busy { task: task.abort_handle(), stop, ended, place: Some(self) };
        let result = task.await;
        let place = busy.place.take();
        let result = result.unwrap_or_else(|_| Err(stopped()))?;
        Ok((place.ok_or_else(stopped)?, result))
    }
}

/// A folder that something is at work in.
struct Busy {
    task: AbortHandle,
    stop: Stop,
    /// Closed when the work has ended.
    ended: Receiver<()>,
    place: Option<Workplace>,
}

impl Drop for Busy {
    fn drop(&mut self) {
        if self.place.is_some() {
            self.stop.0.store(true, Ordering::Relaxed);
            // If it has not begun, it never will.
            self.task.abort();
            let _ = self.ended.recv_timeout(PATIENCE);
        }
    }
}

/// Tells work to stop.
#[derive(Debug, Clone, Default)]
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// What reads or writes through this fails as soon as the work is told to stop.
    pub fn of<T>(&self, inner: T) -> Stoppable<T> {
        Stoppable { inner, stop: self.clone() }
    }

    fn check(&self) -> io::Result<()> {
        if self.0.load(Ordering::Relaxed) { Err(stopped()) } else { Ok(()) }
    }
}

fn stopped() -> io::Error {
    io::Error::other("it was stopped")
}

/// A reader or writer that can be stopped.
pub(super) struct Stoppable<T> {
    inner: T,
    stop: Stop,
}

impl<T> Stoppable<T> {
    pub fn into_inner(self) -> T {
        self.inner
    }
}

impl<T: Read> Read for Stoppable<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stop.check()?;
        self.inner.read(buffer)
    }
}

impl<T: Write> Write for Stoppable<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stop.check()?;
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Removes the folders of this name that this user's killed processes left in `parent`.
pub(super) fn remove_abandoned(parent: &Path, prefix: &str) -> io::Result<()> {
    let parent = parent.canonicalize().map_err(files::at(parent))?;
    let user = rustix::process::geteuid().as_raw();
    for entry in files::entries(&parent)? {
        if !entry.name.as_encoded_bytes().starts_with(prefix.as_bytes()) {
            continue;
        }
        let Ok(lock) = no_links::open(&entry.path.join(LOCK)) else { continue };
        let is_own = lock.metadata().is_ok_and(|metadata| metadata.uid() == user);
        if is_own && lock.try_lock().is_ok() {
            tracing::debug!(folder = %entry.path.display(), "removing what a killed process left");
            fs::remove_dir_all(&entry.path).map_err(files::at(&entry.path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    fn count(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[tokio::test]
    async fn the_folder_goes_with_its_handle() {
        let parent = tempfile::tempdir().unwrap();
        let place = Workplace::make(parent.path(), "x-").unwrap();
        let (place, result) = place
            .work(|path, _| {
                fs::write(path.join("file"), "content")?;
                Ok(7)
            })
            .await
            .unwrap();
        assert_eq!((result, count(parent.path())), (7, 1));
        let failed = place.work(|_, _| -> io::Result<()> { Err(io::Error::other("no")) }).await;
        assert_eq!(failed.unwrap_err().to_string(), "no");
        assert_eq!(count(parent.path()), 0);
    }

    /// The work writes for as long as nobody stops it.
    #[tokio::test]
    async fn work_that_is_dropped_stops_before_the_folder_goes() {
        let parent = tempfile::tempdir().unwrap();
        let place = Workplace::make(parent.path(), "x-").unwrap();
        let (writes, mut written) = tokio::sync::mpsc::unbounded_channel();
        let work = place.work(move |path, stop| {
            let start = Instant::now();
            while start.elapsed() < LIMIT {
                fs::create_dir_all(path.join("blobs"))?;
                stop.of(File::create(path.join("blobs/blob"))?).write_all(b"x")?;
                let _ = writes.send(());
            }
            Ok(())
        });
        tokio::select! {
            result = work => panic!("{result:?}"),
            () = async { for _ in 0..10 { written.recv().await.unwrap(); } } => {}
        }
        assert_eq!(count(parent.path()), 0);
        let all = async { while written.recv().await.is_some() {} };
        tokio::time::timeout(LIMIT, all).await.expect("it writes on");
        assert_eq!(count(parent.path()), 0);
    }

    #[test]
    fn only_what_killed_processes_left_is_removed() {
        let parent = tempfile::tempdir().unwrap();
        let make = |prefix| Workplace::make(parent.path(), prefix).unwrap();
        let alive = make("x-");
        let left = |prefix| {
            let Workplace { folder, _lock } = make(prefix);
            fs::create_dir(folder.path().join("blobs")).unwrap();
            folder.keep()
        };
        let (killed, other) = (left("x-"), left("y-"));
        let foreign = parent.path().join("x-foreign");
        fs::create_dir(&foreign).unwrap();
        // A lock that is no file is not waited for.
        let pipe = parent.path().join("x-pipe");
        fs::create_dir(&pipe).unwrap();
        let mode = rustix::fs::Mode::from(0o600);
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, pipe.join(LOCK), fifo, mode, 0).unwrap();
        let start = Instant::now();
        let next = make("x-");
        assert!(start.elapsed() < LIMIT);
        assert!(!killed.exists());
        for kept in [alive.path(), next.path(), &other, &foreign, &pipe] {
            assert!(kept.exists(), "{}", kept.display());
        }
    }
}
