//! Where people say that images are, opened: a registry, a layout or an archive as a repository.

use std::sync::Arc;

use crate::layout::Layout;
use crate::layout::archive::{Archive, NewArchive};
use crate::oci::reference::Location;
use crate::oci::selection::TagSelection;
use crate::oci::{Digest, Tag};
use crate::registry::Registries;
use crate::repository::{Cause, Error, Reference, Repository, Result};

/// A place to read from.
pub struct Source {
    repository: Arc<dyn Repository>,
    tag: Option<Tag>,
    digest: Option<Digest>,
    /// What the repository is, if it is on disk.
    layout: Option<Layout>,
    /// Holds the files of an archive for as long as they are read.
    _unpacked: Option<Archive>,
}

/// One image of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    pub reference: Reference,
    /// Its name, where it has one.
    pub tag: Option<Tag>,
}

impl Source {
    /// Opens a place that is there. Nothing is sent to a registry yet; an archive is unpacked.
    pub async fn open(location: &Location, registries: &Registries) -> Result<Self> {
        match location {
            Location::Registry(image) => {
                let registry = registries.open(&image.registry)?;
                Ok(Self {
                    repository: registry.repository(image.repository.clone(), false),
                    tag: image.tag.clone(),
                    digest: image.digest.clone(),
                    layout: None,
                    _unpacked: None,
                })
            }
            Location::Layout { path, tag } => {
                Ok(Self::on_disk(Layout::open(path).await?, tag.clone(), None))
            }
            Location::Archive { path, tag } => {
                let archive = Archive::unpack(path).await?;
                Ok(Self::on_disk(archive.layout().clone(), tag.clone(), Some(archive)))
            }
        }
    }

    fn on_disk(layout: Layout, tag: Option<Tag>, unpacked: Option<Archive>) -> Self {
        Self {
            repository: Arc::new(layout.clone()),
            tag,
            digest: None,
            layout: Some(layout),
            _unpacked: unpacked,
        }
    }

    pub fn repository(&self) -> &Arc<dyn Repository> {
        &self.repository
    }

    /// The tag that was typed.
    pub fn tag(&self) -> Option<&Tag> {
        self.tag.as_ref()
    }

    /// The digest that was typed.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The image that is meant: the one that was named, else `latest` of a registry and the only
    /// one of a layout.
    pub async fn image(&self) -> Result<Image> {
        let tag = self.tag.clone();
        match (&self.digest, tag, &self.layout) {
            (Some(digest), tag, _) => {
                Ok(Image { reference: Reference::Digest(digest.clone()), tag })
            }
            (None, Some(tag), _) => Ok(by_tag(tag)),
            (None, None, Some(layout)) => self.only_image(layout).await,
            (None, None, None) => Ok(by_tag(Tag::latest())),
        }
    }

    async fn only_image(&self, layout: &Layout) -> Result<Image> {
        let tags = self.repository.tags().await?.unwrap_or_default();
        let tags = TagSelection::default().select(tags);
        match (layout.only_image().await?, tags.as_slice()) {
            (Some(_), [tag]) => Ok(by_tag(tag.clone())),
            (Some(digest), _) => Ok(Image { reference: Reference::Digest(digest), tag: None }),
            (None, tags) => {
                let tags: Vec<&str> = tags.iter().map(Tag::as_str).collect();
                let message = match tags[..] {
                    [] => "it has no image, or several without a tag".to_owned(),
                    _ => {
                        format!("it has several images: name one of its tags ({})", tags.join(", "))
                    }
                };
                Err(Error::new("choose an image of", layout.name(), Cause::Unsupported(message)))
            }
        }
    }
}

fn by_tag(tag: Tag) -> Image {
    Image { reference: Reference::Tag(tag.clone()), tag: Some(tag) }
}

/// A place to write to.
pub struct Target {
    repository: Arc<dyn Repository>,
    tag: Option<Tag>,
    archive: Option<NewArchive>,
}

impl Target {
    /// Opens a place, which is made if it is on disk and not there. Nothing is sent to a registry.
    pub async fn open(location: &Location, registries: &Registries) -> Result<Self> {
        match location {
            Location::Registry(image) if image.digest.is_some() => {
                let message = "what is copied decides the digest: name a tag, or nothing";
                let cause = Cause::Unsupported(message.to_owned());
                Err(Error::new("copy to", location.to_string(), cause))
            }
            Location::Registry(image) => {
                let registry = registries.open(&image.registry)?;
                let repository = registry.repository(image.repository.clone(), true);
                Ok(Self { repository, tag: image.tag.clone(), archive: None })
            }
            Location::Layout { path, tag } => {
                let layout = Layout::open_or_create(path).await?;
                Ok(Self { repository: Arc::new(layout), tag: tag.clone(), archive: None })
            }
            Location::Archive { path, tag } => {
                let archive = NewArchive::begin(path).await?;
                let repository = Arc::new(archive.layout().clone());
                Ok(Self { repository, tag: tag.clone(), archive: Some(archive) })
            }
        }
    }

    pub fn repository(&self) -> &Arc<dyn Repository> {
        &self.repository
    }

    /// The tag that was typed.
    pub fn tag(&self) -> Option<&Tag> {
        self.tag.as_ref()
    }

    /// Everything is there. An archive comes into being now, and not before; one that is dropped
    /// instead leaves nothing.
    pub async fn finish(self) -> Result<()> {
        match self.archive {
            Some(archive) => archive.finish().await,
            None => Ok(()),
        }
    }
}
