//! Work that takes long without waiting for anything, on a thread of its own.

use std::panic::resume_unwind;

use tokio::task::JoinError;

/// The result of such work. If it panicked, so does this.
pub async fn joined<T>(work: impl Future<Output = Result<T, JoinError>>) -> T {
    match work.await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The runtime ends, and this task with it.
            Err(_) => std::future::pending().await,
        },
    }
}
