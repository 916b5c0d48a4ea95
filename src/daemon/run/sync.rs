//! A run of a sync rule: of all that it selects, or of what push events told of.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{Changed, Done, Failed, Underway, log};
use crate::alerts;
use crate::cleanup::TagRemover;
use crate::config::SyncRule;
use crate::daemon::Shared;
use crate::daemon::agenda::Ending;
use crate::daemon::board::Active;
use crate::daemon::lag::Basis;
use crate::daemon::wanted::{Part, Wanted};
use crate::history::{RunId, RunRecord};
use crate::metrics::RuleMetrics;
use crate::removal::Actor;
use crate::repository::Failure;
use crate::sync::{
    Action, Counts, ImageReport, Keep, Mode, RuleReport, RunProgress, RunSpec, Scope, Snapshot,
};

/// If more images than this fail of those that events told of, all are looked at again.
const MAX_TRIED_AGAIN: usize = 1_000;

pub(super) async fn carry_out(rule: &SyncRule, run: &Underway<'_>) -> Done {
    let (shared, job) = (run.shared, run.job);
    if job.is_whole() {
        shared.lags().pass_begins(&job.rule);
    }
    let scope = match &job.changed {
        Changed::Since(_) => Scope::All,
        Changed::Told(wanted) => scope(wanted),
    };
    let watch = Watcher::new(run, rule);
    let actor = Actor::of_process(run.begun.id.as_str(), run.begun.cause.as_str());
    let most = if job.is_whole() { alerts::MAX_DETAILS } else { MAX_TRIED_AGAIN };
    let spec = RunSpec {
        rule,
        mode: Mode::Apply,
        scope: &scope,
        stop: run.stop,
        flow: run.flow,
        progress: run.progress,
        keep: Keep::Failed(most),
        watch: &|image: &ImageReport| watch.image(image),
        remover: Some(&TagRemover { audit: &shared.parts.audit, actor: &actor }),
    };
    let report = run.carry_out(shared.runner.sync(&run.engine.syncer, spec)).await;
    let report = report.unwrap_or_else(|failure| panicked(rule, failure, run.progress));
    let record = RunRecord::ended(run.begun, shared.now(), &report);
    log::sync_ends(&record, &report, run.span);
    if job.is_whole() && !report.interrupted {
        shared.lags().pass_ends(&job.rule);
    }
    Done {
        record,
        ending: ending(&report),
        failed: failed(rule, &job.changed, &report, run.is_ending()),
        images: report.images,
    }
}

/// The report of a run that was cut off by a fault of ours.
fn panicked(rule: &SyncRule, failure: Failure, progress: &RunProgress) -> RuleReport {
    let Snapshot { counts, bytes, .. } = progress.snapshot();
    let report = RuleReport::new(&rule.name, Mode::Apply);
    RuleReport { counts, bytes, failures: vec![failure], ..report }
}

fn scope(wanted: &Wanted) -> Scope {
    match wanted {
        Wanted::Rule { .. } => Scope::All,
        Wanted::Repositories(repositories) => {
            let tags = |part: &Part| match part {
                Part::Whole { .. } => None,
                Part::Tags(tags) => Some(tags.keys().cloned().collect::<BTreeSet<_>>()),
            };
            let some = repositories.iter().map(|(name, part)| (name.clone(), tags(part)));
            Scope::Some(some.collect::<BTreeMap<_, _>>())
        }
    }
}

/// When images changed, by their source's name in reports.
fn told(rule: &SyncRule, wanted: &Wanted) -> (HashMap<String, Timestamp>, Timestamp) {
    let mut by_source = HashMap::new();
    if let Wanted::Repositories(repositories) = wanted {
        for (repository, part) in repositories {
            let Part::Tags(tags) = part else { continue };
            for (tag, at) in tags {
                by_source.insert(format!("{}/{repository}:{tag}", rule.source.registry), *at);
            }
        }
    }
    (by_source, wanted.since())
}

