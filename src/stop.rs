//! How work is stopped.

use tokio_util::sync::CancellationToken;

/// Two ways to stop a run. What was committed stays either way, and the next run continues.
#[derive(Debug, Clone, Default)]
pub struct StopSignal {
    /// Start no new images, and let transfers under way finish.
    pub soon: CancellationToken,
    /// Drop everything at once. The next run resumes uploads that were journalled.
    pub now: CancellationToken,
}

impl StopSignal {
    /// A signal that only ever stops at once, when this token is cancelled.
    pub fn at_once(now: CancellationToken) -> Self {
        Self { soon: CancellationToken::new(), now }
    }

    /// Whether either way was asked for.
    pub fn is_cancelled(&self) -> bool {
        self.soon.is_cancelled() || self.now.is_cancelled()
    }
}
