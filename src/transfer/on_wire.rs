//! Blobs on the wire: of which image each is, and how far it has come. For whoever shows that.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::time::Instant;

/// The number of the next blob.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Blobs that are being read from where they are.
#[derive(Debug, Default)]
pub struct BlobsOnWire {
    blobs: Mutex<BTreeMap<u64, Arc<Reading>>>,
}

/// One blob at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobStatus {
    /// Unique within this process, and larger for those that began later.
    pub number: u64,
    /// What it belongs to: an image at its target, or a repository.
    pub image: String,
    /// Bytes that were read, those of an earlier attempt included where it was resumed.
    pub done: u64,
    pub size: u64,
    pub started: Instant,
}

/// A blob that is on the wire until this is dropped.
#[derive(Debug)]
pub struct BlobOnWire<'a> {
    all: &'a BlobsOnWire,
    number: u64,
    reading: Arc<Reading>,
}

#[derive(Debug)]
struct Reading {
    image: String,
    size: u64,
    done: AtomicU64,
    started: Instant,
}

impl BlobsOnWire {
    pub fn begin(&self, image: &str, size: u64) -> BlobOnWire<'_> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let (image, done) = (image.to_owned(), AtomicU64::new(0));
        let reading = Arc::new(Reading { image, size, done, started: Instant::now() });
        self.blobs.lock().insert(number, reading.clone());
        BlobOnWire { all: self, number, reading }
    }

    /// The oldest first.
    pub fn list(&self) -> Vec<BlobStatus> {
        let status = |(&number, reading): (&u64, &Arc<Reading>)| BlobStatus {
            number,
            image: reading.image.clone(),
            // A descriptor may say less than there is.
            done: reading.done.load(Ordering::Relaxed).min(reading.size),
            size: reading.size,
            started: reading.started,
        };
        self.blobs.lock().iter().map(status).collect()
    }
}

impl BlobOnWire<'_> {
    /// So many of its bytes have been read, which may be fewer than before. Called for every chunk.
    pub fn reached(&self, done: u64) {
        self.reading.done.store(done, Ordering::Relaxed);
    }
}

impl Drop for BlobOnWire<'_> {
    fn drop(&mut self) {
        self.all.blobs.lock().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_are_listed_by_age_until_they_are_through() {
        let all = BlobsOnWire::default();
        let seen = || -> Vec<(String, u64)> {
            all.list().into_iter().map(|blob| (blob.image, blob.done)).collect()
        };
        let (first, second) = (all.begin("t/a:1", 100), all.begin("t/b:1", 50));
        first.reached(70);
        second.reached(60);
        assert_eq!(seen(), [("t/a:1".to_owned(), 70), ("t/b:1".to_owned(), 50)]);
        // It was read anew.
        first.reached(10);
        drop(second);
        assert_eq!(seen(), [("t/a:1".to_owned(), 10)]);
        drop(first);
        assert_eq!(seen(), []);
    }
}
