//! What the demo needs from outside, and its errors.

use crate::config::ConfigError;
use crate::repository::Error;
use crate::secret::Environment;
use crate::state::StateError;

/// What the demo needs from outside.
pub struct World {
    /// Where credentials would be looked for.
    pub environment: Environment,
    /// Random numbers from 0 to 1 that spread retries.
    pub jitter: fn() -> f64,
    /// Seconds since 1970.
    pub clock: fn() -> u64,
}

/// Why the demo ended early.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error("{0}")]
    Repository(#[from] Error),
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("{0}")]
    State(#[from] StateError),
    #[error("failed to set up the demo: {0}")]
    Io(#[from] std::io::Error),
}
