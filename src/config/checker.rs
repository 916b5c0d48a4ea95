//! What the checks of a configuration work with: its text, the folder of the file, the
//! environment, and where to report problems.

use std::fmt::Display;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::problem::{ConfigError, Reported};
use super::texts::Texts;
use super::{Environment, Reading};

pub struct Checker<'a> {
    pub texts: Texts,
    /// Absolute; relative paths in the file start here.
    pub folder: PathBuf,
    pub env: Environment<'a>,
    pub reading: Reading<'a>,
    /// Whether every table of the files could be read. If not, one that is missing is perhaps there.
    pub is_whole: bool,
    pub problems: Vec<Reported>,
    /// What does not keep the configuration from being used.
    pub warnings: Vec<Reported>,
}

impl<'a> Checker<'a> {
    /// What checks the configuration whose main file is `file`.
    ///
    /// # Errors
    /// Nobody knows which folder the file is in.
    pub fn new(
        file: &Path,
        env: Environment<'a>,
        reading: Reading<'a>,
    ) -> Result<Self, ConfigError> {
        let absolute = std::path::absolute(file).map_err(|e| ConfigError::unreadable(file, &e))?;
        Ok(Self {
            texts: Texts::default(),
            folder: absolute.parent().unwrap_or(&absolute).to_owned(),
            env,
            reading,
            is_whole: true,
            problems: Vec::new(),
            warnings: Vec::new(),
        })
    }
}

impl Checker<'_> {
    /// Whether this cleanup rule deletes although its `mode` may be another one.
    pub fn is_applied(&self, rule: &str) -> bool {
        let applied = self.reading.applied;
        applied.is_some_and(|rules| rules.is_empty() || rules.iter().any(|name| name == rule))
    }

    /// `line 3`, or `line 3 of rules.d/a.toml` if that is another file than the one that is `read`.
    pub fn line(&self, byte: usize, read: usize) -> String {
        let (there, here) = (self.texts.place(byte), self.texts.place(read));
        let line = there.line(byte);
        match there.path == here.path {
            true => format!("line {line}"),
            false => format!("line {line} of {}", there.path.display()),
        }
    }

    /// Makes the path of a secret or certificate absolute, and reports it unless it leads to a file.
    pub fn file(&mut self, path: &mut PathBuf, span: Range<usize>) {
        *path = self.folder.join(&*path);
        if self.reading.without_secrets {
            return;
        }
        match std::fs::metadata(&*path) {
            Ok(metadata) if !metadata.is_dir() => {}
            Ok(_) => self.report(span, format!("{} is a folder, not a file", path.display())),
            Err(e) => self.report(span, unusable(path, e)),
        }
    }

    /// The content of such a file. Reports what keeps it from being read as `read` does. Without
    /// secrets, it need not be there; if it is, it is checked all the same.
    pub fn content<T>(
        &mut self,
        path: &mut PathBuf,
        span: Range<usize>,
        read: impl FnOnce(&[u8]) -> Result<T, String>,
    ) -> Option<T> {
        self.file(path, span.clone());
        if !path.is_file() {
            return None;
        }
        match std::fs::read(&*path) {
            Ok(content) => match read(&content) {
                Ok(found) => return Some(found),
                Err(why) => self.report(span, format!("{} cannot be used: {why}", path.display())),
            },
            Err(_) if self.reading.without_secrets => {}
            Err(e) => self.report(span, unusable(path, e)),
        }
        None
    }

    /// `span` is in bytes of the texts.
    pub fn report(&mut self, span: Range<usize>, message: impl Display) {
        self.problems.push((span, message.to_string(), None));
    }

    pub fn warn(&mut self, span: Range<usize>, message: impl Display, hint: &str) {
        self.warnings.push((span, format!("warning: {message}"), Some(hint.to_owned())));
    }

    pub fn report_with_hint(&mut self, span: Range<usize>, message: impl Display, hint: &str) {
        self.problems.push((span, message.to_string(), Some(hint.to_owned())));
    }
}

fn unusable(path: &Path, error: std::io::Error) -> String {
    format!("cannot use {}: {error}", path.display())
}
