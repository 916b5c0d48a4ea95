//! How many read the history at once: a look through all of it takes a while, and whoever asks
//! for it over the network must not take all threads that may block.

use std::io;
use std::sync::Arc;

use tokio::sync::Semaphore;

/// Reading is bound by the disk and one core.
const READERS: usize = 3;

/// Places for readers.
#[derive(Debug, Clone)]
pub(super) struct Readers(Arc<Semaphore>);

impl Default for Readers {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(READERS)))
    }
}

impl Readers {
    /// Reads in a thread of its own, when there is a place. Whoever waits no more for what is being
    /// read keeps its place to the end.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let place = Arc::clone(&self.0).acquire_owned().await.map_err(io::Error::other)?;
        let reading = move || {
            let result = read();
            drop(place);
            result
        };
        tokio::task::spawn_blocking(reading).await?
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn few_read_at_once_even_if_nobody_waits_for_them() {
        let readers = Readers::default();
        let begun = Arc::new(AtomicUsize::new(0));
        let (go, wait) = mpsc::channel::<()>();
        let wait = Arc::new(parking_lot::Mutex::new(wait));
        for _ in 0..20 {
            let (begun, wait) = (Arc::clone(&begun), Arc::clone(&wait));
            let read = readers.read(move || {
                begun.fetch_add(1, Ordering::Relaxed);
                let _ = wait.lock().recv();
                Ok(())
            });
            // As a client that goes away at once.
            let _ = tokio::time::timeout(Duration::from_millis(5), read).await;
        }
        assert!(begun.load(Ordering::Relaxed) <= READERS);
        drop(go);
        assert_eq!(readers.read(|| Ok(7)).await.unwrap(), 7);
    }
}
