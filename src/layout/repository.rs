//! The `Repository` interface of a layout.

use std::path::Path;

use async_trait::async_trait;

use super::fresh::{self, Hold, hold};
use super::listing::{Done, Edit, Untagged};
use super::{Layout, UploadError, UploadId, failed, files};
use crate::oci::manifest::MAX_MANIFEST_BYTES;
use crate::oci::{Descriptor, Digest, Manifest, RepositoryName, Tag};
use crate::repository::{
    BlobBody, BlobReader, Cause, Error, Placement, Reference, Repository, Resolved, Result, Stored,
    UploadSession, UploadStart,
};

/// What stands before the name of an upload in its location.
const LOCATION: &str = ".tranship/uploads/";

#[async_trait]
impl Repository for Layout {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn store(&self) -> &str {
        &self.0.store
    }

    fn path(&self) -> &str {
        &self.0.path
    }

    async fn tags(&self) -> Result<Option<Vec<Tag>>> {
        let index = self.index("list tags of").await?;
        let tags = index.tags().into_iter().cloned().collect();
        Ok((!index.entries().is_empty()).then_some(tags))
    }

    async fn resolve(&self, reference: &Reference) -> Result<Option<Resolved>> {
        let Some((digest, media_type)) = self.look_up(reference).await? else { return Ok(None) };
        let size = self.has_blob(&digest).await;
        let size = size.map_err(|error| failed("resolve", self.at(reference), error))?;
        match size {
            None => Ok(None),
            Some(_) if media_type.is_some() || matches!(reference, Reference::Tag(_)) => {
                Ok(Some(Resolved { digest, media_type }))
            }
            // Not listed: a part of something, or a blob that is no manifest at all.
            Some(size) if size > MAX_MANIFEST_BYTES as u64 => Ok(None),
            Some(_) => match self.read_manifest(&digest, None).await {
                Ok(manifest) => Ok(manifest.map(|manifest| Resolved {
                    digest: manifest.digest,
                    media_type: Some(manifest.media_type),
                })),
                Err(error) if matches!(error.cause(), Cause::Manifest(_)) => Ok(None),
                Err(error) => Err(error),
            },
        }
    }

    async fn manifest(&self, reference: &Reference) -> Result<Option<Manifest>> {
        match self.look_up(reference).await? {
            Some((digest, media_type)) => self.read_manifest(&digest, media_type.as_deref()).await,
            None => Ok(None),
        }
    }

    async fn blob_size(&self, digest: &Digest) -> Result<Option<u64>> {
        let size = self.has_blob(digest).await;
        size.map_err(|error| {
            failed("look for blob", self.at(&Reference::Digest(digest.clone())), error)
        })
    }

    async fn blob(&self, digest: &Digest, offset: u64) -> Result<BlobReader> {
        self.blob_range(digest, offset, None).await
    }

    async fn start_upload(&self, digest: &Digest, from: Option<&str>) -> Result<UploadStart> {
        if self.has_or_mounts(digest, from).await? {
            return Ok(UploadStart::Present);
        }
        let id = self.begin_upload().await?;
        Ok(UploadStart::Session(UploadSession { location: format!("{LOCATION}{id}"), offset: 0 }))
    }

    async fn finish_upload(
        &self,
        session: &UploadSession,
        digest: &Digest,
        body: BlobBody,
    ) -> Result<()> {
        let result = async {
            let id = upload_id(session)?;
            let mut upload = self.upload(&id).await?;
            upload.truncate(session.offset).await?;
            upload.append(body.chunks, Some(body.length)).await?;
            self.commit_upload(&id, upload, digest).await
        };
        result.await.map_err(|error| {
            let subject = self.at(&Reference::Digest(digest.clone()));
            Error::new("upload blob", subject, cause(error))
        })
    }

    async fn upload_status(&self, session: &UploadSession) -> Result<Option<UploadSession>> {
        let status = async {
            let upload = self.upload(&upload_id(session)?).await?;
            Ok(upload.length())
        };
        match status.await {
            Ok(offset) => Ok(Some(UploadSession { location: session.location.clone(), offset })),
            Err(UploadError::Gone) => Ok(None),
            Err(error) => Err(Error::new("ask for upload to", &self.0.name, cause(error))),
        }
    }

