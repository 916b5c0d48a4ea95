//! Puts manifests at targets: parts, the root, and the fallback list of referrers.

use futures_util::StreamExt;

use super::blobs::Blobs;
use super::events::TransferEvent;
use super::graph::{self, PARALLEL, size_of_all};
use super::job::{Condition, Job};
use super::target::TargetTransfer;
use crate::fair::{Claimant, ClaimsTooMuch};
use crate::oci::derived::fallback_tag;
use crate::oci::manifest::MAX_MANIFEST_BYTES;
use crate::oci::{Descriptor, Digest, Manifest, Tag};
use crate::repository::{Cause, Error, ErrorKind, Placement, Reference, Result, Stored};
use crate::single_flight::KeyedLocks;

/// As large as lists of referrers in fallback tags usually are at most, in bytes.
const USUAL_LIST: usize = 256 << 10;

/// What a root manifest is to the transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Role {
    /// The image that the job asks for.
    Image,
    /// A referrer, put by its digest.
    Referrer,
    /// A signature or other artifact under one of cosign's tags.
    Derived(Tag),
}

/// Puts the manifests of one transfer.
pub(super) struct ManifestWriter<'a> {
    pub blobs: &'a Blobs,
    pub job: &'a Job,
    /// Held, by the name of the fallback tag, while its list is updated.
    pub fallback_locks: &'a KeyedLocks<String>,
    /// Of the image.
    pub memory: &'a Claimant,
}

impl ManifestWriter<'_> {
    /// Puts a root manifest, with everything below it in place. Failures are noted in the target.
    pub async fn put_root(&self, target: &TargetTransfer<'_>, root: &Manifest, role: &Role) {
        let placement = match role {
            Role::Image => target.target.placement.clone(),
            Role::Referrer => Placement::Part,
            Role::Derived(tag) => Placement::Tag(tag.clone()),
        };
        if *role == Role::Image
            && let Err(error) = self.check_condition(target, &placement, root).await
        {
            return target.fail(error);
        }
        // A registry that takes no such artifacts never will: the image itself may go.
        let optional = *role == Role::Referrer;
        let Some(stored) = self.put(target, &placement, root, optional).await else { return };
        // The target does not list it by itself: then its fallback tag must.
        if let Some(subject) = root.subject.as_ref().filter(|_| !stored.lists_referrer) {
            target.add_unlisted(&subject.digest, root.referrer_descriptor());
        }
    }

    /// Lists the referrers that were put since the last call in the fallback tags of their subjects:
    /// each list is put once, because tags may be immutable. A list that the target does not take
    /// does not keep the image away.
    pub async fn list_referrers(&self, target: &TargetTransfer<'_>) {
        for (subject, referrers) in target.take_unlisted() {
            if target.has_failed() {
                return;
            }
            let listed = self.list_in_fallback_tag(target, &subject, &referrers);
            match target.answer(listed).await {
                Ok(()) => {}
                Err(error) if is_unwanted(&error) => target.refuse(error),
                Err(error) => target.fail(error),
            }
        }
    }

    /// Checks that the tag at the target still is what it was when it was decided to put it there.
    async fn check_condition(
        &self,
        target: &TargetTransfer<'_>,
        placement: &Placement,
        root: &Manifest,
    ) -> Result<()> {
        let expected = match &target.target.condition {
            Condition::Always => return Ok(()),
            Condition::Absent => None,
            Condition::Is(digest) => Some(digest),
        };
        let Placement::Tag(tag) = placement else { return Ok(()) };
        if target.has_failed() {
            return Ok(());
        }
        let repository = target.repository();
        let reference = Reference::Tag(tag.clone());
        let found = target.answer(repository.resolve(&reference)).await?;
        let found = found.map(|resolved| resolved.digest);
        // It does no harm if the same image has been put there meanwhile.
        if found.as_ref() == expected || found.as_ref() == Some(&root.digest) {
            return Ok(());
        }
        let subject = format!("{}{}", repository.name(), placement.suffix());
        Err(Error::new("overwrite", subject, Cause::Changed { found }))
    }

    /// Puts one manifest whose parts are in place. `None`: it failed, which is noted in the
    /// target. An `optional` one may be refused for what it is, and the rest still goes.
    pub async fn put(
        &self,
        target: &TargetTransfer<'_>,
        placement: &Placement,
        manifest: &Manifest,
        optional: bool,
    ) -> Option<Stored> {
        if target.has_failed() {
            return None;
        }
        let put = || target.answer(target.repository().put_manifest(placement, manifest));
        let mut result = put().await;
        if let Err(error) = &result
            && (is_missing_blob(error) || may_be_missing_blob(error))
        {
            let (blobs, _) = graph::blobs(std::iter::once(manifest), &self.job.options);
            if is_missing_blob(error) || target.distrust(&blobs) {
                tracing::debug!(%error, "looking at every blob again");
                self.bring_again(target, &blobs).await;
                if target.has_failed() {
                    return None;
                }
                result = put().await;
            }
        }
        if let Ok(stored) = &result {
            if stored.at_once && target.has_brought_part_of(manifest) {
                target.brought(&manifest.digest);
            } else if let Err(error) = self.check_served(target, placement, manifest).await {
                result = Err(error);
            }
        }
        match result {
            Ok(stored) => {
                target.reporter.alive();
                return Some(stored);
            }
            Err(error) if optional && is_unwanted(&error) => target.refuse(error),
            Err(error) => target.fail(explained(error, manifest)),
        }
        None
    }

    /// Checks that a manifest is served, where an earlier try of this run or another one may have
    /// left a damaged one behind: then distribution, whose disk was full, has an empty file for it,
    /// takes that for the manifest, and accepts every further try.
    async fn check_served(
        &self,
        target: &TargetTransfer<'_>,
        placement: &Placement,
        manifest: &Manifest,
    ) -> Result<()> {
        let repository = target.repository();
        let reference = Reference::Digest(manifest.digest.clone());
        match target.answer(repository.resolve(&reference)).await {
            Err(error) if error.kind() == ErrorKind::InternalError => {
                let message = format!(
                    "the registry accepts it and cannot serve it ({}): its storage is probably \
                     damaged, as after a full disk. Delete {} there, let the registry collect its \
                     garbage, and copy the image again",
                    error.cause(),
                    manifest.digest
                );
                let subject = format!("{}{}", repository.name(), placement.suffix());
                Err(Error::new("put manifest", subject, Cause::Protocol(message)))
            }
            // Who may put need not be allowed to read, and some registries list late what they have.
            _ => Ok(()),
        }
    }

    /// What was noted of the target was out of date, because somebody cleaned up there: asks for
    /// every blob, and brings what is missing.
    async fn bring_again(&self, target: &TargetTransfer<'_>, blobs: &[Descriptor]) {
        let repository = target.repository();
        self.blobs.presence.forget(repository, blobs);
        target.reporter.report(repository.store(), TransferEvent::Doubted(size_of_all(blobs)));
        futures_util::stream::iter(blobs)
            .for_each_concurrent(PARALLEL, |blob| async move {
                self.blobs.ensure(&*self.job.source, blob, &[target], false).await;
            })
            .await;
    }

    /// Adds referrers to the fallback tag of their subject, keeping what others listed there
    /// (distribution-spec, "Pushing Manifests with Subject").
    async fn list_in_fallback_tag(
        &self,
        target: &TargetTransfer<'_>,
        subject: &Digest,
        referrers: &[Descriptor],
    ) -> Result<()> {
        match self.add_to_list(target, subject, referrers, USUAL_LIST).await {
            Err(error) if matches!(error.cause(), Cause::LargerThan(_)) => {
                self.add_to_list(target, subject, referrers, MAX_MANIFEST_BYTES).await
            }
            done => done,
        }
    }

    /// Does so if the present list has no more than `limit` bytes.
    async fn add_to_list(
        &self,
        target: &TargetTransfer<'_>,
        subject: &Digest,
        referrers: &[Descriptor],
        limit: usize,
    ) -> Result<()> {
        let repository = target.repository();
        let tag = fallback_tag(subject);
        let name = format!("{}:{tag}", repository.name());
        let failed = |cause| Error::new("update the referrers list", name.clone(), cause);
        // The present list and the new one. Claimed before the lock, because other images wait for that.
        let claim = self.memory.claim(2 * limit as u64, u64::MAX);
        let _claim = target.reporter.waiting(claim).await.map_err(|_: ClaimsTooMuch| {
            failed(Cause::Protocol("the manifests of the image take too much memory".to_owned()))
        })?;
        let _alone = self.fallback_locks.lock(&name).await;
        let listed = repository.manifest_within(&Reference::Tag(tag.clone()), limit).await?;
        // GitLab serves the subject itself under such a tag: that is no list.
        let listed = listed.filter(|listed| listed.digest != *subject);
        let index = match listed {
            None => Manifest::index_of(referrers),
            Some(index) if index.blobs().is_empty() => {
                let is_new = |it: &&Descriptor| {
                    !index.children().iter().any(|child| child.digest == it.digest)
                };
                let new: Vec<&Descriptor> = referrers.iter().filter(is_new).collect();
                if new.is_empty() {
                    return Ok(());
                }
                new.into_iter().try_fold(index, |index, referrer| index.with_added(referrer))
            }
            Some(_) => {
                let message =
                    "something that is no index stands under the tag for the list of its referrers";
                return Err(failed(Cause::Unsupported(message.to_owned())));
            }
        };
        let index = index.map_err(|error| failed(error.into()))?;
        repository.put_manifest(&Placement::Tag(tag), &index).await?;
        Ok(())
    }
}

