//! Notices that the configuration file has changed, or one that it includes.
//!
//! Their folders are watched, not the files: editors put a new file in its place, and Kubernetes swaps
//! a link beside it. What counts is the content; an event is only a reason to look. Where nothing
//! can be watched (too many watches, a network file system), a look now and then has to do.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::config;
use crate::oci::Digest;

/// A file is written in several steps; one look after them is enough.
const SETTLE: Duration = Duration::from_millis(250);
/// How often the file is looked at without a reason.
const LOOK: Duration = Duration::from_secs(60);

/// The content that was seen last, by whomever: a file that is changed twice within a moment may
/// have been loaded in between.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen(Arc<Mutex<Option<Digest>>>);

impl Seen {
    /// Notes what is in the files now. `true`: it is something else than before. A file that cannot
    /// be read has not changed: it is mostly being replaced.
    pub fn look(&self, path: &Path) -> bool {
        let Some(now) = content(path) else { return false };
        let mut seen = self.0.lock();
        seen.replace(now.clone()) != Some(now)
    }
}

/// Watches the file and those that it includes.
pub struct Watch {
    path: PathBuf,
    /// The folders that are watched.
    folders: BTreeSet<PathBuf>,
    seen: Seen,
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
        if let Err(error) = &watcher {
            tracing::warn!(
                file = %path.display(), %error,
                "the configuration's folder cannot be watched: it is checked once a minute"
            );
        }
        let seen = Seen::default();
        seen.look(path);
        let (path, folders) = (path.to_owned(), BTreeSet::new());
        let mut watch = Self { path, folders, seen, events, watcher: watcher.ok() };
        watch.follow();
        watch
    }

    /// Watches the folders of the files that are included now.
    fn follow(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        let places = places(&self.path);
        let of_files = places.files.iter().filter_map(|file| file.parent());
        let folders: BTreeSet<PathBuf> =
            of_files.map(Path::to_owned).chain(places.folders).collect();
        for folder in folders {
            if self.folders.contains(&folder) {
                continue;
            }
            let at = if folder.as_os_str().is_empty() { Path::new(".") } else { &folder };
            match watcher.watch(at, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.folders.insert(folder);
                }
                // It may come later; the looks go on.
                Err(_) if !at.exists() => {}
                Err(error) => {
                    tracing::warn!(
                        folder = %at.display(), %error,
                        "a folder of the configuration cannot be watched: it is checked once a minute"
                    );
                    self.folders.insert(folder);
                }
            }
        }
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
            // First, so that nothing happens unseen between the look and the watch.
            self.follow();
            if self.seen.look(&self.path) {
                return;
            }
        }
    }

    /// The file that is watched.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What this watch has seen, to be told of other looks.
    pub(super) fn seen(&self) -> Seen {
        self.seen.clone()
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

fn places(path: &Path) -> config::Places {
    config::places(path, &|name| std::env::var(name).ok())
}

/// A digest of all files. Of those that are included, one that cannot be read counts as empty.
/// What is in the files; `None`: one of them cannot be read.
pub(super) fn content(path: &Path) -> Option<Digest> {
    let main = std::fs::read(path).ok()?;
    let mut digests = Digest::of(&main).to_string();
    for file in places(path).files.iter().skip(1) {
        let bytes = std::fs::read(file).unwrap_or_default();
        digests.push_str(&format!("\n{} {}", file.display(), Digest::of(&bytes)));
    }
    Some(Digest::of(digests.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A folder with a file of this content, which is watched.
    fn watched(content: &str) -> (tempfile::TempDir, PathBuf, Watch) {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("tranship.toml");
        fs::write(&path, content).unwrap();
        let watch = Watch::start(&path);
        (dir, path, watch)
    }

    /// The change is noticed, within the time that a test waits.
    async fn noticed(watch: &mut Watch) {
        tokio::time::timeout(Duration::from_secs(20), watch.changed()).await.unwrap();
    }

    #[tokio::test]
    async fn a_file_is_noticed_when_written_replaced_and_swapped_behind_a_link() {
        let (dir, path, mut watch) = watched("one");
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

    #[tokio::test]
    async fn included_files_are_noticed_when_they_come_change_and_go() {
        let (dir, path, mut watch) = watched("include = [\"rules.d/*.toml\"]");
        let rules = dir.path().join("rules.d");
        // The folder is not there yet.
        fs::create_dir(&rules).unwrap();
        fs::write(rules.join("a.toml"), "# one").unwrap();
        noticed(&mut watch).await;
        fs::write(rules.join("a.toml"), "# two").unwrap();
        noticed(&mut watch).await;
        fs::write(rules.join("b.toml"), "# three").unwrap();
        noticed(&mut watch).await;
        fs::remove_file(rules.join("a.toml")).unwrap();
        noticed(&mut watch).await;
        assert!(!watch.seen.look(&path));
    }

    /// Else the daemon would be at it four times a second.
    #[tokio::test]
    async fn a_look_does_not_lead_to_the_next_one() {
        let (dir, path, mut watch) = watched("one");
        fs::write(dir.path().join("other"), "a change in the folder").unwrap();
        tokio::time::timeout(Duration::from_secs(20), watch.events.recv()).await.unwrap();
        while watch.events.try_recv().is_ok() {}
        assert!(!watch.seen.look(&path));
        // Events come in the order in which things happened: what this brings, the look did not.
        fs::write(&path, "two").unwrap();
        tokio::time::timeout(Duration::from_secs(20), watch.events.recv()).await.unwrap();
        assert!(watch.seen.look(&path));
    }

    /// Changed and changed back before it was looked at: if it was loaded in between, that is a change.
    #[tokio::test]
    async fn what_somebody_else_saw_counts() {
        let (_dir, path, mut watch) = watched("good");
        fs::write(&path, "bad").unwrap();
        assert!(watch.seen().look(&path));
        fs::write(&path, "good").unwrap();
        noticed(&mut watch).await;
    }

    #[tokio::test]
    async fn the_same_content_and_a_missing_file_are_no_change() {
        let (_dir, path, watch) = watched("one");
        fs::write(&path, "one").unwrap();
        assert!(!watch.seen.look(&path));
        fs::remove_file(&path).unwrap();
        assert!(!watch.seen.look(&path));
        fs::write(&path, "one").unwrap();
        assert!(!watch.seen.look(&path));
        fs::write(&path, "two").unwrap();
        assert!(watch.seen.look(&path));
    }
}
