//! Bounds how many read the history at once: reading all of it takes a while, and requests over the
//! network must not occupy all blocking threads.

use std::io;
use std::sync::Arc;

use tokio::sync::Semaphore;

/// Reading is bound by the disk and one core.
const READERS: usize = 3;

/// A permit for each reader.
#[derive(Debug, Clone)]
pub(super) struct Readers(Arc<Semaphore>);

impl Default for Readers {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(READERS)))
    }
}

impl Readers {
    /// Reads in a blocking thread once there is a permit. A caller that stops waiting keeps its permit
    /// until the read has ended.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let permit = Arc::clone(&self.0).acquire_owned().await.map_err(io::Error::other)?;
        let reading = move || {
            let result = read();
            drop(permit);
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
