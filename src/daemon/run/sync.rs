//! A run of a sync rule: of all that it selects, or of what push events told of.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;
use tracing::Instrument;

use super::{Done, Failed, Underway, log};
use crate::alerts;
use crate::config::SyncRule;
use crate::daemon::agenda::Ending;
use crate::daemon::board::Active;
use crate::daemon::changes::{Changes, Part};
use crate::daemon::inbox::Batch;
use crate::daemon::lag::Basis;
use crate::daemon::queue::Work;
use crate::run::{SyncOptions, Synced};
use crate::sync::{Action, Counts, ImageReport, Keep, Mode, RuleReport, Scope};

/// If more images than this fail of those that events told of, all are looked at again.
const MAX_TRIED_AGAIN: usize = 1_000;

pub(super) async fn carry_out(rule: &SyncRule, run: &Underway<'_>) -> Done {
    let (shared, job) = (run.shared, run.job);
    if job.is_whole() {
        shared.lags.lock().pass_begins(run.rule);
    }
    let scope = match &job.work {
        Work::Rule(_) => Scope::All,
        Work::Events(batch) => scope(&batch.changes),
    };
    let watch = Watcher::new(run, rule);
    let most = if job.is_whole() { alerts::MAX_DETAILS } else { MAX_TRIED_AGAIN };
    let options = SyncOptions {
        mode: Mode::Apply,
        scope: &scope,
        recheck: job.options.recheck,
        keep: Keep::Failed(most),
        image: &|image| watch.image(image),
    };
    let carried_out = run.engine.core.sync(rule, run.run, options);
    let Synced { mut report, moved, record } = carried_out.instrument(run.span.clone()).await;
    watch.outages.end(run.rule, &job.id);
    log::sync_ends(&record, &report, run.span);
    if job.is_whole() && !report.interrupted {
        shared.lags.lock().pass_ends(run.rule);
    }
    let (ending, failed) = (ending(&report), failed(rule, &job.work, &report, run.is_ending()));
    let images = std::mem::take(&mut report.images);
    shared.followers.synced(&job.id, moved, &report);
    Done { record, ending, failed, images }
}

fn scope(changes: &Changes) -> Scope {
    match changes {
        Changes::Rule { .. } => Scope::All,
        Changes::Repositories(repositories) => {
            let tags = |part: &Part| match part {
                Part::Whole { .. } => None,
                Part::Tags(tags) => Some(tags.keys().cloned().collect::<BTreeSet<_>>()),
            };
            let some = repositories.iter().map(|(name, part)| (name.clone(), tags(part)));
            Scope::Some(some.collect::<BTreeMap<_, _>>())
        }
    }
}

/// When the images of these changes changed, by their source's name in reports.
fn times(rule: &SyncRule, changes: &Changes) -> HashMap<String, Timestamp> {
    let mut by_source = HashMap::new();
    if let Changes::Repositories(repositories) = changes {
        for (repository, part) in repositories {
            let Part::Tags(tags) = part else { continue };
            for (tag, at) in tags {
                for part in rule.parts() {
                    by_source.insert(format!("{}/{repository}:{tag}", part.source.store), *at);
                }
            }
        }
    }
    by_source
}

/// What the run did not get done. `ends`: the daemon does. A run that somebody cancelled leaves
/// nothing to be done.
fn failed(rule: &SyncRule, work: &Work, report: &RuleReport, ends: bool) -> Option<Failed> {
    let is_done = report.is_success() || report.is_only_limited();
    if is_done || report.interrupted && !ends {
        return None;
    }
    let Work::Events(Batch { changes, .. }) = work else { return Some(Failed::Rule) };
    let images: Vec<_> =
        report.images.iter().filter(|image| image.action == Action::Failed).collect();
    let sources: BTreeSet<&str> = images.iter().map(|image| image.source.as_str()).collect();
    let is_all_told = report.counts.failed == images.len();
    if report.interrupted || !report.failures.is_empty() || !is_all_told {
        return Some(Failed::Part(changes.clone()));
    }
    let stores: HashSet<String> = rule.parts().map(|part| part.source.store.to_string()).collect();
    let part = changes.part(|repository, tag| {
        stores.iter().any(|store| match tag {
            Some(tag) => sources.contains(format!("{store}/{repository}:{tag}").as_str()),
            None => {
                let of_it = format!("{store}/{repository}");
                sources.iter().any(|source| {
                    source.strip_prefix(&of_it).is_some_and(|rest| rest.starts_with([':', '@']))
                })
            }
        })
    });
    Some(Failed::Part(part.unwrap_or_else(|| changes.clone())))
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
    run: &'a Underway<'a>,
    /// When images changed, by source.
    changed: HashMap<String, Timestamp>,
    /// When the other images changed at the earliest.
    others: Option<Timestamp>,
    basis: Basis,
    outages: log::Outages,
}

impl<'a> Watcher<'a> {
    fn new(run: &'a Underway<'a>, rule: &SyncRule) -> Self {
        let (changed, others, basis) = match &run.job.work {
            Work::Rule(_) => (HashMap::new(), run.unseen_since, Basis::Pass),
            Work::Events(Batch { changes, .. }) => {
                (times(rule, changes), Some(changes.since()), Basis::Event)
            }
        };
        Self { run, changed, others, basis, outages: log::Outages::default() }
    }

    fn image(&self, image: &ImageReport) {
        let Underway { shared, rule, metrics, job, .. } = *self.run;
        let changed = self.changed.get(&image.source).copied().or(self.others);
        {
            let mut lags = shared.lags.lock();
            match (image.action, changed) {
                (Action::Failed, Some(changed)) => {
                    lags.failed(rule, &image.target, changed, self.basis);
                }
                (Action::Copied, changed) => {
                    let changed = changed.map(|changed| (changed, self.basis));
                    if let Some((seconds, basis)) =
                        lags.copied(rule, &image.target, changed, shared.now())
                    {
                        metrics.lag(&basis.to_string(), Duration::from_secs_f64(seconds));
                    }
                }
                _ => {}
            }
        }
        log::image(rule, &job.id, image, &self.outages);
        shared.followers.image(&job.id, image);
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
