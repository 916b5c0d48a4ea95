//! Why it is not known what is in use, for the person who must mend that. With any of these,
//! nothing is deleted.

use crate::text::counted;
use std::path::PathBuf;

/// A source that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("[in_use.{name}]: {problem}")]
pub struct InUseError {
    /// The source, as the configuration calls it.
    pub name: String,
    pub problem: Problem,
}

/// What is wrong with a source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("there is no such source in the configuration")]
    NoSuchSource,
    #[error("{} {problem}", path.display())]
    File { path: PathBuf, problem: String },
    /// Only the program is named: its arguments may be secrets.
    #[error("the command `{program}` {problem}")]
    Command { program: String, problem: String },
    #[error("{input} {problem}")]
    Content { input: String, problem: Unreadable },
    #[error(
        "lists nothing, although it listed {} before: if that is right, set allow_empty = true",
        counted(*before, "image", "images")
    )]
    ListsNothing { before: u64 },
    /// Then nobody knows what could be rolled back to.
    #[error(
        "what was in use lately is kept in the state, which cannot be used: {0}; with remember = \"0s\" only what runs now stays"
    )]
    Forgotten(String),
}

/// Why a text does not tell what is in use. Follows the name of the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("is not UTF-8")]
    NotText,
    #[error("names no image on line {line}: `{text}`: {problem}")]
    Line { line: usize, text: String, problem: String },
    #[error("is empty: expected what `kubectl get … -o json` prints")]
    Empty,
    #[error("is cut short: {0}")]
    CutShort(String),
    #[error("is not what `kubectl get … -o json` prints: {0}")]
    NotJson(String),
    #[error("holds a {kind} without `items`")]
    NoItems { kind: String },
    #[error("holds only the first part of a list: its `metadata.continue` is set")]
    Part,
    #[error("holds {0}, which is no object that could run something")]
    NoObject(String),
    /// Of what was to be run, or of what is run and nothing else tells.
    #[error("says that {place} runs {image}, which is no image: {problem}")]
    Image { place: String, image: String, problem: String },
    #[error("could not be read to its end: the reader broke off")]
    BrokeOff,
}
