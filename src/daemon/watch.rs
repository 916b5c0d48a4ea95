//! Notices that the configuration file has changed.
//!
//! Its folder is watched, not the file: editors put a new file in its place, and Kubernetes swaps
//! a link beside it. What counts is the content; an event is only a reason to look. Where nothing
//! can be watched (too many watches, a network file system), a look now and then has to do.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

use crate::oci::Digest;

/// A file is written in several steps; one look after them is enough.
const SETTLE: Duration = Duration::from_millis(250);
/// How often the file is looked at without a reason.
const LOOK: Duration = Duration::from_secs(60);

/// Watches one file.
pub struct Watch {
    path: PathBuf,
    /// Of the content that was seen last; `None` while the file cannot be read.
    seen: Option<Digest>,
    events: mpsc::Receiver<()>,
    /// Ends with this value.
    watcher: Option<RecommendedWatcher>,
}

impl Watch {
    /// Begins to watch. What is in the file now counts as seen.
    pub fn start(path: &Path) -> Self {
        // One place is enough: a reason to look does not become better by being given twice.
        let (sender, events) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event| {
            if is_change(&event) {
                let _ = sender.try_send(());
            }
        });
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let watcher = watcher.and_then(|mut watcher| {
            watcher.watch(folder.unwrap_or(Path::new(".")), RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        if let Err(error) = &watcher {
            tracing::warn!(
                file = %path.display(), %error,
                "the configuration's folder cannot be watched: it is looked at once a minute"
            );
        }
        Self { path: path.to_owned(), seen: content(path), events, watcher: watcher.ok() }
    }

    /// Waits until the file has another content than was seen last.
    pub async fn changed(&mut self) {
        loop {
            if self.watcher.is_some() {
                // A closed channel would be a watcher that is gone; the looks go on.
                let _ = tokio::time::timeout(LOOK, self.events.recv()).await;
                tokio::time::sleep(SETTLE).await;
                let _ = self.events.try_recv();
            } else {
                tokio::time::sleep(LOOK).await;
            }
            if self.look() {
                return;
            }
        }
    }

    /// The file that is watched.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the content has changed since the last look. A file that cannot be read has not: it
    /// is mostly being replaced.
    fn look(&mut self) -> bool {
        let Some(now) = content(&self.path) else { return false };
        self.seen.replace(now.clone()) != Some(now)
    }
}

/// Looking at the file is an event too, which must not lead to the next look.
fn is_change(event: &notify::Result<Event>) -> bool {
    use notify::event::{AccessKind, AccessMode};
    !matches!(
        event,
        Ok(Event { kind: EventKind::Access(access), .. })
            if *access != AccessKind::Close(AccessMode::Write)
    )
}

fn content(path: &Path) -> Option<Digest> {
    std::fs::read(path).ok().map(|bytes| Digest::of(&bytes))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// The change is noticed, within the time that a test waits.
    async fn noticed(watch: &mut Watch) {
        tokio::time::timeout(Duration::from_secs(20), watch.changed()).await.unwrap();
    }

    #[tokio::test]
    async fn a_file_is_noticed_when_written_replaced_and_swapped_behind_a_link() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("tranship.toml");
        fs::write(&path, "one").unwrap();
        let mut watch = Watch::start(&path);
        fs::write(&path, "two").unwrap();
        noticed(&mut watch).await;

        let new = dir.path().join("new");
        fs::write(&new, "three").unwrap();
        fs::rename(&new, &path).unwrap();
        noticed(&mut watch).await;

        // As Kubernetes mounts a ConfigMap.
        for version in ["v1", "v2"] {
            fs::create_dir(dir.path().join(version)).unwrap();
            fs::write(dir.path().join(version).join("linked.toml"), version).unwrap();
        }
        let data = dir.path().join("..data");
        std::os::unix::fs::symlink("v1", &data).unwrap();
        let linked = dir.path().join("linked.toml");
        std::os::unix::fs::symlink("..data/linked.toml", &linked).unwrap();
        let mut watch = Watch::start(&linked);
        let swapped = dir.path().join("..tmp");
        std::os::unix::fs::symlink("v2", &swapped).unwrap();
        fs::rename(&swapped, &data).unwrap();
        noticed(&mut watch).await;
    }

    /// Else the daemon would be at it four times a second.
    #[tokio::test]
    async fn a_look_does_not_lead_to_the_next_one() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("tranship.toml");
        fs::write(&path, "one").unwrap();
        let mut watch = Watch::start(&path);
        fs::write(dir.path().join("other"), "a change in the folder").unwrap();
        tokio::time::timeout(Duration::from_secs(20), watch.events.recv()).await.unwrap();
        while watch.events.try_recv().is_ok() {}
        assert!(!watch.look());
        // Events come in the order in which things happened: what this brings, the look did not.
        fs::write(&path, "two").unwrap();
        tokio::time::timeout(Duration::from_secs(20), watch.events.recv()).await.unwrap();
        assert!(watch.look());
    }

    #[tokio::test]
    async fn the_same_content_and_a_missing_file_are_no_change() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("tranship.toml");
        fs::write(&path, "one").unwrap();
        let mut watch = Watch::start(&path);
        fs::write(&path, "one").unwrap();
        assert!(!watch.look());
        fs::remove_file(&path).unwrap();
        assert!(!watch.look());
        fs::write(&path, "one").unwrap();
        assert!(!watch.look());
        fs::write(&path, "two").unwrap();
        assert!(watch.look());
    }
}
