//! Carries cleanup rules out: for each repository of a rule a plan is made and, if that is what is
//! wanted, applied.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt;
use jiff::Timestamp;
use parking_lot::Mutex;

use super::apply::quarantine::{Quarantine, Spaces};
use super::apply::recover::recover;
use super::apply::{Order, STRETCH, apply};
use super::audit::{Actor, Audit};
use super::plan::{Plan, plan};
use super::report::{CleanupReport, RepositoryReport};
use super::site::{Look, Sight, Site};
use super::upkeep::{advise, collect};
use super::usage::{Sources, UsageNow};
use super::{Place, Selected, repositories};
use crate::config::CleanupRule;
use crate::config::cleanup::Mode;
use crate::fair::{self, Flow, Pulse, WriteLeases};
use crate::layout::Layout;
use crate::registry::Registries;
use crate::repository::{Cause, Error, Failure, Repository};
use crate::state::State;
use crate::stop::StopSignal;
use crate::transfer::Carrier;

/// Repositories of one rule under way at once.
const REPOSITORIES: usize = 8;

/// Carries cleanup rules out.
pub struct Cleaner {
    registries: Arc<Registries>,
    carrier: Arc<Carrier>,
    leases: WriteLeases,
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
    pub only: Option<&'a Place>,
    pub stop: &'a StopSignal,
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
    /// `leases` are shared by all rules that write to repositories.
    pub fn new(
        registries: Arc<Registries>,
        carrier: Arc<Carrier>,
        leases: WriteLeases,
        audit: Audit,
    ) -> Self {
        Self { registries, carrier, leases, audit, sources: Sources::default() }
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
            leases: self.leases.clone(),
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
        let selected = self.pass(&spec, &report).await;
        let mut report = report.into_inner();
        if let (Some(selected), Mode::Apply) = (selected, spec.mode) {
            self.empty_quarantines(&spec, &selected, &mut report).await;
            advise(&selected, &mut report);
        }
        self.carrier.state().flush().await;
        report.repositories.sort_by(|a, b| a.repository.cmp(&b.repository));
        report.seconds = begin.elapsed().as_secs_f64();
        report
    }

    /// What the rule is about; `None`: it ended before anything was looked at.
    async fn pass(
        &self,
        spec: &CleanupSpec<'_>,
        report: &Mutex<CleanupReport>,
    ) -> Option<Selected> {
        let stopped = || report.lock().interrupted = true;
        let fail = |failures: Vec<Failure>| report.lock().failures.extend(failures);
        let mut selected = match spec.only {
            Some(place) => Selected::one(place.clone()),
            None => {
                let selected = repositories(spec.rule, &self.registries, spec.flow);
                match spec.stop.soon.run_until_cancelled(selected).await {
                    Some(selected) => selected,
                    None => {
                        stopped();
                        return None;
                    }
                }
            }
        };
        fail(selected.failures.iter().map(Failure::of).collect());
        let spared = self.spare_quarantines(spec, &mut selected);
        if spared > 0 {
            let note = format!("{spared} repositories are quarantines and are left alone");
            report.lock().notes.push(note);
        }
        let usage = UsageNow::new(&self.sources, spec.rule, self.carrier.state(), spec.now);
        // Once for all: without it nothing is deleted anywhere.
        match spec.stop.soon.run_until_cancelled(usage.read()).await {
            Some(Ok(_)) => {}
            Some(Err(failures)) => {
                fail(failures);
                return None;
            }
            None => {
                stopped();
                return None;
            }
        }
        let usage = &usage;
        futures_util::stream::iter(&selected.repositories)
            .for_each_concurrent(REPOSITORIES, |(place, expected)| async move {
                match self.place(spec, usage, place).await {
                    Ok(Seen::Report(one, interrupted)) => {
                        let mut report = report.lock();
                        report.interrupted |= interrupted;
                        report.repositories.push(one);
                    }
                    Ok(Seen::Stopped) => stopped(),
                    Ok(Seen::Nothing) if *expected => {
                        let missing = Error::new("list tags of", place.to_string(), Cause::Missing);
                        fail(vec![Failure::of(&missing)]);
                    }
                    Ok(Seen::Nothing) => {}
                    Err(failures) => fail(failures),
                }
            })
            .await;
        Some(selected)
    }

