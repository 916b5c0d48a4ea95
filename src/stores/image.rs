//! A repository that was opened by a reference, and the image that the reference means.

use std::sync::Arc;

use super::OpenRepository;
use crate::layout::Layout;
use crate::oci::selection::TagSelection;
use crate::oci::{Digest, ImageAddress, Tag};
use crate::repository::{Cause, Error, Reference, Repository, Result};

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
        match (self.digest(), self.tag(), &self.opened.layout) {
            (Some(digest), tag, _) => {
                Ok(Image { reference: Reference::Digest(digest.clone()), tag: tag.cloned() })
            }
            (None, Some(tag), _) => Ok(Image::tagged(tag.clone())),
            (None, None, Some(layout)) => only_image(layout).await,
            (None, None, None) => Ok(Image::tagged(Tag::latest())),
        }
    }

    /// See [`OpenRepository::finish`].
    pub async fn finish(self) -> Result<()> {
        self.opened.finish().await
    }
}

impl Image {
    fn tagged(tag: Tag) -> Self {
        Self { reference: Reference::Tag(tag.clone()), tag: Some(tag) }
    }
}

async fn only_image(layout: &Layout) -> Result<Image> {
    let tags = TagSelection::default().select(layout.tags().await?.unwrap_or_default());
    match (layout.only_image().await?, tags.as_slice()) {
        (Some(_), [tag]) => Ok(Image::tagged(tag.clone())),
        (Some(digest), _) => Ok(Image { reference: Reference::Digest(digest), tag: None }),
        (None, tags) => {
            let tags: Vec<&str> = tags.iter().map(Tag::as_str).collect();
            let message = match tags[..] {
                [] => "it has no image, or several without a tag".to_owned(),
                _ => format!("it has several images: name one of its tags ({})", tags.join(", ")),
            };
            Err(Error::new("choose an image of", layout.name(), Cause::Unsupported(message)))
        }
    }
}
