//! What is in use, as a run reads it: repeatedly, but not for each repository.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::in_use::{self, Usage};
use crate::config::CleanupRule;
use crate::config::in_use::InUseSource;
use crate::repository::Failure;
use crate::secret::Environment;
use crate::single_flight::SingleFlight;
use crate::state::State;

/// How long an answer is good enough for the next repository. Deletions take longer than this.
const LASTS: Duration = Duration::from_secs(30);

/// The configured sources.
#[derive(Debug, Clone)]
pub struct Sources {
    by_name: BTreeMap<String, InUseSource>,
    environment: Environment,
}

impl Sources {
    pub fn new(by_name: BTreeMap<String, InUseSource>, environment: Environment) -> Self {
        Self { by_name, environment }
    }
}

/// What is in use while a rule runs.
pub(super) struct UsageNow<'a> {
    sources: &'a Sources,
    rule: &'a CleanupRule,
    state: &'a State,
    now: Timestamp,
    /// What was read last, and when.
    last: SingleFlight<(), (Instant, Arc<Usage>)>,
}

impl<'a> UsageNow<'a> {
    /// `now`: the time that the run reckons ages from.
    pub fn new(
        sources: &'a Sources,
        rule: &'a CleanupRule,
        state: &'a State,
        now: Timestamp,
    ) -> Self {
        Self { sources, rule, state, now, last: SingleFlight::default() }
    }

    /// What is in use now.
    ///
    /// # Errors
    /// A source of the rule does not answer, or its answer cannot be relied on.
    pub async fn read(&self) -> Result<Arc<Usage>, Vec<Failure>> {
        let read = || async {
            let Sources { by_name, environment } = self.sources;
            let (names, limit) = (&self.rule.in_use, in_use::SIZE_LIMIT);
            let read = in_use::read(limit, by_name, names, self.state, environment, self.now);
            let usage =
                read.await.map_err(|errors| errors.iter().map(failure).collect::<Vec<_>>())?;
            Ok::<_, Vec<Failure>>((Instant::now(), Arc::new(usage)))
        };
        let (_, usage) = self.last.get(&(), |(at, _)| at.elapsed() < LASTS, read).await?;
        Ok(usage)
    }
}

fn failure(error: &in_use::InUseError) -> Failure {
    Failure {
        hint: Some("nothing is deleted while it is not known what runs".to_owned()),
        ..Failure::new("read", "what is in use", error.to_string())
    }
}
