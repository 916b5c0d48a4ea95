//! Reading the history, in any process, even while it is written.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};

use super::line::{FOLDER, Line, is_image, may_belong_to};
use super::{Cause, RunId, RunOutcome, RunRecord, RunStart};
use crate::state::jsonl::{NewestFirst, is_being_written};
use crate::sync::ImageReport;

/// A run is not looked for any further after so many runs in a row that began so long before it.
/// One run would do if clocks did not jump.
const OLDER_RUNS: u32 = 32;
const OLDER: SignedDuration = SignedDuration::from_hours(24);

/// How many starts and ends are read to find the last run of each rule.
const LAST_LINES: usize = 10_000;

/// Which runs are asked for. The default is all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub rule: Option<String>,
    pub outcome: Option<RunOutcome>,
    /// Runs that ended at this time or later, or have not ended.
    pub since: Option<Timestamp>,
    /// At most so many, the newest.
    pub limit: Option<usize>,
}

impl Filter {
    fn takes(&self, run: &RunRecord) -> bool {
        self.rule.as_ref().is_none_or(|rule| *rule == run.rule)
            && self.outcome.is_none_or(|outcome| outcome == run.outcome)
            && self.since.is_none_or(|since| run.finished.unwrap_or(run.started) >= since)
    }
}

/// Runs that were read, the newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct RunList {
    pub runs: Vec<RunRecord>,
    /// How many lines could not be understood and were left out.
    pub garbage: u64,
}

/// The runs in the history of a state directory, the last one to end or begin first. Blocks.
///
/// # Errors
/// The history is there and cannot be read.
pub fn read_runs(state: &Path, filter: &Filter) -> io::Result<RunList> {
    let mut lines = Lines::open(state)?;
    let mut runs = Vec::new();
    let mut ended = HashSet::new();
    while filter.limit.is_none_or(|limit| runs.len() < limit)
        && let Some(line) = lines.next(|line| !is_image(line))?
    {
        // What ended before this run began ended before `since`, too.
        let is_last = match (&line, filter.since) {
            (Line::Begin(begun), Some(since)) => begun.started < since,
            _ => false,
        };
        runs.extend(lines.run(line, &mut ended).filter(|run| filter.takes(run)));
        if is_last {
            break;
        }
    }
    Ok(RunList { runs, garbage: lines.log.garbage() })
}

/// The last complete run of each of these rules that is not under way, as far as it is among the
/// newest in the history. Blocks.
///
/// # Errors
/// The history is there and cannot be read.
pub fn read_last_runs(
    state: &Path,
    rules: &HashSet<String>,
) -> io::Result<HashMap<String, RunRecord>> {
    let mut lines = Lines::open(state)?;
    let mut last = HashMap::new();
    let mut ended = HashSet::new();
    for _ in 0..LAST_LINES {
        if last.len() == rules.len() {
            break;
        }
        let Some(line) = lines.next(|line| !is_image(line))? else { break };
        let Some(run) = lines.run(line, &mut ended) else { continue };
        let is_complete = run.cause != Cause::Event && run.outcome != RunOutcome::Running;
        if is_complete && rules.contains(&run.rule) {
            last.entry(run.rule.clone()).or_insert(run);
        }
    }
    Ok(last)
}

/// One run and its images, in the order in which they were settled; `None` if it is not, or no
/// longer, in the history. Blocks.
///
/// # Errors
/// The history is there and cannot be read.
pub fn read_run(state: &Path, id: &RunId) -> io::Result<Option<(RunRecord, Vec<ImageReport>)>> {
    let Some(about) = id.begun() else { return Ok(None) };
    let mut lines = Lines::open(state)?;
    let mut images = Vec::new();
    let mut end = None;
    let mut begin = None;
    let mut older = 0;
    while older < OLDER_RUNS
        && let Some(line) = lines.next(|line| may_belong_to(line, id))?
    {
        match line {
            Line::End(run) => end = Some(run),
            Line::Image { image, .. } => images.push(image),
            Line::Begin(begun) if begun.id == *id => {
                begin = Some(lines.unended(begun));
                break;
            }
            Line::Begin(begun) if about.duration_since(begun.started) > OLDER => older += 1,
            Line::Begin(_) => older = 0,
            Line::Opened { .. } => {}
        }
    }
    images.reverse();
    Ok(end.or(begin).map(|run| (run, images)))
}

struct Lines {
    log: NewestFirst,
    /// Whether the process that wrote the next lines may still be running.
    live: bool,
}

impl Lines {
    fn open(state: &Path) -> io::Result<Self> {
        let folder = state.join(FOLDER);
        let live = is_being_written(&folder);
        Ok(Self { log: NewestFirst::open(&folder)?, live })
    }

    fn next(&mut self, wanted: impl Fn(&[u8]) -> bool) -> io::Result<Option<Line>> {
        let line = self.log.next(wanted)?;
        if matches!(line, Some(Line::Opened { .. })) {
            self.live = false;
        }
        Ok(line)
    }

    /// The run of a line, if no line of that run was met before. `ended`: runs whose end was met.
    fn run(&self, line: Line, ended: &mut HashSet<RunId>) -> Option<RunRecord> {
        match line {
            Line::End(run) => {
                ended.insert(run.id.clone());
                Some(run)
            }
            Line::Begin(begun) => (!ended.remove(&begun.id)).then(|| self.unended(begun)),
            Line::Opened { .. } | Line::Image { .. } => None,
        }
    }

    /// A run without an end.
    fn unended(&self, begun: RunStart) -> RunRecord {
        let outcome = if self.live { RunOutcome::Running } else { RunOutcome::Interrupted };
        RunRecord::unended(begun, outcome)
    }
}
