//! A run of a cleanup rule, which plans, and deletes only where the rule says so.

use tracing::Instrument;

use super::{Done, Failed, Underway, log, show_plan};
use crate::cleanup::CleanupReport;
use crate::config::CleanupRule;
use crate::config::cleanup::Mode;
use crate::daemon::agenda::Ending;
use crate::history::RunOutcome;
use crate::removal::StepOutcome;
use crate::run::CleanupOptions;

pub(super) async fn carry_out(rule: &CleanupRule, run: &Underway<'_>) -> Done {
    let (followers, job) = (&run.shared.followers, run.job);
    let options = CleanupOptions {
        mode: job.options.mode.unwrap_or(rule.mode),
        // Who asks for a run that deletes could look at the plan before.
        attended: job.options.mode == Some(Mode::Apply),
        only: None,
        progress: None,
        plan: &|plan| followers.planned(&job.id, plan),
    };
    let carried_out = run.engine.core.clean(rule, run.run, options);
    let (report, record) = carried_out.instrument(run.span.clone()).await;
    log::cleanup_ends(&record, &report, run.span);
    for outcome in StepOutcome::ALL {
        run.metrics.steps(&outcome.to_string(), report.count(outcome) as u64);
    }
    run.metrics.freed(report.bytes_freed());
    show_plan(run.metrics, &record);
    followers.cleaned(&job.id, &report);
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
