//! What concerns the process as a whole.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use super::SecretSource;

/// The `[daemon]` table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Daemon {
    /// Of metrics, health and API.
    pub listen: SocketAddr,
    /// The folder of the state, absolute.
    pub state: PathBuf,
    /// What a client of the API shows as its bearer token. Without one the API only reads, and
    /// listens on this machine only.
    pub token: Option<SecretSource>,
    /// How long images under way may go on when the daemon is told to stop.
    pub grace: Duration,
    /// Most images under way at once, over all rules.
    pub transfers: NonZeroUsize,
    /// A run in which nothing has moved for so long is reported.
    pub stall_after: Duration,
    /// How much disk the history of runs may take, in bytes.
    pub history: u64,
}
