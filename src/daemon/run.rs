//! One run, from its beginning to its end: carried out, shown, counted, kept, told.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use jiff::Timestamp;
use tokio::time::Instant;
use tracing::Instrument;

use super::Shared;
use super::agenda::Ending;
use super::board::Active;
use super::engine::Engine;
use super::lag::Basis;
use super::movement::{Movement, News};
use super::run_log;
use super::wanted::{Part, Wanted};
use crate::alerts::{self, Alert};
use crate::config::SyncRule;
use crate::fair::Flow;
use crate::history::{Begun, Cause, Outcome, RunId, RunRecord};
use crate::metrics::{self, RuleMetrics, RunScope, TagOutcome};
use crate::run::{Failure, Stop};
use crate::state::Mark;
use crate::sync::{
    Action, Counts, ImageReport, Keep, Mode, RuleReport, RunProgress, RunSpec, Scope, Snapshot,
};
use crate::trace;

/// If more images than this fail of those that events told of, all are looked at again.
const MAX_TRIED_AGAIN: usize = 1_000;

/// A run to be carried out.
pub(super) struct Job {
    pub id: RunId,
    pub rule: Arc<str>,
    cause: Cause,
    scope: Scope,
    changed: Changed,
}

/// What is known of when images changed at the source.
enum Changed {
    /// After this pass began, which saw nothing of it. `None`: there was no pass before.
    Since(Option<Timestamp>),
    /// At the moment of the event: by repository and, where it told, by tag.
    Told(Wanted),
}

/// What the scheduler wants to know of a run's end.
pub(super) struct Ended {
    pub ending: Ending,
    /// What is still to be done of what it was about: everything, for a whole rule.
    pub failed: Option<Failed>,
}

impl Ended {
    /// The code around the run is at fault: that inside of it is caught.
    pub fn in_a_panic() -> Self {
        Self { ending: Ending::Reached, failed: None }
    }
}

/// What a run did not get done.
pub(super) enum Failed {
    Rule,
    /// Of what events told of.
    Part(Wanted),
}

impl Job {
    /// A run of a whole rule, of which this was known before.
    pub fn whole(id: RunId, rule: Arc<str>, cause: Cause, mark: &Mark) -> Self {
        // A pass with failures saw some images and not others; the last good one saw them all.
        let since = if mark.unfinished || mark.consecutive_failures > 0 {
            mark.last_success
        } else {
            mark.last_start
        };
        Self { id, rule, cause, scope: Scope::All, changed: Changed::Since(since) }
    }

