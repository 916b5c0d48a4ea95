//! `tranship cleanup` beside a running daemon, which plans and deletes: its state is in use.

use std::collections::BTreeMap;

use super::ask::Daemon;
use super::cleanup_printed::{Ran, Wanted, printed};
use super::exit::{CliError, failed};
use crate::cleanup::{CleanupReport, warn_of_idle_keep};
use crate::config::CleanupRule;
use crate::config::cleanup::Mode;
use crate::daemon::news::{CleanupNews, RepositoryPlan};

/// Has the daemon plan a rule, or run it, and follows that to its end.
pub async fn follow(
    daemon: &Daemon,
    rule: &CleanupRule,
    wanted: &Wanted<'_>,
) -> Result<Ran, CliError> {
    let rule = rule.name.as_str();
    let Wanted { mode, asked, stop, output, live } = *wanted;
    let interrupted = || CleanupReport { interrupted: true, ..CleanupReport::new(rule, mode) };
    if stop.soon.is_cancelled() {
        return Ok(Ran { report: interrupted(), plans: Vec::new() });
    }
    let mut answer = match mode {
        Mode::Plan => daemon.plan_lines(rule, asked).await?,
        Mode::Apply => daemon.apply_lines(rule).await?,
    };
    let (mut plans, mut run, mut is_stopped) = (BTreeMap::<String, _>::new(), None, false);
    let report = loop {
        let news = tokio::select! {
            news = answer.next::<CleanupNews<'static>>() => news?,
            () = stop.soon.cancelled(), if !is_stopped => {
                is_stopped = true;
                match (mode, &run) {
                    // The daemon stops to plan when nobody listens any more.
                    (Mode::Plan, _) => break interrupted(),
                    (Mode::Apply, Some(run)) => daemon.cancel(run).await?,
                    (Mode::Apply, None) => {}
                }
                continue;
            }
        };
        match news {
            Some(CleanupNews::Run(id)) => {
                if is_stopped {
                    daemon.cancel(&id).await?;
                }
                run = Some(id);
            }
            Some(CleanupNews::Plan(planned)) => {
                let RepositoryPlan { plan, explanation } = *planned;
                for line in &plan.idle_keeps {
                    warn_of_idle_keep(rule, &plan.repository, line);
                }
                live.planned();
                let text = printed(rule, &plan, explanation, asked, output);
                plans.insert(plan.repository.into_owned(), text.map_err(failed("write JSON"))?);
            }
            Some(CleanupNews::Report(report)) => break report.into_owned(),
            None => {
                return Err(CliError::Failed(format!(
                    "the daemon did not carry out rule `{rule}`: its log says why"
                )));
            }
        }
    };
    Ok(Ran { report, plans: plans.into_values().collect() })
}
