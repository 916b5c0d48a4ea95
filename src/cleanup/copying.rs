//! How a manifest is copied to a quarantine, and back from it: as it is, with its children and
//! blobs. What refers to it is copied by itself.

use std::sync::Arc;

use crate::config::{ForeignLayers, IndexMode};
use crate::fair::Flow;
use crate::oci::Digest;
use crate::repository::{Cause, Error, Placement, Reference, Repository, Result};
use crate::transfer::{Carrier, Condition, Job, Options, TagIndex, Target};

/// One manifest on its way.
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
            // Layers that are usually kept elsewhere may be here all the same, and only here.
            if let Err(error) = self.transfer(ForeignLayers::Copy).await {
                tracing::debug!(%error, "without layers that are kept elsewhere");
            }
        }
        Ok(())
    }

    /// Copies it; notes tell of what was left out.
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
                // Cleanup is what deletes there: what is remembered of it may be gone.
                cleaned: true,
            }],
            options: Arc::new(Options {
                platforms: Vec::new(),
                index: IndexMode::Rewrite,
                referrers: false,
                foreign_layers,
            }),
            flow: self.flow,
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
