//! How much disk space a directory takes, measured in the background.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The size is measured at most this often, however many ask.
const MAX_AGE: Duration = Duration::from_secs(30);

/// The size of a directory when it was last measured.
#[derive(Debug)]
pub(super) struct Size {
    dir: PathBuf,
    bytes: Arc<AtomicU64>,
    /// When the last measurement began.
    begun: Mutex<Instant>,
}

impl Size {
    /// Measures the directory now. Blocks.
    pub(super) fn of(dir: &Path) -> Self {
        let begun = Mutex::new(Instant::now());
        let bytes = Arc::new(AtomicU64::new(measure(dir).unwrap_or(0)));
        Self { dir: dir.to_owned(), bytes, begun }
    }

    /// In bytes, when it was last measured. If that is a while ago, a measurement is begun.
    pub(super) fn bytes(&self) -> u64 {
        self.keep_up(Instant::now());
        self.bytes.load(Ordering::Relaxed)
    }

    fn keep_up(&self, now: Instant) {
        let mut begun = self.begun.lock();
        if now.saturating_duration_since(*begun) < MAX_AGE {
            return;
        }
        *begun = now;
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (dir, bytes) = (self.dir.clone(), Arc::clone(&self.bytes));
            runtime.spawn_blocking(move || {
                // If it cannot be measured now, the last size stays.
                if let Ok(measured) = measure(&dir) {
                    bytes.store(measured, Ordering::Relaxed);
                }
            });
        }
    }
}

/// Files may be removed while this looks at them.
fn measure(dir: &Path) -> std::io::Result<u64> {
    let mut total = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let size = entry.metadata().and_then(|metadata| match metadata.is_dir() {
            true => measure(&entry.path()),
            // Blocks of 512 bytes, whatever the file system's own are (stat(2)).
            false => Ok(metadata.blocks() * 512),
        });
        total += match size {
            Err(error) if error.kind() == ErrorKind::NotFound => 0,
            other => other?,
        };
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_size_is_that_of_all_files_as_of_a_while_ago() {
        let dir = tempfile::TempDir::new().unwrap();
        fs::write(dir.path().join("index"), vec![7; 1 << 16]).unwrap();
        let size = Size::of(dir.path());
        let before = size.bytes();
        assert!(((1 << 16)..(1 << 17)).contains(&before), "{before}");
        fs::create_dir(dir.path().join("history")).unwrap();
        fs::write(dir.path().join("history/1"), vec![7; 1 << 20]).unwrap();
        assert_eq!(size.bytes(), before, "it is not measured for everybody who asks");
        size.keep_up(Instant::now() + MAX_AGE);
        let deadline = Instant::now() + Duration::from_secs(20);
        while size.bytes() == before {
            assert!(Instant::now() < deadline);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let grown = size.bytes() - before;
        assert!((1 << 20..2 << 20).contains(&grown), "{grown}");
    }
}
