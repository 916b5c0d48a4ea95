//! The one interface to everything that holds images: a repository in a registry, or a layout.
//!
//! All layers above work with any repository on either side and never ask what kind it is: what
//! differs is in its [`Capabilities`] and in methods with defaults. The comments here are the
//! contract, and `tests/it/conformance.rs` checks it against every implementation.

mod error;
mod failure;
mod stall;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::oci::manifest::MAX_MANIFEST_BYTES;
use crate::oci::{Digest, Manifest, Tag};

pub use error::{Cause, Error, ErrorKind, Result, hints};
pub use failure::Failure;
pub use stall::unless_stalled;

/// How a manifest is named within its repository.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reference {
    Tag(Tag),
    Digest(Digest),
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

impl Reference {
    /// `:tag` or `@digest`, to stand behind a repository's name.
    pub fn suffix(&self) -> String {
        match self {
            Self::Tag(tag) => format!(":{tag}"),
            Self::Digest(digest) => format!("@{digest}"),
        }
    }
}

/// What a repository says of a manifest without sending it. A hint: only received bytes prove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    pub digest: Digest,
    pub media_type: Option<String>,
}

/// What was read of a manifest says the same, and proves it.
impl From<&Manifest> for Resolved {
    fn from(manifest: &Manifest) -> Self {
        let media_type = Some(manifest.media_type.clone());
        Self { digest: manifest.digest.clone(), media_type }
    }
}

/// A tag in a repository's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedTag {
    pub tag: Tag,
    /// What the tag points at, where the list says so. A hint that may be out of date: it saves a
    /// look-up of a tag for which nothing is to be done.
    pub digest: Option<Digest>,
}

impl From<Tag> for ListedTag {
    fn from(tag: Tag) -> Self {
        Self { tag, digest: None }
    }
}

/// A blob's bytes from some offset on. They are not verified: the reader hashes them.
pub struct BlobReader {
    /// The first byte that will come. 0 where the server ignored the offset asked for.
    pub offset: u64,
    /// How many bytes the whole blob has, where the place says so.
    pub size: Option<u64>,
    /// Chunks of any size, until the end or the first error.
    pub chunks: BoxStream<'static, Result<Bytes>>,
}

/// What sends a blob's bytes from `offset` to its end. The implementation reads it to the end or
/// drops it; an `Err` means that the upload must not be completed.
pub struct BlobBody {
    /// Exactly what the chunks add up to, in bytes.
    pub length: u64,
    pub chunks: BoxStream<'static, std::result::Result<Bytes, BodyAborted>>,
}

/// The sender of a body gave up, for a reason that it keeps.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the sender gave up")]
pub struct BodyAborted;

/// Uploads of blobs of this size and more, in bytes, are journalled, and left so that they can be
/// resumed. Smaller blobs are sent anew sooner than resumed.
pub const WORTH_RESUMING: u64 = 64 << 20;

/// An upload that was begun and not completed. It can be written to a journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadSession {
    /// Where the next request goes: a URL, or a path of a layout's partial file.
    pub location: String,
    /// How many bytes the target has.
    pub offset: u64,
}

/// The answer to "I want to upload this blob".
#[derive(Debug)]
pub enum UploadStart {
    /// The repository has the blob now: it was mounted, or was there.
    Present,
    /// The bytes are wanted.
    Session(UploadSession),
}

/// What a target made of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// The manifest has a subject and the target lists it as a referrer by itself
    /// (`OCI-Subject`). Otherwise the client maintains the fallback tag.
    pub lists_referrer: bool,
    /// No earlier try failed, which could have left something damaged behind.
    pub at_once: bool,
}

/// Where a manifest is put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// Under its digest, as a part of something else (an index's child, a referrer).
    Part,
    /// Under its digest, as an image of its own.
    Digest,
    /// Under its digest and a tag.
    Tag(Tag),
}

impl Placement {
    /// `:tag`, to stand behind a repository's name; nothing for what has only a digest.
    pub fn suffix(&self) -> String {
        match self {
            Self::Tag(tag) => format!(":{tag}"),
            Self::Digest | Self::Part => String::new(),
        }
    }
}

/// What a repository can do beyond what all repositories can. The default is what may be expected of
/// any registry that follows distribution-spec.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Whether [`Repository::delete`] of a tag leaves the manifest and its other tags alone.
    pub untag: Untag,
    /// [`Repository::untagged`] lists manifests. Together with those that tags lead to, these are
    /// all manifests of the repository, referrers included.
    pub lists_untagged: bool,
    /// [`Repository::pushed_at`] tells when manifests were pushed.
    pub tells_push_times: bool,
    /// [`Repository::collect_garbage`] frees the space of what was deleted.
    pub collects_garbage: bool,
    /// The repository is known to exist: if [`Repository::tags`] gives `None`, it is empty.
    pub exists: bool,
    /// Looking at the repository costs no request, so nobody needs to remember what was seen.
    pub is_local: bool,
}

