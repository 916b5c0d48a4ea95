//! How a run is stopped.

use tokio_util::sync::CancellationToken;

/// Two ways to stop a run. What was committed stays either way, and the next run goes on.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// Takes on no new images, and lets transfers under way come to their end.
    pub soon: CancellationToken,
    /// Drops everything at once. Uploads that were journalled are gone on with by the next run.
    pub now: CancellationToken,
}

impl Stop {
    /// Only the hard way, when this token is cancelled.
    pub fn at_once(now: CancellationToken) -> Self {
        Self { soon: CancellationToken::new(), now }
    }

    /// Either way.
    pub fn is_cancelled(&self) -> bool {
        self.soon.is_cancelled() || self.now.is_cancelled()
    }
}
