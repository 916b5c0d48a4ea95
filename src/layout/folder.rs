//! One folder that is a layout: opened, and read. `repository` has the rest of the interface.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use serde::Deserialize;

use super::index::Index;
use super::listing::{self, Listing};
use super::referrers::Subjects;
use super::upload::{Upload, UploadError, UploadId, Uploads};
use super::{checked, files, no_links};
use crate::oci::manifest::MAX_MANIFEST_BYTES;
use crate::oci::{Digest, Manifest, RepositoryName};
use crate::repository::{BlobReader, Cause, Error, Reference, Result};

/// One layout. Clones share what they know.
#[derive(Debug, Clone)]
pub struct Layout(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub folder: PathBuf,
    pub name: String,
    pub store: String,
    pub path: String,
    /// The folder under which the other repositories of the store are, for a layout of a tree.
    pub tree: Option<PathBuf>,
    pub listing: Arc<Listing>,
    pub uploads: Uploads,
    pub subjects: Subjects,
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
        let name = format!("oci:{}", path.as_ref().display());
        let create = move || {
            fs::create_dir_all(&folder).map_err(files::at(&folder))?;
            listing::create(&folder.canonicalize().map_err(files::at(&folder))?)
        };
        attempt("create layout", &name, create).await?;
        Self::open_as(path.as_ref(), name).await
    }

    /// Opens a layout of a tree. No link is followed from the tree's folder on.
    pub async fn open_below(tree: &Path, name: &RepositoryName) -> Result<Self> {
        let shown = format!("oci:{}", tree.join(name.as_str()).display());
        let tree = canonical(tree, &shown).await?;
        Self::open_at(tree.join(name.as_str()), shown).await
    }

    /// Opens a layout that is shown to people under another name.
    pub(super) async fn open_as(path: &Path, name: String) -> Result<Self> {
        let folder = canonical(path, &name).await?;
        Self::open_at(folder, name).await
    }

    async fn open_at(folder: PathBuf, name: String) -> Result<Self> {
        check_folder(&folder, &name).await?;
        let store = folder.to_string_lossy().into_owned();
        let path = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self::new(folder, name, store, path, None))
    }

    pub(super) fn new(
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
        let subject = self.at_digest(digest);
        let (path, wanted) = (files::blob(&self.0.folder, digest), digest.clone());
        let opened = attempt("open blob", &subject, move || {
            let file = files::found(no_links::open(&path)).map_err(files::at(&path))?;
            let Some(file) = file else { return Ok(None) };
            let metadata = file.metadata().map_err(files::at(&path))?;
            let is_damaged = checked::known(&metadata, &wanted) == Some(false);
            Ok((!is_damaged).then_some((file, metadata.len())))
        });
        let Some((file, size)) = opened.await? else {
            return Err(Error::new("open blob", subject, Cause::Missing));
        };
        if offset > size {
            let cause = Cause::Protocol(format!("it has {size} bytes, none at {offset}"));
            return Err(Error::new("open blob", subject, cause));
        }
        let length = length.unwrap_or(u64::MAX).min(size - offset);
        let chunks = files::chunks(file, offset, length)
            .map(move |chunk| chunk.map_err(|error| failed("read blob", &subject, error)));
        Ok(BlobReader { offset, size: Some(size), chunks: chunks.boxed() })
    }

    pub(super) async fn index(&self, step: &'static str) -> Result<Arc<Index>> {
        self.0.listing.read().await.map_err(|error| failed(step, &self.0.name, error))
    }

    /// A manifest by its digest, read and verified. `media_type` is its descriptor's.
    pub(super) async fn read_manifest(
        &self,
        digest: &Digest,
        media_type: Option<&str>,
    ) -> Result<Option<Manifest>> {
        let (step, subject) = ("read manifest", self.at_digest(digest));
        let path = files::blob(&self.0.folder, digest);
        let read = move || files::read(&path, MAX_MANIFEST_BYTES as u64);
        let Some(raw) = attempt(step, &subject, read).await? else { return Ok(None) };
        let manifest = Manifest::parse(Bytes::from(raw), media_type, Some(digest));
        manifest.map(Some).map_err(|error| Error::new(step, subject, error.into()))
    }

    /// For error messages: the repository and what in it.
    pub(super) fn at(&self, reference: &Reference) -> String {
        format!("{}{}", self.0.name, reference.suffix())
    }

    /// The same for a manifest or a blob.
    pub(super) fn at_digest(&self, digest: &Digest) -> String {
        format!("{}@{digest}", self.0.name)
    }
}

/// The canonical path of a folder that is there.
async fn canonical(path: &Path, name: &str) -> Result<PathBuf> {
    let path = path.to_owned();
    let found = attempt("open layout", name, move || files::found(path.canonicalize()));
    found.await?.ok_or_else(|| no_layout(name))
}

/// Checks that a folder is a layout.
pub(super) async fn check_folder(folder: &Path, name: &str) -> Result<()> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Marker {
        image_layout_version: String,
    }
    let marker = folder.join(files::MARKER);
    let read = attempt("open layout", name, move || files::read(&marker, 1 << 16));
    let Some(marker) = read.await? else { return Err(no_layout(name)) };
    match serde_json::from_slice::<Marker>(&marker) {
        Ok(marker) if marker.image_layout_version.starts_with("1.") => Ok(()),
        Ok(_) => Err(refusal(name, "its `oci-layout` file has a version other than 1")),
        Err(_) => Err(refusal(name, "its `oci-layout` file is not valid")),
    }
}

fn no_layout(name: &str) -> Error {
    refusal(name, "it has no `oci-layout` file, so it is not an OCI image layout")
}

fn refusal(name: &str, why: &str) -> Error {
    Error::new("open layout", name, Cause::Unsupported(why.to_owned()))
}

/// Runs file operations where they do not block the runtime. `step` and `subject` are for the error.
pub(super) async fn attempt<T: Send + 'static>(
    step: &'static str,
    subject: impl Into<String>,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T> {
    files::blocking(work).await.map_err(|error| failed(step, subject, error))
}

pub(super) fn failed(step: &'static str, subject: impl Into<String>, error: io::Error) -> Error {
    Error::new(step, subject, Cause::Io(error.to_string()))
}
