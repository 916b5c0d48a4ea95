//! The `Repository` interface of a layout.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use jiff::Timestamp;

use super::folder::{Layout, attempt, failed};
use super::index::Entry;
use super::listing::{Done, Edit, Untagged};
use super::put::entry;
use super::upload::{UploadError, UploadId};
use super::{checked, files, fresh};
use crate::oci::manifest::MAX_MANIFEST_BYTES;
use crate::oci::selection::TagSelection;
use crate::oci::{Descriptor, Digest, Manifest, Tag, derived};
use crate::repository::{
    BlobBody, BlobReader, Capabilities, Cause, Error, Garbage, Placement, Reference, Repository,
    Resolved, Result, Stored, Untag, UploadSession, UploadStart,
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
        match self.size("resolve", self.at(reference), &digest).await? {
            None => Ok(None),
            Some(_) if media_type.is_some() || matches!(reference, Reference::Tag(_)) => {
                Ok(Some(Resolved { digest, media_type }))
            }
            // Not listed: a part of something, or a blob that is no manifest at all.
            Some(size) if size > MAX_MANIFEST_BYTES as u64 => Ok(None),
            Some(_) => match self.read_manifest(&digest, None).await {
                Ok(manifest) => Ok(manifest.as_ref().map(Resolved::from)),
                Err(error) if matches!(error.cause(), Cause::Manifest(_)) => Ok(None),
                Err(error) => Err(error),
            },
        }
    }

    async fn manifest_within(
        &self,
        reference: &Reference,
        limit: usize,
    ) -> Result<Option<Manifest>> {
        let Some((digest, media_type)) = self.look_up(reference).await? else { return Ok(None) };
        if limit < MAX_MANIFEST_BYTES {
            let (step, path) = ("read manifest", files::blob(&self.0.folder, &digest));
            let size = attempt(step, self.at(reference), move || files::size(&path)).await?;
            if size.is_some_and(|size| size > limit as u64) {
                return Err(Error::new(step, self.at(reference), Cause::LargerThan(limit)));
            }
        }
        self.read_manifest(&digest, media_type.as_deref()).await
    }

    async fn blob_size(&self, digest: &Digest) -> Result<Option<u64>> {
        self.size("look for blob", self.at_digest(digest), digest).await
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
        result
            .await
            .map_err(|error| Error::new("upload blob", self.at_digest(digest), cause(error)))
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
            Placement::Tag(_) => format!("{}{}", self.0.name, placement.suffix()),
            Placement::Digest | Placement::Part => self.at_digest(&manifest.digest),
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
            self.0.subjects.learn(&manifest.digest, Some(manifest));
        }
        Ok(Stored { lists_referrer: manifest.subject.is_some(), at_once: true })
    }

    async fn referrers(&self, subject: &Digest) -> Result<Option<Vec<Digest>>> {
        let found = self.referrer_descriptors(subject).await?;
        Ok(Some(found.into_iter().map(|referrer| referrer.digest).collect()))
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
        let done = self.0.listing.edit(edit).await;
        let done = done.map_err(|error| failed("delete", self.at(reference), error))?;
        Ok(done == Done::Dropped)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            untag: Untag::Yes,
            lists_untagged: true,
            tells_push_times: true,
            collects_garbage: true,
            exists: true,
            is_local: true,
        }
    }

    async fn is_complete(&self, digest: &Digest) -> Result<bool> {
        let (folder, digest) = (self.0.folder.clone(), digest.clone());
        let subject = self.at_digest(&digest);
        attempt("look at the parts of", subject, move || fresh::is_complete(&folder, &digest)).await
    }

    async fn untagged(&self) -> Result<Vec<Digest>> {
        let index = self.index("list images of").await?;
        let not_understood = |why: &str| {
            let cause = Cause::Protocol(format!("an entry of index.json is not understood: {why}"));
            Error::new("list images of", &self.0.name, cause)
        };
        let mut untagged = Vec::new();
        for entry in index.entries() {
            let digest = match (&entry.problem, &entry.digest) {
                (Some(why), _) => return Err(not_understood(why)),
                (None, None) => return Err(not_understood("it has no digest")),
                (None, Some(digest)) => digest,
            };
            match &entry.tag {
                None => untagged.push(digest.clone()),
                Some(tag)
                    if index.by_tag(tag).is_some_and(|it| it.digest.as_ref() != Some(digest)) =>
                {
                    return Err(not_understood(&format!("the tag `{tag}` names two manifests")));
                }
                Some(_) => {}
            }
        }
        Ok(untagged)
    }

    /// The modification time of the manifest's file: when it was written, or last counted on by a
    /// push. Pulling does not change it.
    ///
    /// Tools that preserve times (`cp -p`, `rsync -a`, tar) bring files that look as old as their
    /// originals. That is right for the age of an image; the collection of garbage, which asks
    /// whether somebody is at work on a file, does not rely on it.
    async fn pushed_at(&self, digest: &Digest) -> Result<Option<Timestamp>> {
        let path = files::blob(&self.0.folder, digest);
        let written = attempt("look at the time of", self.at_digest(digest), move || {
            let Some(metadata) = files::metadata(&path)? else { return Ok(None) };
            let modified = metadata.modified().map_err(files::at(&path))?;
            Timestamp::try_from(modified).map(Some).map_err(std::io::Error::other)
        });
        written.await
    }

    async fn collect_garbage(
        &self,
        now: Timestamp,
        older_than: Duration,
        dry_run: bool,
    ) -> Result<Garbage> {
        let collected = self.collect(SystemTime::from(now).checked_sub(older_than), dry_run).await;
        collected.map_err(|error| failed("collect garbage in", &self.0.name, error))
    }

    async fn default_image(&self) -> Result<Reference> {
        let tags = self.tags().await?.unwrap_or_default();
        let tags = TagSelection::default().select(tags);
        match (self.only_image().await?, tags.as_slice()) {
            (Some(_), [tag]) => Ok(Reference::Tag(tag.clone())),
            (Some(digest), _) => Ok(Reference::Digest(digest)),
            (None, tags) => {
                let tags: Vec<&str> = tags.iter().map(Tag::as_str).collect();
                let message = match tags[..] {
                    [] => match &self.digests().await?[..] {
                        [] => "it has no image".to_owned(),
                        digests => format!(
                            "it has several images without a tag: name one by its digest ({})",
                            digests.join(", ")
                        ),
                    },
                    _ => {
                        format!("it has several images: name one of its tags ({})", tags.join(", "))
                    }
                };
                Err(Error::new("choose an image of", &self.0.name, Cause::Unsupported(message)))
            }
        }
    }
}

