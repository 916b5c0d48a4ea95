//! What a reference on the command line names, opened: a repository, and an image in it.

use std::sync::Arc;

use crate::cli::exit::CliError;
use crate::layout::Layout;
use crate::layout::archive::Archive;
use crate::oci::reference::Location;
use crate::oci::{Digest, Tag};
use crate::registry::Registries;
use crate::repository::{Reference, Repository};

/// An opened place.
pub struct Place {
    pub repository: Arc<dyn Repository>,
    pub tag: Option<Tag>,
    pub digest: Option<Digest>,
    /// It is on disk, where a place without a tag means its only image, not `latest`.
    pub is_layout: bool,
    /// The only image of a layout.
    pub only: Option<Reference>,
    /// Its files go when this is dropped.
    archive: Option<Archive>,
}

impl Place {
    /// `writes`: it will be written to.
    pub async fn open(text: &str, registries: &Registries, writes: bool) -> Result<Self, CliError> {
        let location: Location =
            text.parse().map_err(|error| CliError::Usage(format!("`{text}`: {error}")))?;
        match location {
            Location::Registry(image) => {
                let registry = registries.open(&image.registry)?;
                Ok(Self {
                    repository: registry.repository(image.repository, writes),
                    tag: image.tag,
                    digest: image.digest,
                    only: None,
                    is_layout: false,
                    archive: None,
                })
            }
            Location::Layout { path, tag } => {
                let layout = Layout::open(&path).await?;
                Self::in_layout(layout, tag, None).await
            }
            Location::Archive { path, tag } => {
                let archive = Archive::unpack(&path).await?;
                Self::in_layout(archive.layout().clone(), tag, Some(archive)).await
            }
        }
    }

    async fn in_layout(
        layout: Layout,
        tag: Option<Tag>,
        archive: Option<Archive>,
    ) -> Result<Self, CliError> {
        let tags = layout.tags().await?.unwrap_or_default();
        let only = match (layout.only_image().await?, tags.as_slice()) {
            (Some(_), [tag]) => Some(Reference::Tag(tag.clone())),
            (only, _) => only.map(Reference::Digest),
        };
        Ok(Self { repository: Arc::new(layout), tag, digest: None, only, is_layout: true, archive })
    }

    pub fn is_archive(&self) -> bool {
        self.archive.is_some()
    }
}