    /// A run of what events told of.
    pub fn for_events(id: RunId, rule: Arc<str>, wanted: Wanted) -> Self {
        let scope = scope(&wanted);
        Self { id, rule, cause: Cause::Event, scope, changed: Changed::Told(wanted) }
    }
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

/// Carries a run out to its end, whatever that is.
pub(super) async fn carry_out(
    shared: Arc<Shared>,
    engine: Arc<Engine>,
    job: Job,
    flow: Flow,
    stop: Stop,
) -> Ended {
    let Some(rule) = engine.rule(&job.rule) else {
        return Ended { ending: Ending::Reached, failed: None };
    };
    let begun = Begun {
        id: job.id.clone(),
        rule: job.rule.to_string(),
        cause: job.cause,
        started: shared.now(),
    };
    let whole = !matches!(job.changed, Changed::Told(_));
    let metrics = shared.parts.metrics.rule(&job.rule);
    let progress = Arc::new(RunProgress::default());
    shared.board.look().active.insert(
        job.id.clone(),
        Active {
            begun: begun.clone(),
            flow,
            progress: Arc::clone(&progress),
            stop: stop.clone(),
            movement: Movement::new(Instant::now()),
            metrics: metrics.clone(),
            counted: Snapshot::default(),
        },
    );
    let running = metrics.begin();
    shared.parts.history.begin(&begun);
    run_log::begins(&begun);
    if whole {
        shared.lags().pass_begins(&job.rule);
    }
    let span = trace::run(&begun.rule, begun.id.as_str(), begun.cause.as_str());
    let watch = Watcher::new(&shared, rule, &job, metrics.clone());
    let spec = RunSpec {
        rule,
        mode: Mode::Apply,
        scope: &job.scope,
        stop: &stop,
        flow,
        progress: &progress,
        keep: Keep::Failed(if whole { alerts::MAX_DETAILS } else { MAX_TRIED_AGAIN }),
        watch: &|image: &ImageReport| watch.image(image),
        remover: None,
    };
    let carried_out = shared.runner.run(&engine.syncer, spec).instrument(span.clone());
    // A fault of ours costs one run, which failed like others do, and not the daemon.
    let report = AssertUnwindSafe(carried_out).catch_unwind().await;
    let report = report.unwrap_or_else(|panic| panicked(rule, &*panic, &progress));
    let finished = shared.now();
    end_stall(&shared, &job);
    let record = RunRecord::ended(&begun, finished, &report);
    drop(running);
    run_log::ends(&record, &report, &span);
    drop(span);
    if let Some(active) = shared.board.look().active.get_mut(&job.id) {
        count(active);
    }
    count_end(&metrics, whole, &record);
    shared.parts.history.end(&record).await;
    if whole {
        if !report.interrupted {
            shared.lags().pass_ends(&job.rule);
        }
        settle(&shared, &job.rule, record, &report);
    }
    // A run that somebody cancelled is over; only what the daemon's own end cut off goes on.
    let ends = shared.stop.soon.is_cancelled() || shared.stop.now.is_cancelled();
    let ending = match ending(&report) {
        Ending::Interrupted if !ends => Ending::Reached,
        ending => ending,
    };
    Ended { ending, failed: failed(rule, &job.changed, &report, ends) }
}

/// What the run did not get done. `ends`: the daemon does. A run that somebody cancelled leaves
/// nothing to be done.
fn failed(rule: &SyncRule, changed: &Changed, report: &RuleReport, ends: bool) -> Option<Failed> {
    if report.is_success() || report.interrupted && !ends {
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

/// The report of a run that ended in a panic, whose own message has been printed.
fn panicked(rule: &SyncRule, panic: &(dyn Any + Send), progress: &RunProgress) -> RuleReport {
    let words = panic.downcast_ref::<&str>().copied();
    let words = words.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let Snapshot { counts, bytes, .. } = progress.snapshot();
    let failure = Failure {
        step: "finish".to_owned(),
        subject: format!("rule `{}`", rule.name),
        message: format!("tranship itself is at fault: {}", words.unwrap_or("no words")),
        attempts: 1,
        hint: Some("please report this with the log around it".to_owned()),
    };
    let report = RuleReport::new(&rule.name, Mode::Apply);
    RuleReport { counts, bytes, failures: vec![failure], ..report }
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
    metrics: RuleMetrics,
    /// By source; and for those that are not in it.
    changed: (HashMap<String, Timestamp>, Option<Timestamp>),
    basis: Basis,
}

impl<'a> Watcher<'a> {
    fn new(shared: &'a Shared, rule: &'a SyncRule, job: &'a Job, metrics: RuleMetrics) -> Self {
        let (changed, basis) = match &job.changed {
            Changed::Since(since) => ((HashMap::new(), *since), Basis::Pass),
            Changed::Told(wanted) => {
                let (by_source, since) = told(rule, wanted);
                ((by_source, Some(since)), Basis::Event)
            }
        };
        Self { shared, rule, run: &job.id, name: &job.rule, metrics, changed, basis }
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
                        self.metrics.lag(basis, Duration::from_secs_f64(seconds));
                    }
                }
                _ => {}
            }
        }
        run_log::image(&self.rule.name, self.run, image);
    }
}

/// Counts what has happened in a run since it was last counted. Runs may take weeks, so their
/// numbers do not wait for their ends.
pub(super) fn count(active: &mut Active) {
    let now = active.progress.snapshot();
    let before = std::mem::replace(&mut active.counted, now);
    for (outcome, images) in [
        (TagOutcome::Copied, now.counts.copied - before.counts.copied),
        (TagOutcome::Unchanged, now.counts.unchanged - before.counts.unchanged),
        (TagOutcome::Kept, now.counts.kept - before.counts.kept),
        (TagOutcome::Withheld, now.counts.withheld - before.counts.withheld),
        (TagOutcome::Failed, now.counts.failed - before.counts.failed),
    ] {
        active.metrics.tags(outcome, images as u64);
    }
    active.metrics.sent(now.bytes - before.bytes);
}

