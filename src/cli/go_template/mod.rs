//! Templates of Go's text/template as far as people write them for `skopeo inspect --format`.
//!
//! - `lex`: the text between `{{` and `}}`, in tokens. `parse`: the template as a tree.
//! - `value`: what templates are filled with, as Go prints it. `eval`: fills a template;
//!   `functions`: what can be called in it.
//!
//! Whatever a template wants that is not known here is an error, never an empty text.

mod eval;
mod functions;
mod lex;
mod parse;
#[cfg(test)]
mod tests;
mod value;

pub use parse::Template;
pub use value::{Entry, Time, Value};

/// Why a text is not a template, or cannot be filled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TemplateError(String);

impl TemplateError {
    fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

type Result<T> = std::result::Result<T, TemplateError>;
