//! Opens addresses: a registry's repository, a layout or an archive becomes a [`Repository`], in
//! one way for every part of the program. Where no image is named, it finds the one that is meant.

use std::path::Path;
use std::sync::Arc;

use crate::fair::Flow;
use crate::layout::archive::Archive;
use crate::layout::{Layout, Layouts, MARKER};
use crate::oci::address::repository_of;
use crate::oci::{Address, Digest, ImageAddress, RepositoryName, Store, Tag};
use crate::registry::Registries;
use crate::repository::{Cause, Error, Reference, Repository, Result};

/// What an address is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Images are read, or deleted. What is on disk must be there.
    Read,
    /// It is looked at as [`Access::Write`] would find it, and nothing is changed. What is on disk and
    /// not there is empty.
    Preview,
    /// Images are added or replaced. What is on disk is made where there is none. An archive is
    /// unpacked, and written anew by [`OpenRepository::finish`].
    Write,
    /// The same, but an archive begins empty and replaces the one that is there.
    Create,
}

impl Access {
    fn writes(self) -> bool {
        matches!(self, Self::Write | Self::Create)
    }
}

/// Everything that can be opened: the registries of a configuration, and whatever is on disk.
#[derive(Clone)]
pub struct Stores {
    registries: Arc<Registries>,
}

/// An open repository. What an archive holds is readable as long as this lives.
pub struct OpenRepository {
    repository: Arc<dyn Repository>,
    /// What the repository is in, if it is an archive, or stands for something that does not exist.
    archive: Option<Archive>,
    /// What the repository is, if it is on disk.
    layout: Option<Layout>,
}

/// An open repository, and what the reference to it named.
pub struct OpenImage {
    opened: OpenRepository,
    address: ImageAddress,
}

/// One image of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    pub reference: Reference,
    /// Its name, where it has one.
    pub tag: Option<Tag>,
}

impl Stores {
    pub fn new(registries: Arc<Registries>) -> Self {
        Self { registries }
    }

    pub fn registries(&self) -> &Arc<Registries> {
        &self.registries
    }

    /// Opens a repository. Nothing is sent to a registry yet; an archive that is read is unpacked.
    ///
    /// `flow`: whose turns its requests take.
    pub async fn open(
        &self,
        address: &Address,
        flow: Flow,
        access: Access,
    ) -> Result<OpenRepository> {
        match address {
            Address::Registry(host, name) => {
                // Where many are opened, each of them is named.
                let named =
                    |error: Error| Error::new("open", address.to_string(), error.cause().clone());
                let registry = self.registries.open(host).map_err(named)?;
                let repository = registry.repository(flow, name.clone(), access.writes());
                Ok(OpenRepository { repository, archive: None, layout: None })
            }
            Address::Layout(folder) => open_layout(folder, access).await,
            Address::LayoutIn(folder, name) if access.writes() => {
                let layouts = Layouts::open_or_create(folder).await?;
                Ok(OpenRepository::of(layouts.get_or_create(name).await?))
            }
            // As where it is written: the state knows repositories by their names.
            Address::LayoutIn(folder, name) => {
                let folder = tokio::fs::canonicalize(folder).await.unwrap_or(folder.clone());
                let path = folder.join(name.as_str());
                if access == Access::Preview && !exists(&path).await {
                    return stand_in(&path).await;
                }
                Ok(OpenRepository::of(Layout::open_below(&folder, name).await?))
            }
            Address::Archive(file) => open_archive(file, access).await,
        }
    }

    /// The names of all repositories that a store holds at or below these paths, and maybe of others,
    /// in no order. The empty path is above all. For a store that holds one, this is the name of its
    /// file or folder.
    pub async fn repositories(
        &self,
        store: &Store,
        below: &[&str],
        flow: Flow,
    ) -> Result<Vec<RepositoryName>> {
        match store {
            Store::Registry(host) => self.registries.open(host)?.repositories(below, flow).await,
            Store::Folder(folder) => Layouts::below(folder).await,
            Store::Layout(path) | Store::Archive(path) => Ok(vec![repository_of(path)]),
        }
    }

