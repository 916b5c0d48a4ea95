//! How work is stopped.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// How long uploads have to end so that they can be resumed.
const LEAVING: Duration = Duration::from_secs(2);

/// Two ways to stop a run. What was committed stays either way, and the next run continues.
#[derive(Debug, Clone, Default)]
pub struct StopSignal {
    /// Start no new images, and let transfers under way finish.
    pub soon: CancellationToken,
    /// Stop everything at once. The next run resumes uploads that were journalled.
    pub now: CancellationToken,
}

impl StopSignal {
    /// A signal that only ever stops at once, when this token is cancelled.
    pub fn at_once(now: CancellationToken) -> Self {
        Self { soon: now.clone(), now }
    }

    /// Does something until it is to stop at once, and then for the moment in which uploads end.
    /// `None`: it was dropped.
    pub async fn until_left<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            result = work => Some(result),
            () = async {
                self.now.cancelled().await;
                tokio::time::sleep(LEAVING).await;
            } => None,
        }
    }

    /// Whether either way was asked for.
    pub fn is_cancelled(&self) -> bool {
        self.soon.is_cancelled() || self.now.is_cancelled()
    }
}
