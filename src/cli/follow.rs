//! Follows a run or a plan of the daemon to its end.

use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::ask::Daemon;
use super::ask_lines::Answer;
use super::exit::CliError;
use crate::daemon::RunOptions;
use crate::history::RunId;

/// What the daemon does with a rule.
#[derive(Debug, Clone, Copy)]
pub enum Task {
    /// Whether the targets of a sync rule are asked about every image.
    Plan {
        recheck: bool,
    },
    Run(RunOptions, AtStop),
}

/// What becomes of a run when the command is told to stop. A plan is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtStop {
    /// It is cancelled, and followed to its end.
    Cancel,
    /// It goes on.
    Leave,
}

/// What a line of the answer is about.
pub enum Told<R> {
    Run(RunId),
    Detail,
    Report(R),
}

/// How far it was followed.
pub enum Followed<R> {
    Report(R),
    /// The run goes on.
    Left(RunId),
}

impl<R> Followed<Option<R>> {
    /// With a report of a plan that was given up.
    pub fn or_given_up(self, report: impl FnOnce() -> R) -> Followed<R> {
        match self {
            Self::Report(known) => Followed::Report(known.unwrap_or_else(report)),
            Self::Left(run) => Followed::Left(run),
        }
    }
}

/// Reads the answer for this rule, each line of which goes to `told`. There is no report of a plan
/// that is given up.
pub async fn follow<N: DeserializeOwned, R>(
    daemon: &Daemon,
    rule: &str,
    task: Task,
    stop: &CancellationToken,
    mut answer: Answer<'_>,
    mut told: impl FnMut(N) -> Result<Told<R>, CliError>,
) -> Result<Followed<Option<R>>, CliError> {
    let (mut run, mut is_stopped) = (None, false);
    loop {
        let line = tokio::select! {
            line = answer.next::<N>() => line?,
            () = stop.cancelled(), if !is_stopped => {
                is_stopped = true;
                match (task, &run) {
                    // The daemon stops to plan when nobody listens any more.
                    (Task::Plan { .. }, _) => return Ok(Followed::Report(None)),
                    (Task::Run(..), None) => {}
                    (Task::Run(_, at_stop), Some(run)) => {
                        if let Some(run) = stopped(daemon, run, at_stop).await? {
                            return Ok(Followed::Left(run));
                        }
                    }
                }
                continue;
            }
        };
        match line.map(&mut told).transpose()? {
            Some(Told::Run(id)) => {
                if let (true, Task::Run(_, at_stop)) = (is_stopped, task)
                    && let Some(run) = stopped(daemon, &id, at_stop).await?
                {
                    return Ok(Followed::Left(run));
                }
                run = Some(id);
            }
            Some(Told::Detail) => {}
            Some(Told::Report(report)) => return Ok(Followed::Report(Some(report))),
            None => {
                return Err(CliError::Failed(format!(
                    "the daemon did not carry out rule `{rule}`: its log says why"
                )));
            }
        }
    }
}

/// Gives the run if it is not followed any more.
async fn stopped(daemon: &Daemon, run: &RunId, at_stop: AtStop) -> Result<Option<RunId>, CliError> {
    match at_stop {
        AtStop::Leave => Ok(Some(run.clone())),
        AtStop::Cancel => {
            // If it has ended meanwhile, its report is on the way.
            daemon.cancel(run).await?;
            Ok(None)
        }
    }
}