/// Whether a target refused a manifest because it lacks a part of it.
fn is_missing_blob(error: &Error) -> bool {
    error.kind() == ErrorKind::MissingParts
}

/// Whether a target may have meant that a part is missing, without saying so clearly.
fn may_be_missing_blob(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Missing)
}

/// Whether a target refused a manifest for what it is.
fn is_unwanted(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Invalid
            | ErrorKind::Unwanted
            | ErrorKind::Unsupported
            | ErrorKind::MissingParts
            | ErrorKind::Immutable
    )
}

/// The error of a manifest that was refused, with the likely reason where the registry does not say it.
fn explained(error: Error, manifest: &Manifest) -> Error {
    let Cause::Refused { kind, status, message } = error.cause() else { return error };
    let is_unclear = matches!(
        kind,
        ErrorKind::InternalError
            | ErrorKind::Unavailable
            | ErrorKind::Invalid
            | ErrorKind::Unwanted
            | ErrorKind::Refused
            // It is the foreign layer that is unknown.
            | ErrorKind::MissingParts
    );
    if !is_unclear || !manifest.has_foreign_layers() {
        return error;
    }
    let message = format!(
        "{message}; the likely reason are its foreign layers, which are stored elsewhere: \
         distribution accepts them only if `validation.manifests.urls.allow` in its configuration \
         matches their addresses"
    );
    let cause = Cause::Refused { kind: *kind, status: status.clone(), message };
    Error::new(error.step(), error.subject(), cause).after(error.attempts())
}
