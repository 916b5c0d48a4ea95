//! What the checks of a configuration work with: its text, the folder of the file, the
//! environment, and where to report problems.

use std::fmt::Display;
use std::ops::Range;
use std::path::PathBuf;

use super::Environment;
use super::problem::Reported;

pub struct Checker<'a> {
    pub text: &'a str,
    /// Absolute; relative paths in the file start here.
    pub folder: PathBuf,
    pub env: Environment<'a>,
    /// The cleanup rules that will delete whatever their `mode` is; an empty list means all of them.
    pub applied: Option<&'a [String]>,
    pub problems: Vec<Reported>,
    /// What does not keep the configuration from being used.
    pub warnings: Vec<Reported>,
}

impl Checker<'_> {
    /// Whether this cleanup rule deletes although its `mode` may be another one.
    pub fn is_applied(&self, rule: &str) -> bool {
        self.applied.is_some_and(|rules| rules.is_empty() || rules.iter().any(|name| name == rule))
    }

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

    /// `span` is in bytes of the text.
    pub fn report(&mut self, span: Range<usize>, message: impl Display) {
        self.problems.push((span, message.to_string(), None));
    }

    pub fn warn(&mut self, span: Range<usize>, message: &str, hint: &str) {
        self.warnings.push((span, format!("warning: {message}"), Some(hint.to_owned())));
    }

    pub fn report_with_hint(&mut self, span: Range<usize>, message: impl Display, hint: &str) {
        self.problems.push((span, message.to_string(), Some(hint.to_owned())));
    }
}