fn count_end(metrics: &RuleMetrics, whole: bool, record: &RunRecord) {
    let outcome = match record.outcome {
        Outcome::Succeeded => metrics::RunOutcome::Succeeded,
        Outcome::Failed => metrics::RunOutcome::Failed,
        Outcome::Interrupted | Outcome::Running => metrics::RunOutcome::Interrupted,
    };
    let scope = if whole { RunScope::All } else { RunScope::Tags };
    let at = record.finished.unwrap_or(record.started);
    metrics.ended(scope, outcome, at, Duration::from_secs_f64(record.seconds));
}

/// Keeps how a whole rule fared.
fn settle(shared: &Shared, rule: &Arc<str>, record: RunRecord, report: &RuleReport) {
    let finished = record.finished.unwrap_or(record.started);
    let mut now = Mark::default();
    let mut news = None;
    shared.parts.state.update_mark(rule, |mark| {
        news = alerts::decide(Some(mark), record.outcome);
        match record.outcome {
            Outcome::Succeeded => {
                mark.last_success = Some(finished);
                mark.consecutive_failures = 0;
            }
            Outcome::Failed => mark.consecutive_failures += 1,
            Outcome::Interrupted | Outcome::Running => {}
        }
        now = mark.clone();
    });
    let mut board = shared.board.look();
    if let Some(kind) = news {
        board.engine.alerts.send(Alert::of_run(kind, &record, &report.images));
    }
    // A reload may have removed it meanwhile.
    if board.engine.rule(rule).is_some() {
        let shown = board.rule(rule);
        shown.last_success = now.last_success;
        shown.consecutive_failures = now.consecutive_failures;
        shown.last_run = Some(record);
    }
}

/// Who was told that the run is stuck hears that it has ended.
fn end_stall(shared: &Shared, job: &Job) {
    let mut board = shared.board.look();
    let news = board.active.get_mut(&job.id).and_then(|active| active.movement.end());
    if news.is_some() {
        board.engine.alerts.send(Alert::moves_again(&job.rule, shared.now()));
    }
}

/// Notices runs in which nothing has moved for too long, and that something does again.
pub(super) fn report_stalls(shared: &Shared, engine: &Engine) {
    let now = Instant::now();
    let limit = engine.config.daemon.stall_after;
    let transfers = shared.parts.carrier.transfers();
    let mut stalled = Vec::new();
    for (id, active) in &mut shared.board.look().active {
        let Snapshot { considered, counts, bytes } = active.progress.snapshot();
        let settled = considered + counts.settled();
        let own = || transfers.iter().filter(|transfer| transfer.flow == active.flow);
        // The sum of what images under way have sent falls when one is settled, which is movement.
        let sent: u64 = own().map(|transfer| transfer.bytes_sent).sum();
        let reading = (settled, bytes + sent, active.progress.pulse().beats());
        match active.movement.look(reading, now, limit) {
            Some(News::Stalled) => {
                let oldest = own().min_by_key(|transfer| transfer.last_progress);
                let image = oldest.and_then(|transfer| transfer.targets.first().cloned());
                stalled.push((active.begun.rule.clone(), id.clone(), image));
            }
            Some(News::Moves) => {
                engine.alerts.send(Alert::moves_again(&active.begun.rule, shared.now()));
            }
            None => {}
        }
    }
    for (rule, run, image) in stalled {
        let image = image.unwrap_or_else(|| format!("run {run}"));
        tracing::warn!(%rule, %run, image, after = ?limit, "nothing moves in this run");
        let why = format!("nothing has moved for {}", humantime::format_duration(limit));
        engine.alerts.send(Alert::stalled(&rule, &image, shared.now(), &why));
    }
}
