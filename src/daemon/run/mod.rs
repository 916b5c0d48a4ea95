//! What the daemon adds to a run that the engine carries out: it is shown, measured, logged, marked
//! in the state, and people are notified.
//!
//! What all runs have in common is here. `sync` and `cleanup`: what is special to runs of each kind
//! of rule. `stall`: runs that make no progress. `log`: what is logged.

mod cleanup;
mod log;
mod stall;
mod sync;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::Span;

use super::Shared;
use super::agenda::Ending;
use super::board::Active;
use super::changes::Changes;
use super::engine::Engine;
use super::movement::Movement;
use super::queue::Job;
use crate::alerts::{self, Alert};
use crate::config::RuleKind;
use crate::fair::Flow;
use crate::history::{RunOutcome, RunRecord, RunStart};
use crate::metrics::{LastPlan, RuleMetrics};
use crate::run::{Rule, Run};
use crate::state::RuleMark;
use crate::stop::StopSignal;
use crate::sync::{ImageReport, RunProgress, Snapshot};
use crate::trace;

pub(super) use stall::report_stalls;
pub(super) use sync::count;

/// What the scheduler wants to know of a run's end.
pub(super) struct Ended {
    pub ending: Ending,
    /// What is still to be done of what it was about: everything, for a whole rule.
    pub failed: Option<Failed>,
}

impl Ended {
    /// Nothing was done, and nothing is to be done again: the rule does not exist any more, or there
    /// was a panic in the code around the run; one in the run itself is caught.
    pub const NOTHING: Self = Self { ending: Ending::Reached, failed: None };
}

/// What a run did not get done.
pub(super) enum Failed {
    Rule,
    /// Of what events told of.
    Part(Changes),
}

/// Since when changes at the source were seen by no run of the whole rule; `None`: there was none.
pub(super) fn unseen_since(mark: &RuleMark) -> Option<Timestamp> {
    // A run with failures saw some images and not others; the last good one saw them all.
    if mark.unfinished || mark.consecutive_failures > 0 {
        mark.last_success
    } else {
        mark.last_start
    }
}

/// A run under way.
struct Underway<'a> {
    shared: &'a Shared,
    engine: &'a Engine,
    rule: &'a Arc<str>,
    job: &'a Job,
    unseen_since: Option<Timestamp>,
    run: Run<'a>,
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
    unseen_since: Option<Timestamp>,
    flow: Flow,
    stop: StopSignal,
) -> Ended {
    let found = engine.core.name(job.rule()).zip(engine.core.rule(job.rule()));
    let Some((name, rule)) = found else {
        return Ended::NOTHING;
    };
    let begun = RunStart {
        id: job.id.clone(),
        rule: job.rule().to_owned(),
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
    log::begins(&begun);
    let span = trace::run(&begun.rule, begun.id.as_str(), &begun.cause.to_string());
    let underway = Underway {
        shared: &shared,
        engine: &engine,
        rule: name,
        job: &job,
        unseen_since,
        run: Run {
            begun: &begun,
            history: Some(&shared.parts.history),
            flow,
            stop: &stop,
            progress: &progress,
        },
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
    let (at, took) = (ended_at(&record), Duration::from_secs_f64(record.seconds));
    metrics.ended(job.is_whole(), &record.outcome.to_string(), at, took);
    if job.is_whole() {
        settle(&shared, name, record, &images);
    }
    let ending = match ending {
        Ending::Interrupted if !ends => Ending::Reached,
        ending => ending,
    };
    Ended { ending, failed }
}

fn ended_at(record: &RunRecord) -> Timestamp {
    record.finished.unwrap_or(record.started)
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
    metrics.planned(ended_at(record), plan);
}

/// Keeps how a whole rule fared.
fn settle(shared: &Shared, rule: &Arc<str>, record: RunRecord, images: &[ImageReport]) {
    let finished = ended_at(&record);
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
    if board.engine.core.rule(rule).is_some() {
        let shown = board.rule(rule);
        shown.last_success = now.last_success;
        shown.consecutive_failures = now.consecutive_failures;
        shown.last_run = Some(record);
    }
}