/// Whether a single tag can be deleted while its manifest stays. The protocol allows it; many
/// registries delete by digest only, or take all tags of the manifest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Untag {
    Yes,
    No,
    /// It must be tried on a manifest that nobody needs. Plans assume that it works, so they never
    /// show less than what is deleted.
    #[default]
    Unknown,
}

/// What a request does to the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    Read,
    Write,
}

/// What a collection of garbage removed, or would remove.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Garbage {
    pub blobs: u64,
    /// The size of the files. Where repositories share a blob by a hard link, no space is freed
    /// until all of them have removed it.
    pub bytes: u64,
    /// Files that nothing needs, and that are too young to be removed.
    pub young: u64,
    /// Files among the blobs whose names are no digests. They stay.
    pub foreign: u64,
}

/// One repository.
///
/// Implementations retry what is transient by themselves; an error that comes out is final for
/// this run. All methods are idempotent except where they say otherwise.
#[async_trait]
pub trait Repository: fmt::Debug + Send + Sync {
    /// For people: `ghcr.io/acme/app`, `oci:/srv/layout`.
    fn name(&self) -> &str;

    /// Blobs can be mounted between repositories of one store, which are those with an equal
    /// text here: a registry's host, or the folder of a set of layouts.
    fn store(&self) -> &str;

    /// The repository's own name within its store.
    fn path(&self) -> &str;

    /// Every tag, in no particular order; an error where the list may lack one, because deletions
    /// follow from what is not in it. `None`: there is no such repository, or it is
    /// empty (a registry need not tell one from the other).
    async fn tags(&self) -> Result<Option<Vec<Tag>>>;

    /// The tags by the way in which the repository tells most of each. Nothing may be deleted by what
    /// is not in it: other than that of [`Repository::tags`], the list may be behind.
    async fn listed_tags(&self) -> Result<Option<Vec<ListedTag>>> {
        Ok(self.tags().await?.map(|tags| tags.into_iter().map(ListedTag::from).collect()))
    }

    /// The digest that a reference has now, without transferring the manifest where that can
    /// be had. `None`: it is not there.
    async fn resolve(&self, reference: &Reference) -> Result<Option<Resolved>>;

    /// Something that this repository lists was not found by [`Repository::resolve`] and can be read:
    /// what is looked up from now on is read, in all repositories of the store.
    fn look_up_by_reading(&self) {}

    /// A manifest, its bytes verified against the digest asked for. `None`: it is not there. If it has
    /// more than `limit` bytes, the rest is not read.
    ///
    /// # Errors
    /// [`Cause::LargerThan`] if it has more bytes.
    async fn manifest_within(
        &self,
        reference: &Reference,
        limit: usize,
    ) -> Result<Option<Manifest>>;

    /// A manifest of any size that is allowed.
    async fn manifest(&self, reference: &Reference) -> Result<Option<Manifest>> {
        self.manifest_within(reference, MAX_MANIFEST_BYTES).await
    }

    /// A blob's size in bytes. `None`: it is not there.
    async fn blob_size(&self, digest: &Digest) -> Result<Option<u64>>;

    /// Opens a blob at `offset`, which is smaller than its size, or 0. Not there is an error.
    async fn blob(&self, digest: &Digest, offset: u64) -> Result<BlobReader>;

    /// Asks to upload a blob, mounting it from repository `from` of the same store if possible.
    /// Not idempotent: every `Session` should be completed or cancelled.
    async fn start_upload(&self, digest: &Digest, from: Option<&str>) -> Result<UploadStart>;

    /// Sends the rest of a blob and commits it. `body` starts at `session.offset`.
    /// Never retried here, because the body can be read once.
    async fn finish_upload(
        &self,
        session: &UploadSession,
        digest: &Digest,
        body: BlobBody,
    ) -> Result<()>;

    /// Where an upload stands, to go on with it. `None`: the session is gone.
    async fn upload_status(&self, session: &UploadSession) -> Result<Option<UploadSession>>;

    /// Gives an upload up. Best effort: targets drop abandoned uploads by themselves.
    async fn cancel_upload(&self, session: &UploadSession);

    /// Stores a manifest's raw bytes.
    async fn put_manifest(&self, placement: &Placement, manifest: &Manifest) -> Result<Stored>;

