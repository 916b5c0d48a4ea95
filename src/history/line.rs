//! The lines of the history. How a line begins tells its kind and its run, so that lines that
//! nobody asked for are not parsed.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{RunId, RunRecord, RunStart};
use crate::sync::ImageReport;

/// The folder of the log within the state directory.
pub(super) const FOLDER: &str = "history";

/// One line. The order of the fields matters: the functions below look at how a line begins.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    /// A process began to write: runs that were started before will not end any more.
    Opened {
        at: Timestamp,
    },
    Begin(RunStart),
    Image {
        run: RunId,
        image: ImageReport,
    },
    End(RunRecord),
}

/// Whether a line is an image.
pub(super) fn is_image(line: &[u8]) -> bool {
    line.starts_with(br#"{"image":"#)
}

/// Whether a line belongs to this run, or says that any run or a process began.
pub(super) fn may_belong_to(line: &[u8], id: &RunId) -> bool {
    let rest = [br#"{"image":{"run":""#.as_slice(), br#"{"end":{"id":""#]
        .iter()
        .find_map(|start| line.strip_prefix(*start));
    rest.map_or_else(|| !is_image(line), |rest| rest.starts_with(id.as_str().as_bytes()))
}
