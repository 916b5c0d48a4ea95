//! What is wrong with a configuration, for the person who corrects it: all of it at once, each
//! with its place, the line as typed, and a hint where one helps.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::snippet::Snippet;
use super::texts::Texts;

/// The span of a problem in bytes of the texts, its message, and a hint.
pub(super) type Reported = (Range<usize>, String, Option<String>);

/// Why a configuration cannot be used. Nothing is started with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The main file.
    file: PathBuf,
    /// In the order in which they stand in the files; never empty.
    problems: Vec<Problem>,
    /// What else is probably not as it was meant.
    warnings: Option<Box<ConfigWarnings>>,
}

/// What is probably not as it was meant in a configuration that is used all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigWarnings(pub(super) ConfigError);

impl ConfigWarnings {
    pub fn problems(&self) -> &[Problem] {
        self.0.problems()
    }

    /// As [`ConfigError::in_one_line`].
    pub fn in_one_line(&self) -> String {
        self.0.in_one_line()
    }
}

impl fmt::Display for ConfigWarnings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One thing that is wrong, as JSON for programs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub message: String,
    /// The file, if it is not the main one but included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// From 1; absent for what has no place in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// From 1, in characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    #[serde(skip)]
    snippet: Option<Snippet>,
}

impl ConfigError {
    pub(super) fn unreadable(file: &Path, reason: &dyn fmt::Display) -> Self {
        let message = format!("cannot read the configuration: {reason}");
        let problem = Problem::without_place(message);
        Self { file: file.to_owned(), problems: vec![problem], warnings: None }
    }

    /// The error that holds what was reported, if anything was.
    pub(super) fn of(mut reported: Vec<Reported>, texts: &Texts, file: &Path) -> Option<Self> {
        reported.sort_by_key(|(span, ..)| span.start);
        // What was copied is wrong once.
        let mut seen = HashSet::new();
        reported.retain(|(span, message, _)| seen.insert((span.clone(), message.clone())));
        let problem = |(span, message, hint): Reported| {
            let place = texts.place(span.start);
            let from_start = |byte: usize| byte.saturating_sub(place.start);
            let snippet = Snippet::new(place.text, from_start(span.start)..from_start(span.end));
            let (line, column) = (Some(snippet.line), Some(snippet.column));
            let file = (!place.is_main).then(|| place.path.to_owned());
            Problem { message, file, line, column, hint, snippet: Some(snippet) }
        };
        let problems: Vec<_> = reported.into_iter().map(problem).collect();
        (!problems.is_empty()).then(|| Self { file: file.to_owned(), problems, warnings: None })
    }

    /// The errors of several things that are needed, with a hint that says of each what needs it.
    pub(super) fn needed<'a>(errors: impl Iterator<Item = (&'a Self, String)>) -> Option<Self> {
        let hinted = errors.map(|(error, needed_by)| {
            let hint =
                |problem: &Problem| Problem { hint: Some(needed_by.clone()), ..problem.clone() };
            let problems = error.problems.iter().map(hint).collect();
            Self { problems, ..error.clone() }
        });
        hinted.reduce(|mut all, more| {
            all.problems.extend(more.problems);
            all
        })
    }

    pub(super) fn with_warnings(self, warnings: Option<ConfigWarnings>) -> Self {
        Self { warnings: warnings.map(Box::new), ..self }
    }

    /// What is probably not as it was meant, besides what is wrong.
    pub fn warnings(&self) -> Option<&ConfigWarnings> {
        self.warnings.as_deref()
    }

    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// All of it without the lines of the file: `file:line:column: message (hint); …`.
    pub fn in_one_line(&self) -> String {
        let problem = |problem: &Problem| {
            let mut text = problem.headline(&self.file);
            if let Some(hint) = &problem.hint {
                text.push_str(&format!(" ({hint})"));
            }
            text
        };
        self.problems.iter().map(problem).collect::<Vec<_>>().join("; ")
    }
}

impl Problem {
    /// A problem that is not one of the text.
    pub fn without_place(message: String) -> Self {
        Self { message, ..Self::default() }
    }

    /// Where it is, and what it is.
    fn headline(&self, main: &Path) -> String {
        let file = self.file.as_deref().unwrap_or(main).display();
        match &self.snippet {
            None => format!("{file}: {}", self.message),
            Some(Snippet { line, column, .. }) => {
                format!("{file}:{line}:{column}: {}", self.message)
            }
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.problems.iter().enumerate() {
            if n > 0 {
                f.write_str("\n\n")?;
            }
            f.write_str(&problem.headline(&self.file))?;
            if let Some(snippet) = &problem.snippet {
                write!(f, "\n{snippet}")?;
            }
            if let Some(hint) = &problem.hint {
                write!(f, "\nhint: {hint}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
