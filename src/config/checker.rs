//! What the checks of a configuration have at hand: its text, the folder of the file, the
//! environment, and where to report problems.

use std::fmt::Display;
use std::ops::Range;
use std::path::PathBuf;

use super::Environment;
use super::document::Node;
use super::problem::Problems;

pub struct Checker<'a> {
    pub text: &'a str,
    /// Absolute; relative paths in the file start here.
    pub folder: PathBuf,
    pub env: Environment<'a>,
    pub problems: Problems,
}

impl Checker<'_> {
    /// The line of a byte of the text, counted from 1.
    pub fn line(&self, byte: usize) -> usize {
        self.text.bytes().take(byte).filter(|b| *b == b'\n').count() + 1
    }

    /// Makes a path absolute, and reports it unless it leads to a file.
    pub fn file(&mut self, path: &mut PathBuf, span: Range<usize>) {
        *path = self.folder.join(&*path);
        match std::fs::metadata(&*path) {
            Ok(metadata) if !metadata.is_dir() => {}
            Ok(_) => self.report(span, format!("{} is a folder, not a file", path.display())),
            Err(e) => self.report(span, format!("cannot use {}: {e}", path.display())),
        }
    }

    pub fn report(&mut self, span: Range<usize>, message: impl Display) {
        self.problems.report(span, message);
    }

    pub fn report_with_hint(&mut self, span: Range<usize>, message: impl Display, hint: &str) {
        self.problems.report_with_hint(span, message, hint);
    }

    /// Reports the names of sources of `what`, the keys of a table, that are not short and plain.
    /// The hint says `why` they have to be.
    pub fn check_names_of_sources(&mut self, sources: Node<'_>, what: &str, why: &str) {
        for (name, _) in sources.entries() {
            let text = name.get_ref();
            let valid = !text.is_empty()
                && text.len() <= 64
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
            if !valid {
                let message = format!("`{text}` is not a name for a source of {what}");
                let hint = format!("{why}at most 64 letters, digits, `-` and `_`");
                self.report_with_hint(name.span(), message, &hint);
            }
        }
    }
}