    /// Opens the repository of an image that a person named. An image of a layout or archive on disk may
    /// be named in full: `oci:DIR:docker.io/library/alpine:3.22`.
    pub async fn open_image(
        &self,
        address: &ImageAddress,
        flow: Flow,
        access: Access,
    ) -> Result<OpenImage> {
        if let Some((repository, name)) = in_full(address).await {
            if access != Access::Read {
                let message = "in a layout, an image is written by its tag alone, without the rest of \
                               its name";
                let cause = Cause::Unsupported(message.to_owned());
                return Err(Error::new("write", address.to_string(), cause));
            }
            let opened = self.open(&repository, flow, access).await?;
            let digest = match &opened.layout {
                Some(layout) => Some(layout.named(&name).await?),
                None => None,
            };
            let address = ImageAddress { repository, tag: address.tag.clone(), digest };
            return Ok(OpenImage { opened, address });
        }
        let opened = self.open(&address.repository, flow, access).await?;
        Ok(OpenImage { opened, address: address.clone() })
    }
}

impl OpenRepository {
    fn of(layout: Layout) -> Self {
        Self { repository: Arc::new(layout.clone()), archive: None, layout: Some(layout) }
    }

    fn in_archive(archive: Archive) -> Self {
        let layout = archive.layout().clone();
        Self { archive: Some(archive), ..Self::of(layout) }
    }

    pub fn repository(&self) -> &Arc<dyn Repository> {
        &self.repository
    }

    /// Everything is written. An archive gets its name now, and not before; one that is dropped
    /// without this leaves nothing.
    pub async fn finish(self) -> Result<()> {
        match self.archive {
            Some(archive) => archive.finish().await,
            None => Ok(()),
        }
    }
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
        let ImageAddress { tag, digest, .. } = &self.address;
        let reference = match (digest, tag) {
            (Some(digest), _) => Reference::Digest(digest.clone()),
            (None, Some(tag)) => Reference::Tag(tag.clone()),
            (None, None) => self.repository().default_image().await?,
        };
        let tag = match &reference {
            Reference::Tag(tag) => Some(tag.clone()),
            Reference::Digest(_) => tag.clone(),
        };
        Ok(Image { reference, tag })
    }

    /// See [`OpenRepository::finish`].
    pub async fn finish(self) -> Result<()> {
        self.opened.finish().await
    }
}

async fn open_layout(folder: &Path, access: Access) -> Result<OpenRepository> {
    let layout = match access {
        Access::Write | Access::Create => Layout::open_or_create(folder).await?,
        Access::Preview if !exists(folder).await => return stand_in(folder).await,
        Access::Read | Access::Preview => Layout::open(folder).await?,
    };
    Ok(OpenRepository::of(layout))
}

/// A repository without images that stands for a layout that does not exist.
async fn stand_in(folder: &Path) -> Result<OpenRepository> {
    let name = Address::Layout(folder.to_owned()).to_string();
    Ok(OpenRepository::in_archive(Archive::empty(name).await?))
}

async fn open_archive(file: &Path, access: Access) -> Result<OpenRepository> {
    let archive = match access {
        Access::Preview if !exists(file).await => {
            Archive::empty(Address::Archive(file.to_owned()).to_string()).await?
        }
        Access::Read | Access::Preview => Archive::unpack(file).await?,
        Access::Write => Archive::update(file).await?,
        Access::Create => Archive::begin(file).await?,
    };
    Ok(OpenRepository::in_archive(archive))
}

/// The layout or archive, and the full name of the image in it, if nothing has the path as it stands.
async fn in_full(address: &ImageAddress) -> Option<(Address, String)> {
    if exists(&address.repository.path()?).await {
        return None;
    }
    for (repository, name) in address.with_full_names() {
        let path = repository.path()?;
        let is_there = match repository {
            Address::Archive(_) => tokio::fs::metadata(path).await.is_ok_and(|it| it.is_file()),
            _ => tokio::fs::metadata(path.join(MARKER)).await.is_ok(),
        };
        if is_there {
            return Some((repository, name));
        }
    }
    None
}

/// Whether something has this path; also where that cannot be told, so that opening it says why.
async fn exists(path: &Path) -> bool {
    tokio::fs::try_exists(path).await.unwrap_or(true)
}
