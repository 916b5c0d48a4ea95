//! Opens addresses: a registry's repository, a layout or an archive becomes a [`Repository`], in
//! one way for every part of the program.
//!
//! `image`: which image of a repository is meant where none is named.

mod image;

use std::sync::Arc;

use crate::fair::Flow;
use crate::layout::archive::{Archive, NewArchive};
use crate::layout::{Layout, Layouts};
use crate::oci::{Address, ImageAddress};
use crate::registry::Registries;
use crate::repository::{Repository, Result};

pub use image::{Image, OpenImage};

/// What an address is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Images are read, or deleted. What is on disk must be there.
    Read,
    /// Images are written. What is on disk is made where there is none; an archive is replaced as a
    /// whole by [`OpenRepository::finish`].
    Write,
}

/// Everything that can be opened: the registries of a configuration, and whatever is on disk.
#[derive(Clone)]
pub struct Stores {
    registries: Arc<Registries>,
}

/// An open repository. What an archive holds is readable as long as this lives.
pub struct OpenRepository {
    repository: Arc<dyn Repository>,
    archive: ArchiveUse,
}

enum ArchiveUse {
    None,
    Read { _unpacked: Archive },
    Written(NewArchive),
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
        let writes = access == Access::Write;
        match address {
            Address::Registry(host, name) => {
                let registry = self.registries.open(host)?;
                Ok(OpenRepository {
                    repository: registry.repository_in(flow, name.clone(), writes),
                    archive: ArchiveUse::None,
                })
            }
            Address::Layout(folder) if writes => {
                Ok(OpenRepository::on_disk(Layout::open_or_create(folder).await?, ArchiveUse::None))
            }
            Address::Layout(folder) => {
                Ok(OpenRepository::on_disk(Layout::open(folder).await?, ArchiveUse::None))
            }
            Address::LayoutIn(folder, name) if writes => {
                let layouts = Layouts::open_or_create(folder).await?;
                let layout = layouts.get_or_create(name).await?;
                Ok(OpenRepository::on_disk(layout, ArchiveUse::None))
            }
            Address::LayoutIn(folder, name) => {
                let layout = Layout::open(folder.join(name.as_str())).await?;
                Ok(OpenRepository::on_disk(layout, ArchiveUse::None))
            }
            Address::Archive(file) if writes => {
                let archive = NewArchive::begin(file).await?;
                let layout = archive.layout().clone();
                Ok(OpenRepository::on_disk(layout, ArchiveUse::Written(archive)))
            }
            Address::Archive(file) => {
                let archive = Archive::unpack(file).await?;
                let layout = archive.layout().clone();
                Ok(OpenRepository::on_disk(layout, ArchiveUse::Read { _unpacked: archive }))
            }
        }
    }
}

impl Stores {
    /// Opens the repository of an image that a person named.
    pub async fn open_image(
        &self,
        address: &ImageAddress,
        flow: Flow,
        access: Access,
    ) -> Result<OpenImage> {
        let opened = self.open(&address.repository, flow, access).await?;
        Ok(OpenImage { opened, address: address.clone() })
    }
}

impl OpenRepository {
    fn on_disk(layout: Layout, archive: ArchiveUse) -> Self {
        Self { repository: Arc::new(layout), archive }
    }

    pub fn repository(&self) -> &Arc<dyn Repository> {
        &self.repository
    }

    /// Everything is written. An archive gets its name now, and not before; one that is dropped
    /// without this leaves nothing.
    pub async fn finish(self) -> Result<()> {
        match self.archive {
            ArchiveUse::Written(archive) => archive.finish().await,
            ArchiveUse::None | ArchiveUse::Read { .. } => Ok(()),
        }
    }
}
