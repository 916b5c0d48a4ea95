//! Copies a manifest to a quarantine, or back: unchanged, with its children and blobs. Its referrers are
//! copied by themselves.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::config::{ForeignLayers, IndexMode};
use crate::fair::Flow;
use crate::oci::Digest;
use crate::repository::{Cause, Error, Placement, Reference, Repository, Result};
use crate::transfer::{Carrier, Condition, Job, Options, TagIndex, Target};

/// One manifest to copy.
pub(super) struct Copying<'a> {
    pub carrier: &'a Carrier,
    pub flow: Flow,
    pub source: &'a Arc<dyn Repository>,
    pub digest: &'a Digest,
    pub target: &'a Arc<dyn Repository>,
    pub placement: Placement,
    pub condition: Condition,
}

impl Copying<'_> {
    pub async fn run(&self) -> Result<()> {
        let notes = self.transfer(ForeignLayers::Skip).await?;
        if !notes.is_empty() {
            // Foreign layers may be here all the same, and only here.
            if let Err(error) = self.transfer(ForeignLayers::Copy).await {
                tracing::debug!(%error, "without layers that are kept elsewhere");
            }
        }
        Ok(())
    }

    /// Copies it; the notes say what was left out.
    async fn transfer(&self, foreign_layers: ForeignLayers) -> Result<Vec<String>> {
        let job = Job {
            source: Arc::clone(self.source),
            reference: Reference::Digest(self.digest.clone()),
            source_tags: TagIndex::default(),
            targets: vec![Target {
                repository: Arc::clone(self.target),
                placement: self.placement.clone(),
                current: None,
                condition: self.condition.clone(),
                fresh: false,
                // Cleanup deletes in this repository, so blobs that the state remembers may be gone.
                cleaned: true,
            }],
            options: Arc::new(Options {
                platforms: Vec::new(),
                index: IndexMode::Rewrite,
                referrers: false,
                foreign_layers,
            }),
            flow: self.flow,
            stop: CancellationToken::new(),
        };
        let outcome = self.carrier.transfer(&job).await?;
        match outcome.targets.into_iter().next() {
            Some(result) => result.map(|_| outcome.notes),
            None => {
                let cause = Cause::Protocol("nothing was copied".to_owned());
                Err(Error::new("copy", self.digest.to_string(), cause))
            }
        }
    }
}