/// What the run did not get done. `ends`: the daemon does. A run that somebody cancelled leaves
/// nothing to be done.
fn failed(rule: &SyncRule, changed: &Changed, report: &RuleReport, ends: bool) -> Option<Failed> {
    let is_done = report.is_success() || report.is_only_limited();
    if is_done || report.interrupted && !ends {
        return None;
    }
    let Changed::Told(wanted) = changed else { return Some(Failed::Rule) };
    let images: Vec<_> =
        report.images.iter().filter(|image| image.action == Action::Failed).collect();
    let sources: BTreeSet<&str> = images.iter().map(|image| image.source.as_str()).collect();
    let is_all_told = report.counts.failed == images.len();
    if report.interrupted || !report.failures.is_empty() || !is_all_told {
        return Some(Failed::Part(wanted.clone()));
    }
    let registry = &rule.source.registry;
    let part = wanted.part(|repository, tag| match tag {
        Some(tag) => sources.contains(format!("{registry}/{repository}:{tag}").as_str()),
        None => {
            let of_it = format!("{registry}/{repository}");
            sources.iter().any(|source| {
                source.strip_prefix(&of_it).is_some_and(|rest| rest.starts_with([':', '@']))
            })
        }
    });
    Some(Failed::Part(part.unwrap_or_else(|| wanted.clone())))
}

/// How the end of a run bears on the next one's beginning.
fn ending(report: &RuleReport) -> Ending {
    let Counts { failed, .. } = report.counts;
    if report.interrupted {
        Ending::Interrupted
    } else if report.counts.settled() == failed && failed + report.failures.len() > 0 {
        Ending::Unreachable
    } else {
        Ending::Reached
    }
}

/// Sees each image as soon as it is settled.
struct Watcher<'a> {
    shared: &'a Shared,
    rule: &'a SyncRule,
    run: &'a RunId,
    name: &'a Arc<str>,
    metrics: &'a RuleMetrics,
    /// By source; and for those that are not in it.
    changed: (HashMap<String, Timestamp>, Option<Timestamp>),
    basis: Basis,
}

impl<'a> Watcher<'a> {
    fn new(run: &Underway<'a>, rule: &'a SyncRule) -> Self {
        let (changed, basis) = match &run.job.changed {
            Changed::Since(since) => ((HashMap::new(), *since), Basis::Pass),
            Changed::Told(wanted) => {
                let (by_source, since) = told(rule, wanted);
                ((by_source, Some(since)), Basis::Event)
            }
        };
        Self {
            shared: run.shared,
            rule,
            run: &run.job.id,
            name: &run.job.rule,
            metrics: run.metrics,
            changed,
            basis,
        }
    }

    fn image(&self, image: &ImageReport) {
        self.shared.parts.history.image(self.run, image);
        let changed = self.changed.0.get(&image.source).copied().or(self.changed.1);
        {
            let mut lags = self.shared.lags();
            match (image.action, changed) {
                (Action::Failed, Some(changed)) => {
                    lags.failed(self.name, &image.target, changed, self.basis);
                }
                (Action::Copied, changed) => {
                    let changed = changed.map(|changed| (changed, self.basis));
                    if let Some((seconds, basis)) =
                        lags.copied(self.name, &image.target, changed, self.shared.now())
                    {
                        self.metrics.lag(basis.as_str(), Duration::from_secs_f64(seconds));
                    }
                }
                _ => {}
            }
        }
        log::image(&self.rule.name, self.run, image);
    }
}

/// Counts what has happened in a run since it was last counted. Runs may take weeks, so their
/// numbers do not wait for their ends.
pub(in crate::daemon) fn count(active: &mut Active) {
    let now = active.progress.snapshot();
    let before = std::mem::replace(&mut active.counted, now);
    for (outcome, images) in [
        ("copied", now.counts.copied - before.counts.copied),
        ("unchanged", now.counts.unchanged - before.counts.unchanged),
        ("kept", now.counts.kept - before.counts.kept),
        ("withheld", now.counts.withheld - before.counts.withheld),
        ("failed", now.counts.failed - before.counts.failed),
    ] {
        active.metrics.tags(outcome, images as u64);
    }
    active.metrics.sent(now.bytes - before.bytes);
}
