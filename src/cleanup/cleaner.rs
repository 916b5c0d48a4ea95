//! Carries cleanup rules out: for each repository of a rule a plan is made and, if that is what is
//! wanted, applied.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use futures_util::StreamExt;
use jiff::Timestamp;

use super::apply::{Order, apply};
use super::audit::{Actor, Audit};
use super::expire::{self, expired};
use super::plan::{Plan, plan};
use super::quarantine::Quarantine;
use super::recover::recover;
use super::removal::Removal;
use super::report::{CleanupReport, RepositoryReport};
use super::site::{Sight, Site};
use super::usage::{Sources, UsageNow};
use super::{Selected, repositories};
use crate::config::CleanupRule;
use crate::config::cleanup::{Mode, QuarantinePlace};
use crate::fair::{self, Flow, Pulse};
use crate::layout::Layouts;
use crate::oci::reference::ReferenceError;
use crate::oci::template::SourceContext;
use crate::oci::{RegistryHost, RepositoryName};
use crate::registry::Registries;
use crate::repository::{Cause, Error, Repository};
use crate::run::{Failure, Stop, Turns};
use crate::transfer::Carrier;

/// Repositories of one rule under way at once.
const REPOSITORIES: usize = 8;

/// Carries cleanup rules out.
pub struct Cleaner {
    registries: Arc<Registries>,
    carrier: Arc<Carrier>,
    turns: Turns,
    audit: Audit,
    sources: Sources,
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
        Self { registries, carrier, turns, audit, sources: Sources::default() }
    }

    /// The same, that can read what is in use. A rule that names a source which is not among these
    /// deletes nothing.
    pub fn with_sources(self, sources: Sources) -> Self {
        Self { sources, ..self }
    }

    /// One for runs to come, after a change of the configuration. Runs of both heed each other.
    pub fn renewed(&self, registries: Arc<Registries>, sources: Sources) -> Self {
        Self {
            sources,
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
        let fail = |failures: Vec<Failure>| lock(report).failures.extend(failures);
        let selected = match spec.only {
            Some((host, name)) => Selected::one(host.clone(), name.clone()),
            None => {
                let selected = repositories(spec.rule, &self.registries, spec.flow);
                match spec.stop.soon.run_until_cancelled(selected).await {
                    Some(selected) => selected,
                    None => return lock(report).interrupted = true,
                }
            }
        };
        fail(selected.failures.iter().map(Failure::of).collect());
        let usage = UsageNow::new(&self.sources, spec.rule, self.carrier.state(), spec.now);
        // Once for all: without it nothing is deleted anywhere.
        match spec.stop.soon.run_until_cancelled(usage.read()).await {
            Some(Ok(_)) => {}
            Some(Err(failures)) => return fail(failures),
            None => return lock(report).interrupted = true,
        }
        let usage = &usage;
        futures_util::stream::iter(selected.repositories)
            .for_each_concurrent(REPOSITORIES, |((host, name), expected)| async move {
                match self.repository(spec, usage, &host, &name).await {
                    Ok(Seen::Report(one, interrupted)) => {
                        let mut report = lock(report);
                        report.interrupted |= interrupted;
                        report.repositories.push(one);
                    }
                    Ok(Seen::Stopped) => lock(report).interrupted = true,
                    Ok(Seen::Nothing) if expected => {
                        let name = format!("{host}/{name}");
                        let missing = Error::new("list tags of", name, Cause::Missing);
                        fail(vec![Failure::of(&missing)]);
                    }
                    Ok(Seen::Nothing) => {}
                    Err(failures) => fail(failures),
                }
            })
            .await;
    }

    async fn repository(
        &self,
        spec: &CleanupSpec<'_>,
        usage: &UsageNow<'_>,
        host: &RegistryHost,
        name: &RepositoryName,
    ) -> Result<Seen, Vec<Failure>> {
        let CleanupSpec { rule, mode, flow, stop, .. } = *spec;
        let applies = mode == Mode::Apply;
        let registry = self.registries.open(host).map_err(|error| vec![Failure::of(&error)])?;
        let site = Site {
            repository: registry.repository_in(flow, name.clone(), false),
            state: self.carrier.state(),
            policy: &rule.policy,
            now: spec.now,
            in_use: &|| Box::pin(async { Ok(usage.read().await?.of(host, name)) }),
        };
        let begin = async {
            let turn = match applies {
                true => {
                    let turn = self.turns.take(site.repository.name(), &rule.name);
                    Some(fair::waiting(turn, || spec.pulse.beat()).await)
                }
                false => None,
            };
            (turn, site.look(applies).await)
        };
        let Some((_turn, sight)) = stop.soon.run_until_cancelled(begin).await else {
            return Ok(Seen::Stopped);
        };
        let Some(Sight { snapshot, in_use }) = sight? else { return Ok(Seen::Nothing) };
        let plan = plan(&snapshot, &rule.policy, &in_use, spec.now);
        (spec.watch)(&plan);
        let mut report = RepositoryReport::of(&plan);
        if !applies {
            return Ok(Seen::Report(report, false));
        }
        let notes = recover(&self.audit, &*site.repository, spec.now).await;
        report.notes.extend(notes.map_err(|failure| vec![failure])?);
        let interrupted = match plan.steps.is_empty() {
            true => false,
            false => {
                let order = self.order(spec, &site, host, name).await?;
                let applied = apply(&site, &plan, order).await;
                report.take(applied)
            }
        };
        if !interrupted {
            self.expire(spec, host, name, &mut report).await?;
        }
        Ok(Seen::Report(report, interrupted))
    }

    /// Lets go what the quarantine of a repository has kept for long enough.
    async fn expire(
        &self,
        spec: &CleanupSpec<'_>,
        host: &RegistryHost,
        name: &RepositoryName,
        report: &mut RepositoryReport,
    ) -> Result<(), Vec<Failure>> {
        let CleanupSpec { rule, actor, stop, .. } = *spec;
        let Some(quarantine) = &rule.quarantine else { return Ok(()) };
        let opened = self.open_quarantine(&quarantine.to, spec.flow, host, name).await;
        let (repository, place) = opened.map_err(|error| vec![Failure::of(&error)])?;
        let policy = expired(&*repository, spec.now).await.map_err(|failure| vec![failure])?;
        let Some(policy) = policy else { return Ok(()) };
        let removal = Removal {
            repository,
            rule: &rule.name,
            policy: &policy,
            mode: Mode::Apply,
            state: self.carrier.state(),
            audit: &self.audit,
            actor,
            stop,
            now: spec.now,
        };
        let expired = expire::remove(removal).await?;
        if expired > 0 {
            report.notes.push(format!("{expired} copies in {place} had expired and are gone"));
        }
        Ok(())
    }

    async fn order<'a>(
        &'a self,
        spec: &CleanupSpec<'a>,
        site: &Site<'_>,
        host: &RegistryHost,
        name: &RepositoryName,
    ) -> Result<Order<'a>, Vec<Failure>> {
        let quarantine = match &spec.rule.quarantine {
            None => None,
            Some(quarantine) => {
                let place = self.open_quarantine(&quarantine.to, spec.flow, host, name).await;
                let (target, place) = place.map_err(|error| vec![Failure::of(&error)])?;
                Some(Quarantine {
                    carrier: &self.carrier,
                    flow: spec.flow,
                    source: Arc::clone(&site.repository),
                    target,
                    place,
                    until: spec.now.checked_add(quarantine.ttl).unwrap_or(Timestamp::MAX),
                    copies: HashMap::new(),
                })
            }
        };
        let CleanupSpec { rule, actor, stop, .. } = *spec;
        Ok(Order { rule: &rule.name, audit: &self.audit, actor, quarantine, stop })
    }

    /// The quarantine of a repository, and how people call it.
    async fn open_quarantine(
        &self,
        to: &QuarantinePlace,
        flow: Flow,
        registry: &RegistryHost,
        repository: &RepositoryName,
    ) -> crate::repository::Result<(Arc<dyn Repository>, String)> {
        let fail = |reason: String| {
            Error::new("name the quarantine of", repository.as_str(), Cause::Unsupported(reason))
        };
        match to {
            QuarantinePlace::Folder(folder) => {
                // A port's colon is the one character that names cannot have.
                let name = format!("{}/{repository}", registry.as_str().replace(':', "_"));
                let name = name.parse().map_err(|error: ReferenceError| fail(error.to_string()))?;
                let layout = Layouts::open_or_create(folder).await?.get_or_create(&name).await?;
                let place = layout.name().to_owned();
                Ok((Arc::new(layout), place))
            }
            QuarantinePlace::Registry(target) => {
                let context = SourceContext { registry, repository, prefix: "" };
                let name = target.template.render(&context);
                let name = name.map_err(|error| fail(error.to_string()))?;
                let registry = self.registries.open(&target.registry)?;
                let place = format!("{}/{name}", target.registry);
                Ok((registry.repository_in(flow, name, true), place))
            }
        }
    }
}

/// What was found of a repository.
enum Seen {
    /// And whether it was interrupted.
    Report(RepositoryReport, bool),
    /// There is no such repository.
    Nothing,
    Stopped,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
