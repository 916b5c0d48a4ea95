//! Whether a registry still answers, separately for requests that read and requests that write: some
//! serve what they have and take nothing.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::fair::Pulse;
use crate::repository::Traffic;

/// The requests of one registry that wait for an answer, and when the last one made progress.
#[derive(Debug, Default)]
pub(super) struct Activity {
    reads: Waits,
    writes: Waits,
}

#[derive(Debug, Default)]
struct Waits {
    /// Requests that wait for their turn, for an answer, or for the next try.
    pending: AtomicUsize,
    progress: Pulse,
}

/// A request is pending until this is dropped.
#[derive(Debug)]
pub(super) struct Pending<'a>(&'a Waits);

impl Activity {
    fn of(&self, traffic: Traffic) -> &Waits {
        match traffic {
            Traffic::Read => &self.reads,
            Traffic::Write => &self.writes,
        }
    }

    pub fn begin(&self, traffic: Traffic) -> Pending<'_> {
        let waits = self.of(traffic);
        if waits.pending.fetch_add(1, Ordering::Relaxed) == 0 {
            waits.progress.begin();
        }
        Pending(waits)
    }

    /// A request was answered, or a part of its body was taken.
    pub fn progress(&self, traffic: Traffic) {
        self.of(traffic).progress.progress();
    }

    /// The same, to be called from where this cannot be borrowed.
    pub fn pulse(&self, traffic: Traffic) -> Pulse {
        self.of(traffic).progress.clone()
    }

    /// Whether requests are pending, and none of them has made progress for a while.
    pub fn has_stalled(&self, traffic: Traffic) -> bool {
        let waits = self.of(traffic);
        waits.pending.load(Ordering::Relaxed) > 0 && waits.progress.has_stalled()
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.pending.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_registry_has_stalled_while_requests_wait_in_vain() {
        let activity = Activity::default();
        let long = Duration::from_secs(60);
        tokio::time::advance(long).await;
        assert!(!activity.has_stalled(Traffic::Write), "nobody waits");
        let pending = activity.begin(Traffic::Write);
        assert!(!activity.has_stalled(Traffic::Write), "it has just been sent");
        tokio::time::advance(long).await;
        assert!(activity.has_stalled(Traffic::Write));
        assert!(!activity.has_stalled(Traffic::Read));
        activity.progress(Traffic::Write);
        assert!(!activity.has_stalled(Traffic::Write));
        tokio::time::advance(long).await;
        drop(pending);
        assert!(!activity.has_stalled(Traffic::Write), "nobody waits any more");
    }
}
