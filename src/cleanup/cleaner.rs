//! Carries cleanup rules out: each repository of a rule is planned and, if the run applies plans,
//! cleaned up.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt;
use jiff::Timestamp;
use parking_lot::Mutex;

use super::observe::{Observation, ObserveOptions, RepositoryContext};
use super::plan::{Plan, plan};
use super::quarantine::{Quarantine, open as open_quarantine};
use super::recheck::Rechecker;
use super::report::{CleanupReport, RepositoryReport, Restorable, failures_of};
use super::repositories::{Selected, open, repositories};
use super::restore::Restorer;
use super::spec::CleanupSpec;
use super::upkeep::{Upkeep, collect};
use super::usage::{Sources, UsageNow};
use crate::config::cleanup::{self as config, Mode};
use crate::fair::{self, WriteLeases};
use crate::oci::Address;
use crate::registry::Registries;
use crate::removal::{Actor, Audit, KeepCopies, Order, StepOutcome, execute, recover, stretch_of};
use crate::repository::{Cause, Error, Failure};
use crate::stores::{Access, Stores};
use crate::text::counted;
use crate::transfer::Carrier;

/// How many repositories of one rule are cleaned up at once.
const REPOSITORIES: usize = 8;

/// Carries cleanup rules out.
pub struct Cleaner {
    stores: Stores,
    carrier: Arc<Carrier>,
    leases: WriteLeases,
    audit: Audit,
    sources: Sources,
}

impl Cleaner {
    /// `leases` are shared by all rules that write to repositories. A rule that names a source which
    /// is not among `sources` deletes nothing.
    pub fn new(
        registries: Arc<Registries>,
        carrier: Arc<Carrier>,
        leases: WriteLeases,
        audit: Audit,
        sources: Sources,
    ) -> Self {
        Self { stores: Stores::new(registries), carrier, leases, audit, sources }
    }

    /// What restores images that cleanup rules have deleted.
    pub fn restorer<'a>(&'a self, actor: &'a Actor, overwrite: bool) -> Restorer<'a> {
        let Self { stores, carrier, leases, audit, .. } = self;
        Restorer { stores, carrier, leases, audit, actor, overwrite }
    }

    /// One run of one rule. When it returns, what it learnt is on the disk.
    ///
    /// If it is stopped, a deletion that is under way is completed, so that its outcome is known.
    pub async fn run(&self, spec: CleanupSpec<'_>) -> CleanupReport {
        let begin = Instant::now();
        let _watched = self.carrier.pulses().watch(spec.flow, spec.pulse);
        let progress = Progress {
            report: Mutex::new(CleanupReport::new(&spec.rule.name, spec.mode)),
            follow_ups: Mutex::default(),
        };
        let selected = self.pass(&spec, &progress).await;
        let Progress { report, follow_ups } = progress;
        let mut report = report.into_inner();
        if let (Some(selected), Mode::Apply) = (selected, spec.mode) {
            self.upkeep(&spec).empty_quarantines(&selected, &mut report).await;
            report.notes.extend(follow_ups.into_inner());
        }
        self.carrier.state().storage.flush().await;
        report.repositories.sort_by(|a, b| a.repository.cmp(&b.repository));
        report.seconds = begin.elapsed().as_secs_f64();
        if let Some(quarantine) = &spec.rule.quarantine
            && report.count(StepOutcome::Deleted) > 0
        {
            let run = spec.actor.run.clone();
            report.restorable = Some(Restorable { run, until: expiry(spec.now, quarantine) });
        }
        report
    }

