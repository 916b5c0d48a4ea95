//! OCI image layouts on disk (image-spec image-layout.md), behind the `Repository` interface.
//!
//! - [`Layout`] (`folder`, `repository`, `put`): one folder, one repository.
//! - [`Layouts`] (`root`): a folder tree, in which every layout is a repository named by its path.
//! - [`archive`]: a layout in a tar file. `workplace`: where it is unpacked.
//! - `listing`: the file `index.json`, edited safely; `index`: its content. `referrers`: what refers
//!   to what in it. `lock`: who may change what.
//! - `upload`: blobs on their way. `fresh`, `dropped`, `garbage`: what may be removed, and when.
//! - `files`: the paths of a layout, and reading and writing them; `no_links`: so that nothing outside
//!   of the layout is read or written. `checked`: which files have the content of their digest.
//!
//! Several tasks and processes can use a layout at once, and be killed at any moment: a blob is
//! either there with its whole verified content or not at all, and `index.json` is complete. What
//! no listed image needs stays until it is collected (`garbage`).

pub mod archive;
mod checked;
mod dropped;
mod files;
mod folder;
mod fresh;
mod garbage;
mod index;
mod listing;
mod lock;
mod no_links;
mod put;
mod referrers;
mod repository;
mod root;
#[cfg(test)]
mod tests;
mod upload;
mod workplace;

pub(crate) use files::MARKER;
pub use folder::Layout;
pub use root::Layouts;
pub(crate) use upload::Upload;
pub use upload::{UploadError, UploadId};
