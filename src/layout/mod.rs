//! OCI image layouts on disk (image-spec image-layout.md), behind the `Repository` interface.
//!
//! - `Layout`: one folder, one repository.
//! - `Layouts`: a folder tree, in which every layout is a repository named by its path.
//! - `archive`: a layout in a tar file.
//!
//! Several tasks and processes can use a layout at once. Whatever is killed whenever, a blob is
//! either there with its whole verified content or not at all, and `index.json` is complete. What
//! no listed image needs stays until it is collected (`garbage`).

pub mod archive;
mod dropped;
mod files;
mod fresh;
mod garbage;
mod index;
mod listed;
mod listing;
mod referrers;
mod repository;
mod root;
#[cfg(test)]
mod tests;
mod upload;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use serde::Deserialize;

use crate::oci::manifest::MAX_MANIFEST_BYTES;
use crate::oci::{Digest, Manifest, derived};
use crate::repository::{BlobReader, Cause, Error, Reference, Result};

pub use garbage::Garbage;
pub use listed::Listed;
pub use root::Layouts;
pub(crate) use upload::Upload;
pub use upload::{UploadError, UploadId};

use listing::Listing;
use referrers::Subjects;
use upload::Uploads;

/// One layout. Clones share what they know.
#[derive(Debug, Clone)]
pub struct Layout(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    name: String,
    store: String,
    path: String,
    /// The folder under which the other repositories of the store are, for a layout of a tree.
    tree: Option<PathBuf>,
    listing: Arc<Listing>,
    uploads: Uploads,
    subjects: Arc<Subjects>,
}

