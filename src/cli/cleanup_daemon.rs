//! `tranship cleanup` beside a running daemon, which plans and deletes: its state is in use.

use std::collections::BTreeMap;

use super::ask::Daemon;
use super::cleanup_printed::{Ran, Wanted, printed};
use super::exit::{CliError, failed};
use super::follow::{Followed, Task, Told, follow};
use crate::cleanup::{CleanupReport, warn_of_idle_keep};
use crate::daemon::news::{CleanupNews, RepositoryPlan};
use crate::daemon::view::PlanOptions;

/// Has the daemon plan a rule, or run it, and follows that to its end.
pub async fn carry_out(
    daemon: &Daemon,
    rule: &str,
    task: Task,
    wanted: &Wanted<'_>,
) -> Result<Followed<Ran>, CliError> {
    let Wanted { mode, asked, stop, live, .. } = *wanted;
    let interrupted = || CleanupReport { interrupted: true, ..CleanupReport::new(rule, mode) };
    let mut plans = BTreeMap::<String, _>::new();
    let followed = if stop.soon.is_cancelled() {
        Followed::Report(None)
    } else {
        let answer = match task {
            Task::Plan { .. } => {
                let options = PlanOptions { asked: asked.cloned(), recheck: false };
                daemon.plan_lines(rule, &options).await?
            }
            Task::Run(options, _) => daemon.run_lines(rule, options).await?,
        };
        let told = |news: CleanupNews<'static>| {
            Ok(match news {
                CleanupNews::Run(run) => Told::Run(run),
                CleanupNews::Plan(planned) => {
                    let RepositoryPlan { plan, explanation } = *planned;
                    for line in &plan.idle_keeps {
                        warn_of_idle_keep(rule, &plan.repository, line);
                    }
                    live.planned();
                    let text = printed(rule, &plan, explanation, wanted);
                    let text = text.map_err(failed("write JSON"))?;
                    plans.insert(plan.repository.into_owned(), text);
                    Told::Detail
                }
                CleanupNews::Report(report) => Told::Report(report.into_owned()),
            })
        };
        follow(daemon, rule, task, &stop.soon, answer, told).await?
    };
    let plans = plans.into_values().collect();
    Ok(match followed.or_given_up(interrupted) {
        Followed::Report(report) => Followed::Report(Ran { report, plans }),
        Followed::Left(run) => Followed::Left(run),
    })
}