    /// Plans one repository and, if that is wanted, carries the plan out.
    async fn place(
        &self,
        spec: &CleanupSpec<'_>,
        usage: &UsageNow<'_>,
        place: &Place,
    ) -> Result<Seen, Vec<Failure>> {
        let CleanupSpec { rule, mode, stop, .. } = *spec;
        let applies = mode == Mode::Apply;
        let opened = self.open(place, spec.flow).await;
        let (repository, layout) = opened.map_err(|error| vec![Failure::of(&error)])?;
        let site = Site {
            repository,
            layout,
            state: self.carrier.state(),
            policy: &rule.policy,
            now: spec.now,
            in_use: &|| {
                Box::pin(async {
                    let usage = usage.read().await?;
                    Ok(match place {
                        Place::Registry(host, name) => usage.of(host, name),
                        Place::Layout(_) => usage.of_layout(),
                    })
                })
            },
        };
        let begin = async {
            let lease = match applies {
                true => {
                    let lease = self.leases.take(site.repository.name(), &rule.name);
                    Some(fair::waiting(lease, || spec.pulse.beat()).await)
                }
                false => None,
            };
            (lease, site.look(Look { all_referrers: applies, ..Look::default() }).await)
        };
        let Some((_lease, sight)) = stop.soon.run_until_cancelled(begin).await else {
            return Ok(Seen::Stopped);
        };
        let Some(Sight { snapshot, in_use }) = sight? else { return Ok(Seen::Nothing) };
        let plan = plan(&snapshot, &rule.policy, &in_use, spec.now);
        (spec.watch)(&plan);
        let mut report = RepositoryReport::of(&plan);
        if !applies {
            return Ok(Seen::Report(report, false));
        }
        let interrupted = self.apply(spec, &site, &plan, place, &mut report).await?;
        Ok(Seen::Report(report, interrupted))
    }

    /// Carries a plan out, and what else is due in its repository. Whether it was interrupted.
    ///
    /// # Errors
    /// Nothing was done.
    async fn apply(
        &self,
        spec: &CleanupSpec<'_>,
        site: &Site<'_>,
        plan: &Plan<'_>,
        place: &Place,
        report: &mut RepositoryReport,
    ) -> Result<bool, Vec<Failure>> {
        let CleanupSpec { rule, actor, stop, .. } = *spec;
        let notes = recover(&self.audit, &*site.repository, spec.now).await;
        report.notes.extend(notes.map_err(|failure| vec![failure])?);
        if !plan.steps.is_empty() {
            let space = match &rule.quarantine {
                Some(quarantine) => {
                    let opened = self.spaces(spec).open(&quarantine.to, place).await;
                    let space = opened.map_err(|error| vec![Failure::of(&error)])?;
                    self.state().note_quarantine(&rule.name, &space.name);
                    Some((quarantine.ttl, space))
                }
                None => None,
            };
            let copies = space.as_ref().map(|(ttl, space)| Quarantine {
                carrier: &self.carrier,
                flow: spec.flow,
                source: Arc::clone(&site.repository),
                space,
                until: spec.now.checked_add(*ttl).unwrap_or(Timestamp::MAX),
                copies: HashMap::new(),
            });
            let order = Order {
                rule: &rule.name,
                audit: &self.audit,
                actor,
                quarantine: copies,
                stop,
                // No rule copies into a layout.
                withdraws: site.layout.is_none().then(|| rule.mark()),
                stretch: STRETCH,
            };
            let applied = apply(site, plan, order).await;
            if report.take(applied) {
                return Ok(true);
            }
        }
        let now = u64::try_from(spec.now.as_second()).unwrap_or_default();
        site.state.prune_withdrawn(site.repository.name(), now);
        if let Some(layout) = &site.layout {
            match collect(layout, spec.now).await {
                Ok(note) => report.notes.extend(note),
                Err(error) => report.failures.push(Failure::of(&error)),
            }
        }
        Ok(false)
    }

    pub(super) fn spaces(&self, spec: &CleanupSpec<'_>) -> Spaces<'_> {
        Spaces { registries: &self.registries, flow: spec.flow }
    }

    pub(super) fn state(&self) -> &State {
        self.carrier.state()
    }

    pub(super) fn audit(&self) -> &Audit {
        &self.audit
    }

    pub(super) fn leases(&self) -> &WriteLeases {
        &self.leases
    }

    async fn open(
        &self,
        place: &Place,
        flow: Flow,
    ) -> crate::repository::Result<(Arc<dyn Repository>, Option<Layout>)> {
        match place {
            Place::Registry(host, name) => {
                let registry = self.registries.open(host)?;
                Ok((registry.repository_in(flow, name.clone(), false), None))
            }
            Place::Layout(folder) => {
                let layout = Layout::open(folder).await?;
                Ok((Arc::new(layout.clone()), Some(layout)))
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
