//! One run, from its beginning to its end: carried out, shown, counted, kept, told.
//!
//! What all runs have in common is here. `sync` and `cleanup`: what runs of each kind of rule have
//! of their own. `stall`: runs in which nothing moves. `log`: what is logged of all of them.

mod cleanup;
mod log;
mod stall;
mod sync;

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use jiff::Timestamp;
use tokio::time::Instant;
use tracing::{Instrument, Span};

use super::Shared;
use super::agenda::Ending;
use super::board::Active;
use super::engine::Engine;
use super::movement::Movement;
use super::rule::Rule;
use super::wanted::Wanted;
use crate::alerts::{self, Alert};
use crate::config::RuleKind;
use crate::fair::Flow;
use crate::history::{Cause, RunId, RunOutcome, RunRecord, RunStart};
use crate::metrics::{LastPlan, RuleMetrics};
use crate::repository::Failure;
use crate::state::RuleMark;
use crate::stop::StopSignal;
use crate::sync::{ImageReport, RunProgress, Snapshot};
use crate::trace;

pub(super) use cleanup::whole_seconds;
pub(super) use stall::report_stalls;
pub(super) use sync::count;

/// A run to be carried out.
pub(super) struct Job {
    pub id: RunId,
    pub rule: Arc<str>,
    cause: Cause,
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
    pub fn whole(id: RunId, rule: Arc<str>, cause: Cause, mark: &RuleMark) -> Self {
        // A pass with failures saw some images and not others; the last good one saw them all.
        let since = if mark.unfinished || mark.consecutive_failures > 0 {
            mark.last_success
        } else {
            mark.last_start
        };
        Self { id, rule, cause, changed: Changed::Since(since) }
    }

    /// A run of what events told of.
    pub fn for_events(id: RunId, rule: Arc<str>, wanted: Wanted) -> Self {
        Self { id, rule, cause: Cause::Event, changed: Changed::Told(wanted) }
    }

    /// It is about everything that the rule selects.
    fn is_whole(&self) -> bool {
        matches!(self.changed, Changed::Since(_))
    }
}

/// A run under way, as those see it who carry it out.
struct Underway<'a> {
    shared: &'a Shared,
    engine: &'a Engine,
    job: &'a Job,
    begun: &'a RunStart,
    flow: Flow,
    stop: &'a StopSignal,
    progress: &'a RunProgress,
    metrics: &'a RuleMetrics,
    span: &'a Span,
}

/// How a run ended, whatever it was about.
struct Done {
    record: RunRecord,
    ending: Ending,
    failed: Option<Failed>,
    /// For people who are told that it failed: the first images that did.
    images: Vec<ImageReport>,
}

impl Underway<'_> {
    /// Carries out what is under way. A fault of ours costs one run, which fails like others do,
    /// and not the daemon.
    async fn carry_out<T>(&self, work: impl Future<Output = T>) -> Result<T, Failure> {
        let work = AssertUnwindSafe(work.instrument(self.span.clone())).catch_unwind();
        work.await.map_err(|panic| panicked(&self.job.rule, &*panic))
    }

    /// The daemon ends. A run that ends because somebody cancelled it is over; what the daemon's
    /// own end cut off goes on.
    fn is_ending(&self) -> bool {
        self.shared.stop.is_cancelled()
    }
}

