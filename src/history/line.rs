//! How the history is written: lines that can be told apart, and told to be of a run, by how they
//! begin, so that those nobody asked for need not be understood.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Begun, RunId, RunRecord};
use crate::sync::ImageReport;

/// One line. The order of fields matters: see `starts_like`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    /// A process began to write: what was begun before has no end to come.
    Opened {
        at: Timestamp,
    },
    Begin(Begun),
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

/// Whether a line belongs to this run, or says that a run or a process began.
pub(super) fn concerns(line: &[u8], id: &RunId) -> bool {
    let rest = [br#"{"image":{"run":""#.as_slice(), br#"{"end":{"id":""#]
        .iter()
        .find_map(|start| line.strip_prefix(*start));
    rest.map_or_else(|| !is_image(line), |rest| rest.starts_with(id.as_str().as_bytes()))
}
