//! What a transfer is asked to do, and what it answers.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::options::Options;
use super::referrers::{Referrer, TagIndex};
use crate::fair::Flow;
use crate::oci::Digest;
use crate::repository::{Error, Placement, Reference, Repository, Result};

/// An image to be copied.
pub struct Job {
    pub source: Arc<dyn Repository>,
    /// The manifest to read at the source.
    pub reference: Reference,
    /// The derived tags of the source, where they are known.
    pub source_tags: TagIndex,
    pub targets: Vec<Target>,
    pub options: Arc<Options>,
    /// The flow that takes its turns where transfers share something.
    pub flow: Flow,
    /// Ends uploads so that the next process can resume them. Everything else may be dropped at any
    /// moment.
    pub stop: CancellationToken,
}

/// A repository that the image is copied to.
pub struct Target {
    pub repository: Arc<dyn Repository>,
    /// `Digest` or `Tag`.
    pub placement: Placement,
    /// The digest that the tag has now, where that was asked.
    pub current: Option<Digest>,
    /// The condition on which the tag is put.
    pub condition: Condition,
    /// The repository had no tags when it was last listed.
    pub fresh: bool,
    /// What earlier runs noted of this repository is not trusted: its tags are gone, or the one
    /// that was put there. Somebody cleans up, so blobs may be gone too.
    pub cleaned: bool,
}

/// What the tag must be at the target directly before it is put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Anything; nothing is asked.
    Always,
    Absent,
    Is(Digest),
}

/// How a transfer ended.
#[derive(Debug)]
pub struct TransferOutcome {
    pub source_digest: Digest,
    /// In the order of the job's targets.
    pub targets: Vec<Result<Delivered>>,
    pub notes: Vec<String>,
    /// The digests of all manifests of the image: referrers may refer to any of them.
    pub subjects: Vec<Digest>,
    /// The referrers of the image at the source.
    pub referrers: Vec<Referrer>,
}

/// What one target got.
#[derive(Debug, Clone)]
pub struct Delivered {
    /// The digest that the tag has now.
    pub digest: Digest,
    /// The tag had this digest before.
    pub unchanged: bool,
    /// The sizes of the blobs that were sent.
    pub sent_bytes: u64,
    pub blobs_sent: u64,
    pub blobs_mounted: u64,
    pub blobs_present: u64,
    /// Referrers that the target refuses to store, or that cannot be read at the source.
    /// Everything else was delivered.
    pub refused_referrers: Vec<Error>,
}