/// Carries a run out to its end, whatever that is.
pub(super) async fn carry_out(
    shared: Arc<Shared>,
    engine: Arc<Engine>,
    job: Job,
    flow: Flow,
    stop: StopSignal,
) -> Ended {
    let Some(rule) = engine.rule(&job.rule) else {
        return Ended { ending: Ending::Reached, failed: None };
    };
    let begun = RunStart {
        id: job.id.clone(),
        rule: job.rule.to_string(),
        cause: job.cause,
        started: shared.now(),
    };
    let metrics = shared.parts.metrics.rule(rule.name(), rule.kind() == RuleKind::Cleanup);
    let progress = Arc::new(RunProgress::default());
    shared.board.look().active.insert(
        job.id.clone(),
        Active {
            begun: begun.clone(),
            kind: rule.kind(),
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
    log::begins(&begun);
    let span = trace::run(&begun.rule, begun.id.as_str(), begun.cause.as_str());
    let underway = Underway {
        shared: &shared,
        engine: &engine,
        job: &job,
        begun: &begun,
        flow,
        stop: &stop,
        progress: &progress,
        metrics: &metrics,
        span: &span,
    };
    let done = match rule {
        Rule::Sync(rule) => sync::carry_out(rule, &underway).await,
        Rule::Cleanup(rule) => cleanup::carry_out(rule, &underway).await,
    };
    let ends = underway.is_ending();
    stall::end(&shared, &job);
    drop(running);
    drop(span);
    if let Some(active) = shared.board.look().active.get_mut(&job.id) {
        count(active);
    }
    let Done { record, ending, failed, images } = done;
    count_end(&metrics, job.is_whole(), &record);
    shared.parts.history.end(&record).await;
    if job.is_whole() {
        settle(&shared, &job.rule, record, &images);
    }
    let ending = match ending {
        Ending::Interrupted if !ends => Ending::Reached,
        ending => ending,
    };
    Ended { ending, failed }
}

/// What is known of a run that ended in a panic, whose own message has been printed.
fn panicked(rule: &str, panic: &(dyn Any + Send)) -> Failure {
    let words = panic.downcast_ref::<&str>().copied();
    let words = words.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Failure {
        step: "finish".to_owned(),
        subject: format!("rule `{rule}`"),
        message: format!("tranship itself is at fault: {}", words.unwrap_or("no words")),
        attempts: 1,
        hint: Some("please report this with the log around it".to_owned()),
    }
}

fn count_end(metrics: &RuleMetrics, whole: bool, record: &RunRecord) {
    let at = record.finished.unwrap_or(record.started);
    metrics.ended(whole, record.outcome.as_str(), at, Duration::from_secs_f64(record.seconds));
}

/// Shows what the plans of a run came to, which may be one of a process before this one.
pub(super) fn show_plan(metrics: &RuleMetrics, record: &RunRecord) {
    let Some(cleaned) = &record.cleanup else { return };
    // One that came to nothing, or not to its end, does not say what is to go; the plan before it
    // grows old.
    let came_to_nothing = record.repositories == 0 && record.outcome != RunOutcome::Succeeded;
    if came_to_nothing || record.outcome == RunOutcome::Interrupted {
        return;
    }
    let refused = cleaned.limited + cleaned.incomplete;
    let plan = LastPlan {
        tags: cleaned.planned.tags_deleted,
        manifests: cleaned.planned.manifests_deleted,
        bytes: cleaned.planned.bytes_freed,
        sound: record.repositories.saturating_sub(refused),
        limited: cleaned.limited,
        incomplete: cleaned.incomplete,
    };
    metrics.planned(record.finished.unwrap_or(record.started), plan);
}

/// Keeps how a whole rule fared.
fn settle(shared: &Shared, rule: &Arc<str>, record: RunRecord, images: &[ImageReport]) {
    let finished = record.finished.unwrap_or(record.started);
    let mut now = RuleMark::default();
    let mut news = None;
    shared.parts.state.marks.update(rule, &mut |mark| {
        news = alerts::decide(Some(mark), record.outcome);
        match record.outcome {
            RunOutcome::Succeeded => {
                mark.last_success = Some(finished);
                mark.consecutive_failures = 0;
            }
            RunOutcome::Failed => mark.consecutive_failures += 1,
            // Everything could be read, which ends a row of failures.
            RunOutcome::Limited => mark.consecutive_failures = 0,
            RunOutcome::Interrupted | RunOutcome::Running => {}
        }
        now = mark.clone();
    });
    let mut board = shared.board.look();
    if let Some(kind) = news {
        board.engine.alerts.send(Alert::of_run(kind, &record, images));
    }
    // A reload may have removed it meanwhile.
    if board.engine.rule(rule).is_some() {
        let shown = board.rule(rule);
        shown.last_success = now.last_success;
        shown.consecutive_failures = now.consecutive_failures;
        shown.last_run = Some(record);
    }
}
