//! What executes a run: the syncer and the cleaner, or what the scheduler's tests put in their
//! place, so that months of schedules need neither months nor a network.

use async_trait::async_trait;

use crate::cleanup::{Cleaner, CleanupReport, CleanupSpec};
use crate::sync::{RuleReport, RunSpec, Syncer};

/// Executes one run, to its end or until it is stopped.
#[async_trait]
pub trait Runner: Send + Sync {
    async fn sync(&self, syncer: &Syncer, spec: RunSpec<'_>) -> RuleReport;
    async fn clean(&self, cleaner: &Cleaner, spec: CleanupSpec<'_>) -> CleanupReport;
}

/// Does what the rule says.
pub struct RealRunner;

#[async_trait]
impl Runner for RealRunner {
    async fn sync(&self, syncer: &Syncer, spec: RunSpec<'_>) -> RuleReport {
        syncer.run_rule(spec).await
    }

    async fn clean(&self, cleaner: &Cleaner, spec: CleanupSpec<'_>) -> CleanupReport {
        cleaner.run(spec).await
    }
}
