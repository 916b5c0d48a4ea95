//! Carries cleanup rules out: for each repository of a rule a plan is made and, if that is what is
//! wanted, applied.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures_util::StreamExt;
use jiff::Timestamp;

use super::audit::{Actor, Audit};
use super::plan::{InUse, Plan, plan};
use super::report::{CleanupReport, RepositoryReport};
use super::{REGISTRY, Selected, gather, repositories};
use crate::config::CleanupRule;
use crate::config::cleanup::Mode;
use crate::fair::{Flow, Pulse};
use crate::oci::{RegistryHost, RepositoryName};
use crate::registry::Registries;
use crate::repository::{Cause, Error, Result};
use crate::run::{Failure, Stop, Turns};
use crate::transfer::Carrier;

/// Repositories of one rule under way at once.
const REPOSITORIES: usize = 8;

/// Carries cleanup rules out.
pub struct Cleaner {
    pub(super) registries: Arc<Registries>,
    pub(super) carrier: Arc<Carrier>,
    turns: Turns,
    audit: Audit,
}

/// One run of one rule: what is wanted of it, and how it is held from outside.
#[derive(Clone, Copy)]
pub struct CleanupSpec<'a> {
    pub rule: &'a CleanupRule,
    /// Whether anything is deleted: not more than what the rule itself allows is for the caller to
    /// see to.
    pub mode: Mode,
    /// The only repository that the run is about; `None`: all of them.
    pub only: Option<(&'a RegistryHost, &'a RepositoryName)>,
    pub stop: &'a Stop,
    pub flow: Flow,
    /// Signs of life go here.
    pub pulse: &'a Pulse,
    /// Who asked for it, and in which run: for the audit.
    pub actor: &'a Actor,
    /// The time that ages are reckoned from.
    pub now: Timestamp,
    /// Sees the plan of each repository, before anything of it is done.
    pub watch: &'a (dyn Fn(&Plan<'_>) + Sync),
}

impl Cleaner {
    /// `turns` are those of all rules that write to repositories.
    pub fn new(
        registries: Arc<Registries>,
        carrier: Arc<Carrier>,
        turns: Turns,
        audit: Audit,
    ) -> Self {
        Self { registries, carrier, turns, audit }
    }

    /// One for runs to come with other registries, as after a change of the configuration. Runs of
    /// both heed each other.
    pub fn with_registries(&self, registries: Arc<Registries>) -> Self {
        Self {
            registries,
            carrier: Arc::clone(&self.carrier),
            turns: self.turns.clone(),
            audit: self.audit.clone(),
        }
    }

    /// One run of one rule. What it learnt is on the disk when it returns.
    ///
    /// When it is stopped, a deletion under way comes to its end: what became of it is known.
    pub async fn run(&self, spec: CleanupSpec<'_>) -> CleanupReport {
        let begin = Instant::now();
        let report = Mutex::new(CleanupReport::new(&spec.rule.name, spec.mode));
        let _watched = self.registries.pulses().watch(spec.flow, spec.pulse);
        self.pass(&spec, &report).await;
        self.carrier.state().flush().await;
        let mut report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
        report.repositories.sort_by(|a, b| a.repository.cmp(&b.repository));
        report.seconds = begin.elapsed().as_secs_f64();
        report
    }

    async fn pass(&self, spec: &CleanupSpec<'_>, report: &Mutex<CleanupReport>) {
        let fail = |error: &Error| lock(report).failures.push(Failure::of(error));
        let selected = match spec.only {
            Some((host, name)) => Selected::one(host.clone(), name.clone()),
            None => match spec
                .stop
                .soon
                .run_until_cancelled(repositories(spec.rule, &self.registries, spec.flow))
                .await
            {
                Some(selected) => selected,
                None => return lock(report).interrupted = true,
            },
        };
        selected.failures.iter().for_each(fail);
        futures_util::stream::iter(selected.repositories)
            .for_each_concurrent(REPOSITORIES, |((host, name), expected)| async move {
                let repository = self.repository(spec, &host, &name);
                match spec.stop.soon.run_until_cancelled(repository).await {
                    None => lock(report).interrupted = true,
                    Some(Ok(Some(one))) => lock(report).repositories.push(one),
                    Some(Ok(None)) if expected => {
                        let name = format!("{host}/{name}");
                        fail(&Error::new("list tags of", name, Cause::Missing));
                    }
                    Some(Ok(None)) => {}
                    Some(Err(error)) => fail(&error),
                }
            })
            .await;
    }

    /// `None`: there is no such repository.
    async fn repository(
        &self,
        spec: &CleanupSpec<'_>,
        host: &RegistryHost,
        name: &RepositoryName,
    ) -> Result<Option<RepositoryReport>> {
        let registry = self.registries.open(host)?;
        let repository = registry.repository_in(spec.flow, name.clone(), spec.mode == Mode::Apply);
        let state = self.carrier.state();
        let Some(snapshot) = gather(&*repository, REGISTRY, state, spec.now).await else {
            return Ok(None);
        };
        let in_use = InUse::default();
        let plan = plan(&snapshot, &spec.rule.policy, &in_use, spec.now);
        (spec.watch)(&plan);
        Ok(Some(RepositoryReport::of(&plan)))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
