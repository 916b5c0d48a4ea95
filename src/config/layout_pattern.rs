//! Layouts on disk as a rule names them: `oci:/srv/images/app`, `oci:/srv/images/**`.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::oci::RepositoryName;
use crate::oci::pattern::{PatternError, RepositoryPattern};

/// The prefix of the path.
const TRANSPORT: &str = "oci:";

/// One layout, or some of those below a folder.
#[derive(Debug, Clone, PartialEq)]
pub struct LayoutPattern {
    /// Absolute, in a configuration that was checked.
    pub root: PathBuf,
    /// Of the paths below the root. `None`: the root itself is the layout.
    pub pattern: Option<RepositoryPattern>,
}

/// Why a text does not name layouts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutPatternError {
    #[error("`oci:` needs the path of a layout behind it")]
    NoPath,
    #[error("`{0}` names an image, and not a repository")]
    Image(String),
    #[error(transparent)]
    Pattern(#[from] PatternError),
}

impl LayoutPattern {
    /// Reads a text that starts with `oci:`; `None` for others. The root is as it was written.
    ///
    /// # Errors
    /// When it names one image, or nothing that a layout can be.
    pub fn read(text: &str) -> Option<Result<Self, LayoutPatternError>> {
        Some(Self::read_path(text.strip_prefix(TRANSPORT)?, text))
    }

    fn read_path(path: &str, text: &str) -> Result<Self, LayoutPatternError> {
        if path.is_empty() {
            return Err(LayoutPatternError::NoPath);
        }
        // A colon after the last slash starts a tag, as in every reference to a layout.
        if path.rsplit_once(':').is_some_and(|(_, tag)| !tag.contains('/')) {
            return Err(LayoutPatternError::Image(text.to_owned()));
        }
        let mut start = 0;
        for part in path.split('/') {
            if RepositoryPattern::is_pattern(part) {
                let pattern = path[start..].parse()?;
                return Ok(Self { root: path[..start].into(), pattern: Some(pattern) });
            }
            start += part.len() + 1;
        }
        Ok(Self { root: path.into(), pattern: None })
    }

    /// The name under which a layout belongs to it: its path below the root, or for a single
    /// layout the last part of its own, if that could be a repository's name. `None`: it does not
    /// belong to it.
    pub fn name_of(&self, layout: &Path) -> Option<Option<RepositoryName>> {
        let name = |path: &Path| path.to_str()?.parse::<RepositoryName>().ok();
        match &self.pattern {
            None if layout == self.root => {
                Some(layout.file_name().and_then(|last| name(last.as_ref())))
            }
            None => None,
            Some(pattern) => {
                let name = name(layout.strip_prefix(&self.root).ok()?)?;
                pattern.matches(&name).then_some(Some(name))
            }
        }
    }
}

impl fmt::Display for LayoutPattern {
    /// As written in a rule.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = match &self.pattern {
            Some(pattern) => self.root.join(pattern.as_str()),
            None => self.root.clone(),
        };
        write!(f, "{TRANSPORT}{}", path.display())
    }
}
