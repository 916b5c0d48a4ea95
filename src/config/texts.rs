//! The texts of a configuration's files, one behind the other: a byte of any of them has one
//! number, so that a span says which file it is in.

use std::ops::Range;
use std::path::{Path, PathBuf};

/// The files that were read, the main one first.
#[derive(Debug, Default)]
pub struct Texts(Vec<File>);

#[derive(Debug)]
struct File {
    path: PathBuf,
    text: String,
    /// The number of its first byte.
    start: usize,
}

/// Where a span is.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    pub path: &'a Path,
    pub text: &'a str,
    /// What to subtract from the span to get bytes of the text.
    pub start: usize,
    /// Whether it is in the main file.
    pub is_main: bool,
}

impl Texts {
    /// Adds a file, and returns the number of its first byte.
    pub fn add(&mut self, path: PathBuf, text: String) -> usize {
        // A span may be behind the last byte.
        let start = self.0.last().map_or(0, |file| file.start + file.text.len() + 1);
        self.0.push(File { path, text, start });
        start
    }

    pub fn place(&self, byte: usize) -> Place<'_> {
        let behind = self.0.partition_point(|file| file.start <= byte);
        let at = behind.saturating_sub(1);
        self.0.get(at).map_or(
            Place { path: Path::new(""), text: "", start: 0, is_main: true },
            |File { path, text, start }| Place { path, text, start: *start, is_main: at == 0 },
        )
    }

    /// The text of a span; empty for one that does not fit.
    pub fn text(&self, span: &Range<usize>) -> &str {
        let Place { text, start, .. } = self.place(span.start);
        text.get(span.start.saturating_sub(start)..span.end.saturating_sub(start))
            .unwrap_or_default()
    }
}

impl Place<'_> {
    /// The line of a byte, counted from 1.
    pub fn line(self, byte: usize) -> usize {
        let before = byte.saturating_sub(self.start);
        self.text.bytes().take(before).filter(|b| *b == b'\n').count() + 1
    }
}