    /// The referrers of a manifest, complete. `None`: this repository has no referrers API, so
    /// the fallback tag is where they are listed.
    async fn referrers(&self, subject: &Digest) -> Result<Option<Vec<Digest>>>;

    /// Deletes a tag, or a manifest with all its tags. `false`: it was not there.
    ///
    /// [`Capabilities::untag`] says what deleting a tag does to its manifest.
    ///
    /// A deletion is repeated only if the first attempt was surely not carried out, and only within
    /// seconds, because the name may soon belong to something else. After an error that is not the
    /// registry's answer, it may have been carried out.
    async fn delete(&self, reference: &Reference) -> Result<bool>;

    /// What this repository can do. Answered without asking it, and always the same.
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    /// Whether requests of this kind wait for the repository, or for others of the same store, and
    /// none of them has made progress for a while: it asked for a pause, or does not answer.
    fn has_stalled(&self, _traffic: Traffic) -> bool {
        false
    }

    /// The manifests that are listed without a tag, each at least once; some of them may have tags
    /// as well, and some may be missing. Empty unless [`Capabilities::lists_untagged`].
    ///
    /// # Errors
    /// The list cannot be read, or has an entry that is not understood: nobody can tell what such
    /// an entry needs, so nothing may be deleted.
    async fn untagged(&self) -> Result<Vec<Digest>> {
        Ok(Vec::new())
    }

    /// When a manifest was pushed last, if the repository tells. Asked for each manifest of the
    /// repository, so an implementation must answer most of these questions without a request.
    async fn pushed_at(&self, _digest: &Digest) -> Result<Option<Timestamp>> {
        Ok(None)
    }

    /// Whether everything that a manifest of this repository needs is there, as far as that can be
    /// told without a request. What is damaged is not there.
    async fn is_complete(&self, _digest: &Digest) -> Result<bool> {
        Ok(true)
    }

    /// Removes the blobs that no image of the repository needs and that nobody has written or
    /// counted on since `now` minus `older_than`. `dry_run` only counts them. Does nothing unless
    /// [`Capabilities::collects_garbage`].
    async fn collect_garbage(
        &self,
        _now: Timestamp,
        _older_than: Duration,
        _dry_run: bool,
    ) -> Result<Garbage> {
        Ok(Garbage::default())
    }

    /// What people must still do at the registry after deletions, before their space is free. The
    /// same text for all repositories of one registry. `None`: nothing.
    fn follow_up(&self) -> Option<String> {
        None
    }

    /// The image that is meant where neither a tag nor a digest is named: `latest` in a registry, the
    /// only image of a layout (by its tag if it has exactly one).
    ///
    /// # Errors
    /// There is no such image, or more than one.
    async fn default_image(&self) -> Result<Reference> {
        Ok(Reference::Tag(Tag::latest()))
    }
}

/// The verified bytes of a blob that is no larger than a manifest may be: a configuration.
///
/// # Errors
/// As [`Repository::blob`], and if it is larger or its bytes have another digest.
pub async fn read_small_blob(repository: &dyn Repository, digest: &Digest) -> Result<Vec<u8>> {
    let fail = |cause| {
        let suffix = Reference::Digest(digest.clone()).suffix();
        Error::new("read blob", format!("{}{suffix}", repository.name()), cause)
    };
    let mut chunks = repository.blob(digest, 0).await?.chunks;
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.next().await {
        bytes.extend_from_slice(&chunk?);
        if bytes.len() > MAX_MANIFEST_BYTES {
            let message = format!("it has more than {MAX_MANIFEST_BYTES} bytes");
            return Err(fail(Cause::Protocol(message)));
        }
    }
    if !digest.matches(&bytes) {
        return Err(fail(Cause::Corrupt("its bytes have another digest".to_owned())));
    }
    Ok(bytes)
}

/// That an image is not there, and whether even its repository is not.
pub async fn missing(
    step: &'static str,
    repository: &dyn Repository,
    reference: &Reference,
) -> Error {
    let cause = match (repository.tags().await, reference) {
        (Ok(None), _) => Cause::NoRepository,
        // Listed, and not served.
        (Ok(Some(tags)), Reference::Tag(tag)) if tags.contains(tag) => Cause::Missing,
        (Ok(Some(_)), Reference::Tag(_)) => Cause::NoTag,
        (Ok(Some(_)), Reference::Digest(_)) => Cause::NoManifest,
        // Who may not list it is not told more.
        (Err(_), _) => Cause::NoImage,
    };
    Error::new(step, format!("{}{}", repository.name(), reference.suffix()), cause)
}