    async fn cancel_upload(&self, session: &UploadSession) {
        let cancel = async {
            let id = upload_id(session)?;
            let upload = self.upload(&id).await?;
            self.discard_upload(&id, upload).await
        };
        if let Err(error) = cancel.await {
            tracing::debug!(layout = self.0.name, %error, "an upload was not cancelled");
        }
    }

    async fn put_manifest(&self, placement: &Placement, manifest: &Manifest) -> Result<Stored> {
        let subject = || match placement {
            Placement::Tag(tag) => self.at(&Reference::Tag(tag.clone())),
            _ => self.at(&Reference::Digest(manifest.digest.clone())),
        };
        let fail = |error| failed("put manifest", subject(), error);
        let lacks = |blob: Digest| Error::new("put manifest", subject(), Cause::MissingPart(blob));
        if let Some(blob) = self.store_manifest(manifest).await.map_err(fail)? {
            return Err(lacks(blob));
        }
        let (tag, untagged) = entry(placement, manifest);
        if tag.is_some() || untagged != Untagged::No {
            let edit = Edit::Put { manifest: Box::new(manifest.clone()), tag, untagged };
            if let Done::Lacks(blob) = self.0.listing.edit(edit).await.map_err(fail)? {
                return Err(lacks(blob));
            }
            self.0.subjects.learn(manifest);
        }
        Ok(Stored { lists_referrer: manifest.subject.is_some() })
    }

    async fn referrers(&self, subject: &Digest) -> Result<Option<Vec<Descriptor>>> {
        let index = self.index("list referrers in").await?;
        self.find_referrers(&index, subject).await.map(Some)
    }

    /// The manifest's own blob goes too, because it would be found by its digest otherwise.
    /// The blobs it names stay until garbage is collected. In a layout whose `blobs` is a link, the
    /// manifest's blob stays as well, as other layouts may need it.
    async fn delete(&self, reference: &Reference) -> Result<bool> {
        let edit = match reference {
            Reference::Tag(tag) => Edit::DropTag(tag.clone()),
            Reference::Digest(digest) => {
                let listed = self.index("read index of").await?.by_digest(digest).is_some();
                // A blob that is no manifest is not for this method to remove.
                if !listed && self.resolve(reference).await?.is_none() {
                    return Ok(false);
                }
                Edit::DropDigest(digest.clone())
            }
        };
        let deleted = self.0.listing.edit(edit).await;
        deleted
            .map(|done| done == Done::Dropped)
            .map_err(|error| failed("delete", self.at(reference), error))
    }
}

impl Layout {
    /// The digest that a reference has, and the media type that its entry has. Whether the
    /// manifest itself is there is another question.
    async fn look_up(&self, reference: &Reference) -> Result<Option<(Digest, Option<String>)>> {
        let index = self.index("read index of").await?;
        Ok(match reference {
            Reference::Tag(tag) => index
                .by_tag(tag)
                .and_then(|entry| Some((entry.digest.clone()?, entry.media_type.clone()))),
            Reference::Digest(digest) => {
                let entry = index.by_digest(digest);
                Some((digest.clone(), entry.and_then(|entry| entry.media_type.clone())))
            }
        })
    }

    /// Whether the layout has a blob, if need be by making it this one's from the layout named
    /// `from` of the same tree.
    ///
    /// If so, the caller counts on it, and no collector takes it soon.
    pub(crate) async fn has_or_mounts(&self, digest: &Digest, from: Option<&str>) -> Result<bool> {
        let from = from.and_then(|from| from.parse::<RepositoryName>().ok());
        let source = match (&self.0.tree, from) {
            (Some(tree), Some(from)) => Some(files::blob(&tree.join(from.as_str()), digest)),
            _ => None,
        };
        let (layout, wanted) = (self.0.folder.clone(), digest.clone());
        let has = files::blocking(move || {
            let path = files::blob(&layout, &wanted);
            if files::size(&path)?.is_some() {
                let _held = hold(&layout, Hold::Shared)?;
                if fresh::freshen(&path)?.is_some() {
                    return Ok(true);
                }
            }
            source.map_or(Ok(false), |source| mount(&source, &layout, &wanted))
        });
        has.await.map_err(|error| {
            failed("look for or mount blob", self.at(&Reference::Digest(digest.clone())), error)
        })
    }

