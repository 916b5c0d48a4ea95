//! One target during a transfer: what failed there, what it refused, and what it got.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;

use super::events::{BlobFate, TransferEvent};
use super::job::{Delivered, Target};
use super::reporter::{Reporter, UploadPosition};
use super::totals::BlobCounts;
use crate::oci::{Descriptor, Digest, Manifest};
use crate::repository::{Cause, Error, Repository, Result, Traffic, unless_stalled};

/// Other targets go on without this one.
pub(super) fn left_behind(target: &dyn Repository) -> Error {
    Error::new("write to", target.name(), Cause::LeftBehind)
}

/// A target during a transfer.
pub(super) struct TargetTransfer<'a> {
    pub target: &'a Target,
    /// Of the whole transfer.
    pub reporter: &'a Reporter<'a>,
    /// Other targets get the image as well, and need not wait for this one.
    has_company: bool,
    failed: Mutex<Option<Error>>,
    refused: Mutex<Vec<Error>>,
    /// Blobs that were taken to be there without asking the target in this transfer.
    trusted: Mutex<HashSet<Digest>>,
    /// Blobs that were sent in this transfer, and manifests that were never put before.
    brought: Mutex<HashSet<Digest>>,
    /// Referrers that the target does not list by itself, by their subjects.
    unlisted: Mutex<BTreeMap<Digest, Vec<Descriptor>>>,
    blobs: BlobCounts,
    /// Bytes that were handed to uploads.
    sent_bytes: AtomicU64,
}

impl<'a> TargetTransfer<'a> {
    pub fn new(target: &'a Target, reporter: &'a Reporter<'a>, has_company: bool) -> Self {
        Self {
            target,
            reporter,
            has_company,
            failed: Mutex::default(),
            refused: Mutex::default(),
            trusted: Mutex::default(),
            brought: Mutex::default(),
            unlisted: Mutex::default(),
            blobs: BlobCounts::default(),
            sent_bytes: AtomicU64::new(0),
        }
    }

    pub fn repository(&self) -> &'a dyn Repository {
        &*self.target.repository
    }

    /// Waits for the target to do something. If it stalls while other targets go on, it is left
    /// behind.
    pub async fn answer<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        if !self.has_company {
            return work.await;
        }
        let answer = unless_stalled(self.repository(), Traffic::Write, work).await;
        answer.unwrap_or_else(|| Err(left_behind(self.repository())))
    }

    pub fn has_company(&self) -> bool {
        self.has_company
    }

    pub fn has_failed(&self) -> bool {
        self.failed.lock().is_some()
    }

    /// Keeps the first failure: it is the cause of those that follow.
    pub fn fail(&self, error: Error) {
        self.failed.lock().get_or_insert(error);
    }

    /// Something that belongs to the image is left out, and the rest still goes.
    pub fn refuse(&self, error: Error) {
        self.refused.lock().push(error);
    }

    /// Turns the failure into a refusal of what was just brought, if it is one.
    pub fn excuse(&self, is_refusal: impl Fn(&Error) -> bool) {
        let error = self.failed.lock().take_if(|error| is_refusal(error));
        self.refused.lock().extend(error);
    }

    /// The target has a referrer, and does not list it by itself.
    pub fn add_unlisted(&self, subject: &Digest, referrer: Descriptor) {
        self.unlisted.lock().entry(subject.clone()).or_default().push(referrer);
    }

    pub fn take_unlisted(&self) -> BTreeMap<Digest, Vec<Descriptor>> {
        std::mem::take(&mut *self.unlisted.lock())
    }

    /// A blob is taken to be there without asking the target.
    pub fn trust(&self, blob: &Digest) {
        self.trusted.lock().insert(blob.clone());
    }

    /// Whether any of these was taken to be there. None of them is trusted any more.
    pub fn distrust(&self, blobs: &[Descriptor]) -> bool {
        let mut trusted = self.trusted.lock();
        blobs.iter().filter(|blob| trusted.remove(&blob.digest)).count() > 0
    }

    /// The target has got something that it did not have.
    pub fn brought(&self, digest: &Digest) {
        self.brought.lock().insert(digest.clone());
    }

    /// Whether the target got something that the manifest names in this transfer. If it had all of it
    /// before, somebody may have tried to put the manifest before.
    pub fn has_brought_part_of(&self, manifest: &Manifest) -> bool {
        let brought = self.brought.lock();
        let mut parts = manifest.blobs().iter().chain(manifest.children());
        parts.any(|part| brought.contains(&part.digest))
    }

    /// The position of an upload of a blob that was opened at the target.
    pub fn upload_position(&self) -> UploadPosition<'_> {
        UploadPosition::start(self.reporter, self.repository().store(), &self.sent_bytes)
    }

    /// The target has a blob now.
    pub fn placed(&self, fate: BlobFate, blob: &Descriptor) {
        let size = blob.size;
        self.blobs.add(fate);
        if fate == BlobFate::Sent {
            self.brought(&blob.digest);
        }
        self.reporter.report(self.repository().store(), TransferEvent::Placed { fate, size });
    }

    pub fn finish(self, digest: Digest, unchanged: bool) -> Result<Delivered> {
        if let Some(error) = self.failed.into_inner() {
            return Err(error);
        }
        Ok(Delivered {
            digest,
            unchanged,
            sent_bytes: self.sent_bytes.into_inner(),
            blobs_sent: self.blobs.get(BlobFate::Sent),
            blobs_mounted: self.blobs.get(BlobFate::Mounted),
            blobs_present: self.blobs.get(BlobFate::Present),
            refused_referrers: self.refused.into_inner(),
        })
    }
}
