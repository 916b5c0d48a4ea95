//! Waiting for one repository without holding up what goes on elsewhere.

use std::time::Duration;

use super::{Repository, Traffic};

/// Nobody is called stalled before this time: a short pause is normal.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often it is looked whether the repository has stalled.
const LOOK: Duration = Duration::from_millis(250);

/// Waits for work at a repository as long as that answers anything. `None`: it has stalled, and
/// the work was dropped.
pub async fn unless_stalled<T>(
    repository: &dyn Repository,
    traffic: Traffic,
    work: impl Future<Output = T>,
) -> Option<T> {
    let mut work = std::pin::pin!(work);
    let mut wait = PATIENCE;
    loop {
        tokio::select! {
            biased;
            done = &mut work => return Some(done),
            () = tokio::time::sleep(wait) => {}
        }
        if repository.has_stalled(traffic) {
            return None;
        }
        wait = LOOK;
    }
}
