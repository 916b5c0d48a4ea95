//! What a text says is run: an image of a registry, or a digest of something anywhere.

use std::fmt;

use crate::oci::reference::ReferenceError;
use crate::oci::{Digest, ImageReference, Tag};

/// Something that is run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Used {
    /// Has a tag, or a digest, or both; then both are in use.
    Image(ImageReference),
    /// Of an image whose name is not told. It may as well be the digest of a configuration, which
    /// no registry has as a manifest, and which then means nothing.
    Digest(Digest),
}

impl Used {
    /// What people write to have something run, with docker's defaults.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        // Else they would be tags of an image called `sha256`.
        if text.starts_with("sha256:") || text.starts_with("sha512:") {
            return Ok(Self::Digest(text.parse()?));
        }
        // The name of an image cannot be one either (docker's `ParseNormalizedNamed`).
        if let Ok(digest) = format!("sha256:{text}").parse() {
            return Ok(Self::Digest(digest));
        }
        let mut image: ImageReference = text.parse()?;
        if image.tag.is_none() && image.digest.is_none() {
            image.tag = Some(Tag::latest());
        }
        Ok(Self::Image(image))
    }

    /// What a runtime says is run. `None`: it cannot be told what that is.
    ///
    /// containerd writes `repository@sha256:…` or `sha256:…`, docker puts `docker-pullable://` or
    /// `docker://` before these, and CRI-O leaves out `sha256:`.
    pub fn of_runtime(text: &str) -> Option<Self> {
        let text = text.split_once("://").map_or(text, |(_, rest)| rest);
        Self::parse(text).ok()
    }
}

/// Gives itself when it is parsed.
impl fmt::Display for Used {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(image) => image.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}
