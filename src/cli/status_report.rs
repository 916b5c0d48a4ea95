//! What `tranship status` reports: what the daemon answers, or where none runs, what the state
//! directory contains.

use std::path::Path;

use serde::Serialize;

use super::ask::Daemon;
use super::exit::{CliError, failed};
use crate::config::Config;
use crate::daemon::view::{ActiveRun, RuleStatus, Status, Transfer};
use crate::history::{Cause, Filter, RunOutcome, RunRecord, read_runs};
use crate::run::Rule;
use crate::state::{RuleMark, State};

/// Past runs that are read where no daemon runs.
const REMEMBERED_RUNS: usize = 5_000;

/// The document that `--output json` prints.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// `None`: no daemon runs, and a note says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub daemon: Option<Status>,
    pub rules: Vec<RuleStatus>,
    pub running: Vec<ActiveRun>,
    pub transfers: Vec<Transfer>,
    pub notes: Vec<String>,
}

/// What a daemon answers.
pub async fn of_daemon(daemon: &Daemon) -> Result<Report, CliError> {
    let (status, rules, running, transfers) = daemon.look().await?;
    let mut notes = Vec::new();
    if let Some(why) = &status.config.rejected {
        notes.push(format!("the configuration file is not in use, the one before it is: {why}"));
    }
    if status.stopping {
        notes.push("the daemon is stopping: no run begins any more".to_owned());
    }
    Ok(Report { daemon: Some(status), rules, running, transfers, notes })
}

/// What the state directory contains, where no daemon runs; `why` says so.
pub fn of_state(config: &Config, why: String) -> Result<Report, CliError> {
    let folder = &config.daemon.state;
    let mut notes = vec![why, format!("what is shown is in the state in {}", folder.display())];
    let filter = Filter { limit: Some(REMEMBERED_RUNS), ..Filter::default() };
    let runs = read_runs(folder, &filter);
    let runs = runs.map_err(failed(format!("read the history in {}", folder.display())))?;
    let state = marks(folder, &mut notes);
    let sync = config.sync.iter().map(Rule::Sync);
    let rules = sync.chain(config.cleanup.iter().map(Rule::Cleanup)).map(RuleStatus::of);
    let rules = rules.map(|rule| {
        let mark = state.as_ref().and_then(|state| state.marks.get(&rule.name));
        remembered(rule, mark.as_ref(), &runs.runs)
    });
    Ok(Report { rules: rules.collect(), notes, ..Report::default() })
}

/// The state, if there is one: to look at it must not make one.
fn marks(folder: &Path, notes: &mut Vec<String>) -> Option<State> {
    if !folder.is_dir() {
        return None;
    }
    match State::open(folder) {
        Ok(state) => Some(state),
        Err(error) => {
            notes.push(error.to_string());
            None
        }
    }
}

/// A rule as its mark and the newest runs have it. The daemon's mark knows more of the past; a
/// rule that only `tranship sync` has run has none.
fn remembered(rule: RuleStatus, mark: Option<&RuleMark>, runs: &[RunRecord]) -> RuleStatus {
    let whole = || runs.iter().filter(|run| run.rule == rule.name && run.cause != Cause::Event);
    let ended = || whole().filter(|run| run.outcome != RunOutcome::Running);
    let ends_a_row = [RunOutcome::Succeeded, RunOutcome::Limited];
    let failed = ended().take_while(|run| !ends_a_row.contains(&run.outcome));
    let failed = failed.filter(|run| run.outcome == RunOutcome::Failed).count();
    let failed = u32::try_from(failed).unwrap_or(u32::MAX);
    // If no known run ends the row, the mark may know of more failures.
    let row_is_whole = ended().any(|run| ends_a_row.contains(&run.outcome));
    let marked = mark.filter(|_| !row_is_whole).map_or(0, |mark| mark.consecutive_failures);
    let succeeded = ended().find(|run| run.outcome == RunOutcome::Succeeded);
    let running = whole().filter(|run| run.outcome == RunOutcome::Running);
    RuleStatus {
        running: running.map(|run| run.id.clone()).collect(),
        last_run: ended().next().cloned(),
        last_success: mark
            .and_then(|mark| mark.last_success)
            .max(succeeded.and_then(|run| run.finished)),
        consecutive_failures: failed.max(marked),
        ..rule
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::history::{RunId, RunStart};

    fn time(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn run(rule: &str, cause: Cause, outcome: RunOutcome, second: i64) -> RunRecord {
        let started = time(second);
        let begun = RunStart { id: RunId::new(started, 1), rule: rule.to_owned(), cause, started };
        let finished = (outcome != RunOutcome::Running).then(|| time(second + 1));
        RunRecord { finished, ..RunRecord::unended(begun, outcome) }
    }

    #[test]
    fn the_status_of_a_rule_from_marks_and_runs() {
        let text = "[daemon]\nstate = \"/s\"\n[[sync]]\nname = \"a\"\nsource = \"r.io/a\"\ntarget = \"t.io/a\"\n";
        let config = crate::config::parse(text, Path::new("/t.toml"), &|_| None).unwrap();
        let rule = || RuleStatus::of(Rule::Sync(&config.sync[0]));
        let runs = [
            run("a", Cause::Command, RunOutcome::Running, 90),
            run("a", Cause::Event, RunOutcome::Succeeded, 80),
            run("b", Cause::Command, RunOutcome::Succeeded, 75),
            run("a", Cause::Command, RunOutcome::Failed, 70),
            run("a", Cause::Schedule, RunOutcome::Interrupted, 65),
            run("a", Cause::Schedule, RunOutcome::Failed, 60),
            run("a", Cause::Schedule, RunOutcome::Succeeded, 50),
            run("a", Cause::Schedule, RunOutcome::Failed, 40),
        ];
        let known = remembered(rule(), None, &runs);
        assert_eq!(known.running, [runs[0].id.clone()]);
        assert_eq!(known.last_run, Some(runs[3].clone()));
        assert_eq!((known.last_success, known.consecutive_failures), (Some(time(51)), 2));

        let mark = RuleMark {
            last_success: Some(time(7)),
            consecutive_failures: 9,
            ..RuleMark::default()
        };
        let known = remembered(rule(), Some(&mark), &runs);
        assert_eq!((known.last_success, known.consecutive_failures), (Some(time(51)), 2));
        // The daemon failed nine times, of which the history has two; commands failed since.
        let known = remembered(rule(), Some(&mark), &runs[..6]);
        assert_eq!(known.consecutive_failures, 9);
        let works = RuleMark { consecutive_failures: 0, ..mark };
        assert_eq!(remembered(rule(), Some(&works), &runs[..6]).consecutive_failures, 2);
        let known = remembered(rule(), Some(&mark), &[]);
        assert_eq!((known.last_run, known.last_success), (None, Some(time(7))));
    }
}
