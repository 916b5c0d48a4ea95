//! JSONPaths that lead to images in Kubernetes objects.

use std::str::FromStr;

use serde_json::Value;
use serde_json_path::JsonPath;

use super::text;
use crate::oci::shown_as_text;

/// A JSONPath (RFC 9535) that leads to images in an object.
#[derive(Debug, Clone)]
pub struct ImagePath {
    text: String,
    path: JsonPath,
}

/// Why a text is not a path to images.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImagePathError {
    #[error("`{path}` is not a JSONPath: {problem}")]
    Malformed { path: String, problem: String },
    #[error("a JSONPath of more than {MAX_PATH} bytes is not read")]
    TooLong,
    /// Each level multiplies the time that the parser takes: twenty of them take hours.
    #[error("a JSONPath with more than {MAX_DEPTH} brackets within brackets is not read")]
    TooDeep,
}

const MAX_PATH: usize = 300;
const MAX_DEPTH: usize = 4;

impl ImagePath {
    /// All values of an object that it leads to.
    pub fn find<'a>(&self, object: &'a Value) -> Vec<&'a Value> {
        self.path.query(object).all()
    }
}

/// How deep brackets are in brackets, those in quoted names left out.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut quote, mut escaped) = (0_usize, 0, None, false);
    for c in text.chars() {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '(' | '[') => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            (None, ')' | ']') => depth = depth.saturating_sub(1),
            (None, _) => {}
        }
    }
    deepest
}

impl PartialEq for ImagePath {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl FromStr for ImagePath {
    type Err = ImagePathError;

    fn from_str(text: &str) -> Result<Self, ImagePathError> {
        if text.len() > MAX_PATH {
            return Err(ImagePathError::TooLong);
        }
        if depth(text) > MAX_DEPTH {
            return Err(ImagePathError::TooDeep);
        }
        let path = JsonPath::parse(text).map_err(|error| ImagePathError::Malformed {
            path: text.to_owned(),
            problem: error.to_string(),
        })?;
        Ok(Self { text: text.to_owned(), path })
    }
}

shown_as_text!(ImagePath.text);
text::text_values!(ImagePath);
