//! A repository that was opened by a reference, and the image that the reference means.

use std::sync::Arc;

use super::OpenRepository;
use crate::oci::{Digest, ImageAddress, Tag};
use crate::repository::{Reference, Repository, Result};

/// An open repository, and what the reference to it named.
pub struct OpenImage {
    pub(super) opened: OpenRepository,
    pub(super) address: ImageAddress,
}

/// One image of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    pub reference: Reference,
    /// Its name, where it has one.
    pub tag: Option<Tag>,
}

impl OpenImage {
    pub fn repository(&self) -> &Arc<dyn Repository> {
        self.opened.repository()
    }

    /// The tag that was named.
    pub fn tag(&self) -> Option<&Tag> {
        self.address.tag.as_ref()
    }

    /// The digest that was named.
    pub fn digest(&self) -> Option<&Digest> {
        self.address.digest.as_ref()
    }

    /// The image that is meant: the one that was named, else `latest` of a registry and the only
    /// image of a layout.
    ///
    /// # Errors
    /// A layout has no image, or several and none was named.
    pub async fn image(&self) -> Result<Image> {
        let tag = self.address.tag.clone();
        let reference = match (&self.address.digest, tag) {
            (Some(digest), tag) => {
                return Ok(Image { reference: Reference::Digest(digest.clone()), tag });
            }
            (None, Some(tag)) => Reference::Tag(tag),
            (None, None) => self.repository().default_image().await?,
        };
        let tag = match &reference {
            Reference::Tag(tag) => Some(tag.clone()),
            Reference::Digest(_) => None,
        };
        Ok(Image { reference, tag })
    }

    /// See [`OpenRepository::finish`].
    pub async fn finish(self) -> Result<()> {
        self.opened.finish().await
    }
}
