//! What an operator should know of the state: whether it works, and how much room it takes.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::State;

/// The size is measured at most this often, however many ask.
const SIZE_AGE: Duration = Duration::from_secs(30);

/// Whether the state works. If it does not, everything goes on, but costs more requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Why the database is not used any more until the next start.
    pub broken: Option<String>,
    /// Where the database is kept that was found to be damaged when this state was opened.
    pub set_aside: Option<PathBuf>,
}

impl State {
    /// How the database is. Costs nothing.
    pub fn health(&self) -> Health {
        Health {
            broken: self.store().broken().map(str::to_owned),
            set_aside: self.0.set_aside.clone(),
        }
    }

    /// The disk space that everything in the state directory takes, history included, in bytes, as
    /// it was measured last; 0 in memory. Costs nothing: if that is a while ago, it is measured
    /// anew in the background.
    pub fn size_bytes(&self) -> u64 {
        if let Some(dir) = &self.0.dir {
            self.0.size.keep_up(dir, Instant::now());
        }
        self.0.size.bytes.load(Ordering::Relaxed)
    }
}

/// The size of a directory as it was measured last.
#[derive(Debug, Clone, Default)]
pub(super) struct Size {
    bytes: Arc<AtomicU64>,
    /// When a measurement was last begun.
    begun: Arc<Mutex<Option<Instant>>>,
}

impl Size {
    /// Measured now. Blocks.
    pub(super) fn of(dir: &Path) -> Self {
        let size = Self::default();
        size.measure(dir);
        *size.begun.lock() = Some(Instant::now());
        size
    }

    fn measure(&self, dir: &Path) {
        // What cannot be read now is as it was.
        if let Ok(bytes) = size(dir) {
            self.bytes.store(bytes, Ordering::Relaxed);
        }
    }

    /// Begins a measurement, unless there was one a moment ago.
    fn keep_up(&self, dir: &Path, now: Instant) {
        {
            let mut begun = self.begun.lock();
            let is_fresh = |at: Instant| now.saturating_duration_since(at) < SIZE_AGE;
            if begun.is_some_and(is_fresh) {
                return;
            }
            *begun = Some(now);
        }
        let (size, dir) = (self.clone(), dir.to_owned());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || size.measure(&dir));
        }
    }
}

/// Files may go while they are looked at.
fn size(dir: &Path) -> std::io::Result<u64> {
    let mut total = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = match entry.metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            other => other?,
        };
        total += if metadata.is_dir() {
            match size(&entry.path()) {
                Err(error) if error.kind() == ErrorKind::NotFound => 0,
                other => other?,
            }
        } else {
            // Blocks of 512 bytes, whatever the file system's own are (stat(2)).
            metadata.blocks() * 512
        };
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_size_is_that_of_all_files_as_of_a_while_ago() {
        assert_eq!(State::in_memory().size_bytes(), 0);
        let dir = tempfile::TempDir::new().unwrap();
        let state = State::open(dir.path()).unwrap();
        let before = state.size_bytes();
        fs::create_dir(dir.path().join("history")).unwrap();
        fs::write(dir.path().join("history/1"), vec![7; 1 << 20]).unwrap();
        assert_eq!(state.size_bytes(), before, "it is not measured for each who asks");
        state.0.size.keep_up(dir.path(), Instant::now() + SIZE_AGE);
        let deadline = Instant::now() + Duration::from_secs(20);
        while state.size_bytes() == before {
            assert!(Instant::now() < deadline);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let grown = state.size_bytes() - before;
        assert!((1 << 20..2 << 20).contains(&grown), "{grown}");
        assert_eq!(state.health(), Health { broken: None, set_aside: None });
    }
}