impl Layout {
    /// The image with this full name, such as `docker.io/library/alpine:3.22`.
    ///
    /// # Errors
    /// There is none, or there are several.
    pub async fn named(&self, full_name: &str) -> Result<Digest> {
        let subject = format!("{}:{full_name}", self.0.name);
        let index = self.index("read index of").await?;
        let meanings = index.meanings_of(full_name);
        if !meanings.is_empty() {
            return Err(self.ambiguous(&subject, &meanings));
        }
        let found = index.by_full_name(full_name).find_map(|entry| entry.digest.clone());
        found.ok_or_else(|| {
            let names: BTreeSet<&str> =
                index.entries().iter().filter_map(|entry| entry.full_name.as_deref()).collect();
            let names: Vec<&str> = names.into_iter().collect();
            let message = match names[..] {
                [] => "no image in it has a full name".to_owned(),
                _ => format!("no image in it has this name; there are {}", names.join(", ")),
            };
            Error::new("look up", subject, Cause::Unsupported(message))
        })
    }

    /// Several images are meant. Whatever is chosen would be wrong for somebody.
    fn ambiguous(&self, subject: &str, meanings: &[String]) -> Error {
        let name = &self.0.name;
        let meanings: Vec<String> = meanings.iter().map(|it| format!("{name}{it}")).collect();
        let message = format!("several images are named so: use one of {}", meanings.join(", "));
        Error::new("look up", subject, Cause::Unsupported(message))
    }

    /// How its images are named by digest.
    async fn digests(&self) -> Result<Vec<String>> {
        let index = self.index("list images of").await?;
        let digests: BTreeSet<&Digest> =
            index.entries().iter().filter_map(|entry| entry.digest.as_ref()).collect();
        Ok(digests.into_iter().map(|digest| format!("{}@{digest}", self.0.name)).collect())
    }

    /// The referrers of a manifest, as a referrers list shows them.
    pub async fn referrer_descriptors(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        let index = self.index("list referrers in").await?;
        let mut listed = Vec::new();
        for entry in index.entries() {
            let Some(digest) = &entry.digest else { continue };
            if !self.0.subjects.knows(digest) {
                let manifest = match self.read_manifest(digest, entry.media_type.as_deref()).await {
                    // It may come later: sparse layouts are allowed.
                    Ok(None) => continue,
                    Ok(manifest) => manifest,
                    // What is no manifest has no subject. A damaged one cannot be fetched either.
                    Err(error) if matches!(error.cause(), Cause::Manifest(_)) => None,
                    Err(error) => return Err(error),
                };
                self.0.subjects.learn(digest, manifest.as_ref());
            }
            listed.push(digest);
        }
        Ok(self.0.subjects.select(&listed, subject))
    }

    /// The digest of the layout's image, if it has exactly one, tagged or not. What refers to another
    /// image does not count.
    async fn only_image(&self) -> Result<Option<Digest>> {
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
    async fn follows(&self, entry: &Entry) -> Result<bool> {
        if let Some(tag) = &entry.tag {
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

    /// The size of a blob that is there and not known to be damaged.
    async fn size(
        &self,
        step: &'static str,
        subject: String,
        digest: &Digest,
    ) -> Result<Option<u64>> {
        let (folder, digest) = (self.0.folder.clone(), digest.clone());
        let found = attempt(step, subject, move || checked::found(&folder, &digest));
        Ok(found.await?.map(|metadata| metadata.len()))
    }

    /// The digest that a reference has, and the media type that its entry has. Whether the
    /// manifest itself is there is another question.
    async fn look_up(&self, reference: &Reference) -> Result<Option<(Digest, Option<String>)>> {
        let index = self.index("read index of").await?;
        Ok(match reference {
            Reference::Tag(tag) => {
                let meanings = index.meanings(tag);
                if !meanings.is_empty() {
                    return Err(self.ambiguous(&self.at(reference), &meanings));
                }
                index
                    .by_tag(tag)
                    .and_then(|entry| Some((entry.digest.clone()?, entry.media_type.clone())))
            }
            Reference::Digest(digest) => {
                let entry = index.by_digest(digest);
                Some((digest.clone(), entry.and_then(|entry| entry.media_type.clone())))
            }
        })
    }
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
