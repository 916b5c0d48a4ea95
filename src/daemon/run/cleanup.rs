//! A run of a cleanup rule, which plans, and deletes only where the rule says so.

use jiff::Timestamp;

use super::{Done, Failed, Underway, log, show_plan};
use crate::cleanup::{CleanupReport, CleanupSpec};
use crate::config::CleanupRule;
use crate::daemon::agenda::Ending;
use crate::history::{RunOutcome, RunRecord};
use crate::removal::{Actor, StepOutcome};

/// The state keeps whole seconds, so a plan is told no more by the clock than the next one is by
/// the state.
pub(in crate::daemon) fn whole_seconds(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

pub(super) async fn carry_out(rule: &CleanupRule, run: &Underway<'_>) -> Done {
    let shared = run.shared;
    let actor = Actor::of_process(run.begun.id.as_str(), run.begun.cause.as_str());
    let spec = CleanupSpec {
        rule,
        mode: rule.mode,
        only: None,
        stop: run.stop,
        flow: run.flow,
        pulse: run.progress.pulse(),
        actor: &actor,
        now: whole_seconds(run.begun.started),
        watch: &|_| {},
    };
    let report = run.carry_out(shared.runner.clean(&run.engine.cleaner, spec)).await;
    let report = report.unwrap_or_else(|failure| CleanupReport {
        failures: vec![failure],
        ..CleanupReport::new(&rule.name, rule.mode)
    });
    let record = RunRecord::cleaned(run.begun, shared.now(), &report);
    log::cleanup_ends(&record, &report, run.span);
    count(run, &report);
    show_plan(run.metrics, &record);
    let is_done = match record.outcome {
        RunOutcome::Succeeded | RunOutcome::Limited => true,
        // One that somebody cancelled leaves nothing to be done.
        RunOutcome::Interrupted => !run.is_ending(),
        RunOutcome::Failed | RunOutcome::Running => false,
    };
    Done {
        ending: ending(&report),
        failed: (!is_done).then_some(Failed::Rule),
        record,
        images: Vec::new(),
    }
}

fn count(run: &Underway<'_>, report: &CleanupReport) {
    for outcome in StepOutcome::ALL {
        run.metrics.steps(outcome.as_str(), report.count(outcome) as u64);
    }
    run.metrics.freed(report.bytes_freed());
}

/// How the end of a run bears on the next one's beginning.
fn ending(report: &CleanupReport) -> Ending {
    if report.interrupted {
        Ending::Interrupted
    } else if report.repositories.is_empty() && !report.failures.is_empty() {
        Ending::Unreachable
    } else {
        Ending::Reached
    }
}