    /// Stores a manifest's bytes under its digest, unless a blob that it names is not there, which
    /// is then the answer.
    ///
    /// The manifest appears in the same moment in which its blobs are seen: an index that is
    /// listed without this child must not get one that is not whole.
    async fn store_manifest(&self, manifest: &Manifest) -> std::io::Result<Option<Digest>> {
        let (folder, manifest) = (self.0.folder.clone(), manifest.clone());
        files::blocking(move || {
            let path = files::blob(&folder, &manifest.digest);
            let length = manifest.raw.len() as u64;
            // A damaged file is replaced, which costs reading the others.
            let there = files::size(&path)? == Some(length)
                && files::read(&path, length)?.as_deref() == Some(&manifest.raw[..]);
            if there {
                let _held = hold(&folder, Hold::Shared)?;
                if let Some(lacks) = fresh::missing(&folder, &manifest)? {
                    return Ok(Some(lacks));
                }
                if fresh::freshen(&path)?.is_some() {
                    return Ok(None);
                }
            }
            let uploads = files::uploads(&folder);
            std::fs::create_dir_all(&uploads).map_err(files::at(&uploads))?;
            let new = uploads.join(UploadId::random()?.as_str());
            files::write_new(&new, &manifest.raw)?;
            let _held = hold(&folder, Hold::Shared)?;
            let lacks = fresh::missing(&folder, &manifest)?;
            match &lacks {
                None => files::publish(&new, &path)?,
                Some(_) => drop(files::remove(&new)?),
            }
            Ok(lacks)
        })
        .await
    }
}

/// How a manifest is listed in `index.json`.
fn entry(placement: &Placement, manifest: &Manifest) -> (Option<Tag>, Untagged) {
    let tag = match placement {
        Placement::Tag(tag) => Some(tag.clone()),
        Placement::Digest | Placement::Part => None,
    };
    // A document without a media type of its own has it in its entry alone.
    let own_type = || Manifest::parse(manifest.raw.clone(), None, Some(&manifest.digest));
    let untagged = if manifest.subject.is_some() {
        // The list is where referrers are found, also when a tag of theirs is gone.
        Untagged::Always
    } else if *placement == Placement::Digest
        || tag.is_none() && own_type().is_ok_and(|own| own.media_type != manifest.media_type)
    {
        Untagged::IfUnlisted
    } else {
        Untagged::No
    };
    (tag, untagged)
}

/// Links a blob into a layout, or copies it where the file system cannot link.
fn mount(source: &Path, layout: &Path, digest: &Digest) -> std::io::Result<bool> {
    if files::size(source)?.is_none() {
        return Ok(false);
    }
    let target = files::blob(layout, digest);
    if let Some(folder) = target.parent() {
        std::fs::create_dir_all(folder).map_err(files::at(folder))?;
    }
    {
        // A link is as old as what it links to.
        let _held = hold(layout, Hold::Shared)?;
        match std::fs::hard_link(source, &target) {
            Ok(()) => return Ok(fresh::freshen(&target)?.is_some()),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                return Ok(fresh::freshen(&target)?.is_some());
            }
            Err(_) => {}
        }
    }
    let uploads = files::uploads(layout);
    std::fs::create_dir_all(&uploads).map_err(files::at(&uploads))?;
    let new = uploads.join(UploadId::random()?.as_str());
    if files::found(std::fs::copy(source, &new)).map_err(files::at(&new))?.is_none() {
        // A collector took it from there meanwhile.
        return Ok(false);
    }
    let copy = std::fs::File::open(&new).map_err(files::at(&new))?;
    if super::upload::hash_file(&copy, digest)? != *digest {
        // A damaged blob is not spread: the bytes are asked for instead.
        files::remove(&new)?;
        return Ok(false);
    }
    copy.sync_data().map_err(files::at(&new))?;
    let _held = hold(layout, Hold::Shared)?;
    files::publish(&new, &target)?;
    Ok(true)
}

fn upload_id(session: &UploadSession) -> std::result::Result<UploadId, UploadError> {
    session.location.strip_prefix(LOCATION).ok_or(UploadError::Gone)?.parse()
}

fn cause(error: UploadError) -> Cause {
    match error {
        UploadError::Gone => Cause::Missing,
        UploadError::Io(error) => Cause::Io(error.to_string()),
        UploadError::Digest { .. } | UploadError::TooLong => Cause::Corrupt(error.to_string()),
        UploadError::BrokenOff | UploadError::TakenOver => Cause::connection(error.to_string()),
        UploadError::Busy | UploadError::Offset { .. } => Cause::Protocol(error.to_string()),
    }
}