    /// The repositories of the rule; `None`: it ended before any was observed.
    async fn pass(&self, spec: &CleanupSpec<'_>, progress: &Progress) -> Option<Selected> {
        let mut selected = match spec.only {
            Some(place) => Selected::one(place.clone()),
            None => {
                let selected = repositories(spec.rule, &self.stores, spec.flow);
                match spec.stop.soon.run_until_cancelled(selected).await {
                    Some(selected) => selected,
                    None => {
                        progress.stopped();
                        return None;
                    }
                }
            }
        };
        progress.failed(selected.failures.iter().map(Failure::of).collect());
        let spared = self.upkeep(spec).spare_quarantines(&mut selected);
        if spared > 0 {
            let spared = counted(
                spared,
                "repository that is a quarantine",
                "repositories that are quarantines",
            );
            let note = format!("left alone: {spared}");
            progress.report.lock().notes.push(note);
        }
        let usage = UsageNow::new(&self.sources, spec.rule, self.carrier.state(), spec.now);
        // Once for all repositories: if it cannot be read, nothing is deleted anywhere.
        match spec.stop.soon.run_until_cancelled(usage.read()).await {
            Some(Ok(_)) => {}
            Some(Err(failures)) => {
                progress.failed(failures);
                return None;
            }
            None => {
                progress.stopped();
                return None;
            }
        }
        spec.progress.listed(selected.repositories.len());
        let usage = &usage;
        futures_util::stream::iter(&selected.repositories)
            .for_each_concurrent(REPOSITORIES, |(place, expected)| async move {
                match self.place(spec, usage, place, progress).await {
                    Ok(true) => {}
                    Ok(false) if *expected => {
                        let missing =
                            Error::new("list tags of", place.to_string(), Cause::NoRepository);
                        progress.failed(failures_of(missing));
                    }
                    Ok(false) => {}
                    Err(failures) => progress.failed(failures),
                }
                spec.progress.finished();
            })
            .await;
        Some(selected)
    }

    /// Plans one repository and, if the run applies plans, carries the plan out. `false`: there is no
    /// such repository.
    async fn place(
        &self,
        spec: &CleanupSpec<'_>,
        usage: &UsageNow<'_>,
        place: &Address,
        progress: &Progress,
    ) -> Result<bool, Vec<Failure>> {
        let CleanupSpec { rule, mode, stop, .. } = *spec;
        let applies = mode == Mode::Apply;
        let opened = open(&self.stores, place, spec.flow, Access::Read).await;
        let context = RepositoryContext {
            repository: opened.map_err(failures_of)?,
            state: self.carrier.state(),
            memory: self.carrier.memory(),
            progress: spec.progress,
            policy: &rule.policy,
            now: spec.now,
            in_use: &|| {
                Box::pin(async {
                    let usage = usage.read().await?;
                    Ok(match place {
                        Address::Registry(host, name) => usage.of(host, name),
                        _ => usage.of_layout(),
                    })
                })
            },
        };
        let begin = async {
            let lease = match applies {
                true => {
                    let lease = self.leases.take(context.repository.name(), &rule.name);
                    Some(fair::waiting(lease, || spec.pulse.beat()).await)
                }
                false => None,
            };
            let options = ObserveOptions { all_referrers: applies, ..ObserveOptions::default() };
            (lease, context.observe(options).await)
        };
        let Some((_lease, observed)) = stop.soon.run_until_cancelled(begin).await else {
            progress.stopped();
            return Ok(true);
        };
        let Some(Observation { snapshot, in_use }) = observed? else { return Ok(false) };
        let plan = plan(&snapshot, &rule.policy, &in_use, spec.now);
        (spec.watch)(&plan);
        for line in plan.idle_keeps() {
            warn_of_idle_keep(&rule.name, snapshot.repository(), line);
        }
        let mut report = RepositoryReport::of(&plan);
        if applies && !self.has_lapsed(spec, &plan, &mut report) {
            if self.apply(spec, &context, &plan, place, &mut report).await? {
                progress.stopped();
            }
            if report.count(StepOutcome::Deleted) > 0 {
                progress.follow_ups.lock().extend(context.repository.follow_up());
            }
        }
        progress.report.lock().repositories.push(report);
        Ok(true)
    }

    /// Whether a keep line that kept something here before keeps nothing now, while something would be
    /// deleted, and nobody is there to see it: then the plan waits for the next run, and the report says
    /// why.
    fn has_lapsed(
        &self,
        spec: &CleanupSpec<'_>,
        plan: &Plan<'_>,
        report: &mut RepositoryReport,
    ) -> bool {
        let (rule, repository) = (&spec.rule.name, plan.snapshot.repository());
        let Some(busy) = plan.busy_keeps() else { return false };
        let lines = &self.carrier.state().keep_lines;
        let before = lines.of(rule, repository);
        lines.set(rule, repository, &busy);
        if spec.attended || plan.steps.is_empty() {
            return false;
        }
        let idle = plan.idle_keeps();
        let lapsed = idle.iter().filter(|line| before.contains(**line)).map(|line| {
            format!("the keep line `{line}` kept images here before and keeps none now: if that is right, the next run will delete")
        });
        let refused = report.refused.len();
        report.refused.extend(lapsed);
        report.refused.len() > refused
    }