impl Layout {
    /// Opens a layout that is there.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self> {
        let name = format!("oci:{}", path.as_ref().display());
        Self::open_as(path.as_ref(), name).await
    }

    /// Opens a layout, after having made one where none is.
    pub async fn open_or_create(path: impl AsRef<Path>) -> Result<Self> {
        let folder = path.as_ref().to_owned();
        let created = files::blocking(move || listing::create(&folder)).await;
        let name = format!("oci:{}", path.as_ref().display());
        created.map_err(|error| failed("create layout", &name, error))?;
        Self::open_as(path.as_ref(), name).await
    }

    /// Opens a layout that is shown to people under another name.
    async fn open_as(path: &Path, name: String) -> Result<Self> {
        let folder = open_folder(path, &name).await?;
        let store = folder.to_string_lossy().into_owned();
        let path = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self::new(folder, name, store, path, None))
    }

    fn new(
        folder: PathBuf,
        name: String,
        store: String,
        path: String,
        tree: Option<PathBuf>,
    ) -> Self {
        let listing = Arc::new(Listing::new(folder.clone()));
        let (uploads, subjects) = Default::default();
        Self(Arc::new(Inner { folder, name, store, path, tree, listing, uploads, subjects }))
    }

    /// The canonical path of the layout's folder.
    pub fn folder(&self) -> &Path {
        &self.0.folder
    }

    /// The digest of the layout's image, if it has exactly one, tagged or not: what `oci:DIR`
    /// without a tag means. What refers to another image is none of its own.
    pub async fn only_image(&self) -> Result<Option<Digest>> {
        let index = self.index("list images of").await?;
        if let [entry] = index.entries() {
            return Ok(entry.digest.clone());
        }
        let mut only = None;
        for entry in index.entries() {
            let Some(digest) = &entry.digest else { continue };
            if only.as_ref() == Some(digest) || self.follows(entry).await? {
                continue;
            }
            if only.replace(digest.clone()).is_some() {
                return Ok(None);
            }
        }
        Ok(only)
    }

    /// Whether an entry belongs to another image, by its tag or by its subject.
    async fn follows(&self, entry: &index::Entry) -> Result<bool> {
        if let Some(tag) = entry.tag() {
            return Ok(derived::parse(tag).is_some());
        }
        let Some(digest) = &entry.digest else { return Ok(false) };
        match self.read_manifest(digest, entry.media_type.as_deref()).await {
            Ok(manifest) => Ok(manifest.is_some_and(|manifest| manifest.subject.is_some())),
            // Something else than a manifest refers to nothing.
            Err(error) if matches!(error.cause(), Cause::Manifest(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Begins an upload, whose bytes go to `upload`.
    pub(crate) async fn begin_upload(&self) -> Result<UploadId> {
        let begun = self.0.uploads.begin(&self.0.folder).await;
        begun.map_err(|error| failed("begin upload to", &self.0.name, error))
    }

    /// Takes up an upload that was begun, also by an earlier process.
    pub(crate) async fn upload(&self, id: &UploadId) -> std::result::Result<Upload, UploadError> {
        self.0.uploads.open(&self.0.folder, id).await
    }

    /// Verifies an upload and makes a blob of it.
    pub(crate) async fn commit_upload(
        &self,
        id: &UploadId,
        upload: Upload,
        digest: &Digest,
    ) -> std::result::Result<(), UploadError> {
        let result = upload.commit(digest).await;
        self.0.uploads.forget(id);
        result
    }

    /// Removes what an upload left.
    pub(crate) async fn discard_upload(
        &self,
        id: &UploadId,
        upload: Upload,
    ) -> std::result::Result<(), UploadError> {
        let result = upload.discard().await;
        self.0.uploads.forget(id);
        result
    }

    /// Opens `length` bytes of a blob at `offset`; all that follow where `length` is `None`.
    pub(crate) async fn blob_range(
        &self,
        digest: &Digest,
        offset: u64,
        length: Option<u64>,
    ) -> Result<BlobReader> {
        let subject = || self.at(&Reference::Digest(digest.clone()));
        let path = files::blob(&self.0.folder, digest);
        let opened = files::blocking(move || {
            let file = files::found(std::fs::File::open(&path)).map_err(files::at(&path))?;
            let Some(file) = file else { return Ok(None) };
            let metadata = file.metadata().map_err(files::at(&path))?;
            Ok(metadata.is_file().then_some((file, metadata.len())))
        })
        .await
        .map_err(|error| failed("open blob", subject(), error))?;
        let Some((file, size)) = opened else {
            return Err(Error::new("open blob", subject(), Cause::Missing));
        };
        if offset > size {
            let cause = Cause::Protocol(format!("it has {size} bytes, none at {offset}"));
            return Err(Error::new("open blob", subject(), cause));
        }
        let length = length.unwrap_or(u64::MAX).min(size - offset);
        let subject = subject();
        let chunks = files::chunks(file, offset, length)
            .map(move |chunk| chunk.map_err(|error| failed("read blob", &subject, error)));
        Ok(BlobReader { offset, chunks: chunks.boxed() })
    }

    async fn index(&self, step: &'static str) -> Result<Arc<index::Index>> {
        self.0.listing.read().await.map_err(|error| failed(step, &self.0.name, error))
    }

    async fn has_blob(&self, digest: &Digest) -> io::Result<Option<u64>> {
        let path = files::blob(&self.0.folder, digest);
        files::blocking(move || files::size(&path)).await
    }

    /// A manifest by its digest, read and verified. `media_type` is its descriptor's.
    async fn read_manifest(
        &self,
        digest: &Digest,
        media_type: Option<&str>,
    ) -> Result<Option<Manifest>> {
        let fail =
            |cause| Error::new("read manifest", self.at(&Reference::Digest(digest.clone())), cause);
        let path = files::blob(&self.0.folder, digest);
        let raw = files::blocking(move || files::read(&path, MAX_MANIFEST_BYTES as u64)).await;
        let Some(raw) = raw.map_err(|error| fail(Cause::Io(error.to_string())))? else {
            return Ok(None);
        };
        let manifest = Manifest::parse(Bytes::from(raw), media_type, Some(digest));
        manifest.map(Some).map_err(|error| fail(error.into()))
    }

    /// For error messages: the repository and what in it.
    fn at(&self, reference: &Reference) -> String {
        format!("{}{}", self.0.name, reference.suffix())
    }
}

/// The canonical path of a folder that is a layout.
async fn open_folder(path: &Path, name: &str) -> Result<PathBuf> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Marker {
        image_layout_version: String,
    }
    let folder = path.to_owned();
    let opened = files::blocking(move || {
        let marker = files::read(&folder.join(files::MARKER), 1 << 16)?;
        marker.map(|marker| Ok((folder.canonicalize()?, marker))).transpose()
    });
    let opened = opened.await.map_err(|error| failed("open layout", name, error))?;
    let refuse = |why: &str| Err(Error::new("open layout", name, Cause::Unsupported(why.into())));
    let Some((folder, marker)) = opened else {
        return refuse("it has no `oci-layout` file, so it is not an OCI image layout");
    };
    match serde_json::from_slice::<Marker>(&marker) {
        Ok(marker) if marker.image_layout_version.starts_with("1.") => Ok(folder),
        Ok(_) => refuse("its `oci-layout` file has a version other than 1"),
        Err(_) => refuse("its `oci-layout` file is not valid"),
    }
}

fn failed(step: &'static str, subject: impl Into<String>, error: io::Error) -> Error {
    Error::new(step, subject, Cause::Io(error.to_string()))
}
