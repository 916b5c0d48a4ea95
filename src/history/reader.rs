//! Reading the history, by anybody, while it is written too.

use std::collections::HashSet;
use std::io;
use std::path::Path;

use jiff::Timestamp;

use super::line::{Line, concerns, is_image};
use super::writer::FOLDER;
use super::{Begun, Outcome, RunId, RunRecord};
use crate::state::jsonl::{NewestFirst, is_being_written};
use crate::sync::ImageReport;

/// Which runs are asked for. The default is all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub rule: Option<String>,
    pub outcome: Option<Outcome>,
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

/// What was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Read<T> {
    pub value: T,
    /// Lines that could not be understood, and were passed over.
    pub garbage: u64,
}

/// The runs in the history of a state directory, the last one to end or begin first. Blocks.
///
/// # Errors
/// The history is there and cannot be read.
pub fn read_runs(state: &Path, filter: &Filter) -> io::Result<Read<Vec<RunRecord>>> {
    let mut lines = Lines::open(state)?;
    let mut runs = Vec::new();
    let mut ended = HashSet::new();
    while filter.limit.is_none_or(|limit| runs.len() < limit)
        && let Some(line) = lines.next(|line| !is_image(line))?
    {
        match line {
            Line::End(run) => {
                ended.insert(run.id.clone());
                runs.extend(filter.takes(&run).then_some(run));
            }
            Line::Begin(begun) => {
                // What ended before this run began ended before `since`, too.
                let is_last = filter.since.is_some_and(|since| begun.started < since);
                if !ended.remove(&begun.id) {
                    let run = lines.unended(begun);
                    runs.extend(filter.takes(&run).then_some(run));
                }
                if is_last {
                    break;
                }
            }
            Line::Opened { .. } | Line::Image { .. } => {}
        }
    }
    Ok(Read { value: runs, garbage: lines.log.garbage() })
}

/// One run and its images, in the order in which they were settled; `None` if it is not, or no
/// longer, in the history. Blocks.
///
/// # Errors
/// The history is there and cannot be read.
pub fn read_run(state: &Path, id: &RunId) -> io::Result<Option<(RunRecord, Vec<ImageReport>)>> {
    let mut lines = Lines::open(state)?;
    let mut images = Vec::new();
    let mut end = None;
    let mut begin = None;
    while let Some(line) = lines.next(|line| concerns(line, id))? {
        match line {
            Line::End(run) => end = Some(run),
            Line::Image { image, .. } => images.push(image),
            Line::Begin(begun) => {
                begin = Some(lines.unended(begun));
                break;
            }
            Line::Opened { .. } => {}
        }
    }
    images.reverse();
    Ok(end.or(begin).map(|run| (run, images)))
}

struct Lines {
    log: NewestFirst,
    /// Whether the lines to come were written by a process that may still be at it.
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

    /// A run whose end was not met.
    fn unended(&self, begun: Begun) -> RunRecord {
        let outcome = if self.live { Outcome::Running } else { Outcome::Interrupted };
        RunRecord::unended(begun, outcome)
    }
}
