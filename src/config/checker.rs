//! What the checks of a configuration work with: its text, the folder of the file, the
//! environment, and where to report problems.

use std::fmt::Display;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::problem::{ConfigError, Reported};
use super::texts::Texts;
use super::{Environment, Reading, variables};

pub struct Checker<'a> {
    pub texts: Texts,
    /// Absolute; relative paths in the file start here.
    pub folder: PathBuf,
    pub env: Environment<'a>,
    pub reading: Reading<'a>,
    /// Whether every table of the files could be read. If not, one that is missing is perhaps there.
    pub is_whole: bool,
    pub problems: Vec<Reported>,
    /// Secrets and certificates that are not there, where they may be missing.
    pub missing: Vec<Reported>,
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
            missing: Vec::new(),
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

    /// Makes the path of a secret or certificate absolute. Unless it leads to a file, the file is
    /// missing.
    pub fn file(&mut self, path: &mut PathBuf, span: Range<usize>) {
        // It has a variable only if that could not be replaced.
        let unset = variables::replace(&path.to_string_lossy(), self.env).err();
        *path = self.folder.join(&*path);
        let problem = match std::fs::metadata(&*path) {
            Ok(metadata) if !metadata.is_dir() => return,
            Ok(_) => format!("{} is a folder, not a file", path.display()),
            Err(e) => unset.unwrap_or_else(|| unusable(path, e)),
        };
        self.report_missing(span, problem);
    }

    /// Reports a secret or a certificate that is not there, unless it may be missing.
    pub fn report_missing(&mut self, span: Range<usize>, message: String) {
        let reported =
            if self.reading.without_secrets { &mut self.missing } else { &mut self.problems };
        reported.push((span, message, None));
    }

    /// What was found to be missing since there were so many.
    pub fn missing_since(&mut self, before: usize) -> Option<ConfigError> {
        let missing = self.missing.split_off(before);
        ConfigError::of(missing, &self.texts, self.texts.place(0).path)
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
            Err(e) => self.report_missing(span, unusable(path, e)),
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
