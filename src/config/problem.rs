//! What is wrong with a configuration, for the person who must mend it: all of it at once, each
//! with its place, the line as typed, and a hint where one helps.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::snippet::Snippet;

/// Why a configuration cannot be used. Nothing is started with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    file: PathBuf,
    /// In the order in which they stand in the file; never empty.
    problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub message: String,
    pub hint: Option<String>,
    /// `None` when the file could not be read at all.
    snippet: Option<Snippet>,
}

impl ConfigError {
    pub(super) fn unreadable(file: &Path, reason: &dyn fmt::Display) -> Self {
        let message = format!("cannot read the configuration: {reason}");
        let problem = Problem { message, hint: None, snippet: None };
        Self { file: file.to_owned(), problems: vec![problem] }
    }

    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl Problem {
    /// Line and column, both counted from 1, the latter in characters.
    pub fn position(&self) -> Option<(usize, usize)> {
        self.snippet.as_ref().map(|snippet| (snippet.line, snippet.column))
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        for (n, problem) in self.problems.iter().enumerate() {
            if n > 0 {
                f.write_str("\n\n")?;
            }
            match &problem.snippet {
                None => write!(f, "{file}: {}", problem.message)?,
                Some(snippet) => {
                    let Snippet { line, column, .. } = snippet;
                    write!(f, "{file}:{line}:{column}: {}\n{snippet}", problem.message)?;
                }
            }
            if let Some(hint) = &problem.hint {
                write!(f, "\nhint: {hint}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// Gathers problems while a configuration is read on.
#[derive(Default)]
pub struct Problems(Vec<(Range<usize>, String, Option<String>)>);

impl Problems {
    /// `span` is in bytes of the text.
    pub fn report(&mut self, span: Range<usize>, message: impl fmt::Display) {
        self.0.push((span, message.to_string(), None));
    }

    pub fn report_with_hint(
        &mut self,
        span: Range<usize>,
        message: impl fmt::Display,
        hint: impl fmt::Display,
    ) {
        self.0.push((span, message.to_string(), Some(hint.to_string())));
    }

    /// The error that holds them, if there are any.
    pub fn into_error(mut self, text: &str, file: &Path) -> Option<ConfigError> {
        self.0.sort_by_key(|(span, ..)| span.start);
        let problem = |(span, message, hint)| Problem {
            message,
            hint,
            snippet: Some(Snippet::new(text, span)),
        };
        let problems: Vec<_> = self.0.into_iter().map(problem).collect();
        (!problems.is_empty()).then(|| ConfigError { file: file.to_owned(), problems })
    }
}