    /// Carries a plan out, with what else is due in the repository. Gives whether it was interrupted.
    ///
    /// # Errors
    /// Nothing was done.
    async fn apply(
        &self,
        spec: &CleanupSpec<'_>,
        context: &RepositoryContext<'_>,
        plan: &Plan<'_>,
        place: &Address,
        report: &mut RepositoryReport,
    ) -> Result<bool, Vec<Failure>> {
        let CleanupSpec { rule, actor, stop, .. } = *spec;
        let notes = recover(&self.audit, &*context.repository, spec.now).await;
        report.notes.extend(notes.map_err(|failure| vec![failure])?);
        if !plan.steps.is_empty() {
            let mut copies = match &rule.quarantine {
                Some(quarantine) => {
                    let target = open_quarantine(&self.stores, spec.flow, &quarantine.to, place);
                    let target = target.await.map_err(failures_of)?;
                    context.state.quarantines.note(&rule.name, target.name());
                    Some(Quarantine {
                        carrier: &self.carrier,
                        flow: spec.flow,
                        source: Arc::clone(&context.repository),
                        snapshot: plan.snapshot,
                        target,
                        until: expiry(spec.now, quarantine),
                        copies: HashMap::new(),
                    })
                }
                None => None,
            };
            context.state.withdrawn.set_policy(rule.mark(), &rule.policy_text());
            let order = Order {
                repository: &*context.repository,
                state: context.state,
                rule: &rule.name,
                audit: &self.audit,
                actor,
                recheck: &Rechecker { context, planned: plan },
                quarantine: copies.as_mut().map(|copies| copies as &mut dyn KeepCopies),
                stop,
                now: plan.now,
                withdraws: Some(rule.mark()),
                untag_by_overwriting: plan.policy.untag_by_overwriting,
                stretch: stretch_of(plan.snapshot.tags().len()),
                tried: spec.progress.steps_done(),
            };
            let steps: Vec<_> = plan.to_steps().collect();
            spec.progress.steps(steps.len());
            if report.take(plan, execute(&steps, order).await) {
                return Ok(true);
            }
        }
        let now = u64::try_from(spec.now.as_second()).unwrap_or_default();
        context.state.withdrawn.prune(context.repository.name(), now);
        match collect(&*context.repository, spec.now).await {
            Ok(note) => report.notes.extend(note),
            Err(error) => report.failures.push(Failure::of(&error)),
        }
        Ok(false)
    }

    fn upkeep<'a>(&'a self, spec: &'a CleanupSpec<'a>) -> Upkeep<'a> {
        Upkeep {
            spec,
            stores: &self.stores,
            state: self.carrier.state(),
            memory: self.carrier.memory(),
            audit: &self.audit,
            leases: &self.leases,
        }
    }
}

/// Warns of a pattern that may not be what was meant.
pub fn warn_of_idle_keep(rule: &str, repository: &str, line: &str) {
    tracing::warn!(
        rule,
        repository,
        line,
        "a keep line keeps nothing in a repository in which something is deleted"
    );
}

/// What a run has done until now.
struct Progress {
    report: Mutex<CleanupReport>,
    /// What is left to do at registries at which something was deleted.
    follow_ups: Mutex<BTreeSet<String>>,
}

impl Progress {
    fn stopped(&self) {
        self.report.lock().interrupted = true;
    }

    fn failed(&self, failures: Vec<Failure>) {
        self.report.lock().failures.extend(failures);
    }
}

/// Until when copies that are made now stay in the quarantine.
fn expiry(now: Timestamp, quarantine: &config::Quarantine) -> Timestamp {
    now.checked_add(quarantine.ttl).unwrap_or(Timestamp::MAX)
}
