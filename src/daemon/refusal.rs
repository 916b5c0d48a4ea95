//! Why the daemon does not do what it is asked to do.

/// The daemon ends, and begins nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the daemon is stopping: ask the next one")]
pub struct Stopping;

/// Why a rule is not planned or run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleRefusal {
    #[error("there is no rule `{0}`: GET /api/v1/rules lists them")]
    Unknown(String),
    #[error("`{0}` is a sync rule, and this is for cleanup rules")]
    NoCleanup(String),
    #[error("`{0}` is a cleanup rule, and this is for sync rules")]
    NoSync(String),
    #[error("no run of rule `{0}` is in progress or queued")]
    Idle(String),
    /// It may plan, and must not delete.
    #[error(
        "rule `{0}` covers every repository of a registry, so it must not delete: name the part \
         that is meant in `repositories`, or leave some out with `!`, and reload the configuration"
    )]
    Sweeping(String),
    #[error("rule `{rule}` does not cover {image}")]
    NotCovered { rule: String, image: String },
    #[error(transparent)]
    Stopping(#[from] Stopping),
}
