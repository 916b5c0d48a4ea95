//! Manifests are read within the memory that all transfers of the process share.

use std::ops::Deref;

use crate::fair::{self, Bounds, Claim, Claimant, ClaimsTooMuch, MemoryBudget};
use crate::oci::footprint;
use crate::oci::manifest::MAX_MANIFEST_BYTES;
use crate::oci::{Descriptor, Manifest};
use crate::repository::{Cause, Error, Reference, Repository, Result};

/// What the manifests of one image may take in memory, with those of its referrers that are at hand at
/// the same time, in bytes.
const MAX_BYTES: u64 = 64 << 20;
/// What manifests may take in the whole process.
const TOTAL: u64 = 256 << 20;
/// What is read of a manifest whose size is not known, before memory for the largest is claimed.
pub const USUAL: usize = 64 << 10;
/// Parts of one image that are compared at once.
pub const COMPARED_AT_ONCE: usize = 8;
/// What the manifests of one image, and what a target has in their place, may take: nothing that is
/// compared has to wait for what is compared with it.
const IMAGE: u64 = MAX_BYTES + (COMPARED_AT_ONCE * MAX_MANIFEST_BYTES) as u64;

/// The memory for the manifests of all images that are moved or compared in this process.
pub fn manifest_memory() -> MemoryBudget {
    MemoryBudget::new(Bounds { total: TOTAL, each: IMAGE, spare: 64 << 20, little: 1 << 20 })
}

/// Reads manifests of one image.
#[derive(Clone, Copy)]
pub struct ManifestReader<'a> {
    pub repository: &'a dyn Repository,
    /// The image.
    pub memory: &'a Claimant,
    /// Called once in a while during a wait for memory.
    pub alive: &'a (dyn Fn() + Sync),
}

/// A manifest and the memory that it takes, which is given back when it is dropped.
#[derive(Debug)]
pub struct Held {
    manifest: Manifest,
    claim: Claim,
}

impl Deref for Held {
    type Target = Manifest;

    fn deref(&self) -> &Manifest {
        &self.manifest
    }
}

impl Held {
    /// Puts another manifest into its place, which is no larger.
    pub(super) fn replace(mut self, manifest: Manifest) -> Self {
        // Giving back never waits nor fails.
        let _ = self.claim.try_resize(size_of(&manifest), MAX_BYTES);
        self.manifest = manifest;
        self
    }
}

impl<'a> ManifestReader<'a> {
    /// A reader that does not say that it is alive.
    pub fn quiet(repository: &'a dyn Repository, memory: &'a Claimant) -> Self {
        Self { repository, memory, alive: &|| {} }
    }

    /// Reads a manifest. `None`: it is not there.
    ///
    /// # Errors
    /// As [`Repository::manifest`], and if the image has too many bytes of manifests.
    pub async fn read(&self, reference: &Reference) -> Result<Option<Held>> {
        self.read_about(reference, USUAL).await
    }

    /// Reads what a descriptor points at.
    pub(super) async fn read_child(&self, child: &Descriptor) -> Result<Option<Held>> {
        let size = usize::try_from(child.size).unwrap_or(usize::MAX);
        self.read_about(&Reference::Digest(child.digest.clone()), size).await
    }

    /// Reads a manifest that should have so many bytes. No byte is received for which there is no
    /// memory.
    async fn read_about(&self, reference: &Reference, size: usize) -> Result<Option<Held>> {
        let limit = size.clamp(USUAL, MAX_MANIFEST_BYTES);
        let too_much = |_: ClaimsTooMuch| self.too_much(reference);
        let claim = self.memory.claim(limit as u64, MAX_BYTES);
        let mut claim = fair::waiting(claim, self.alive).await.map_err(too_much)?;
        let mut found = self.repository.manifest_within(reference, limit).await;
        if limit < MAX_MANIFEST_BYTES
            && let Err(error) = &found
            && matches!(error.cause(), Cause::LargerThan(_))
        {
            let all = claim.resize(MAX_MANIFEST_BYTES as u64, MAX_BYTES);
            fair::waiting(all, self.alive).await.map_err(too_much)?;
            found = self.repository.manifest(reference).await;
        }
        let Some(mut manifest) = found? else { return Ok(None) };
        let needed = size_of(&manifest);
        if !claim.try_resize(needed, MAX_BYTES).map_err(too_much)? {
            // What was read from the document is given up during the wait: only the document itself is
            // within the claim.
            let Manifest { raw, media_type, digest, .. } = manifest;
            let rest = claim.resize(needed, MAX_BYTES);
            fair::waiting(rest, self.alive).await.map_err(too_much)?;
            let again = Manifest::parse(raw, Some(&media_type), Some(&digest));
            manifest = again.map_err(|error| self.failed(reference, error.into()))?;
        }
        Ok(Some(Held { manifest, claim }))
    }

    fn too_much(&self, reference: &Reference) -> Error {
        let message = format!(
            "the manifests of its image, with what refers to it, take more than {} MiB of memory",
            MAX_BYTES >> 20
        );
        self.failed(reference, Cause::Protocol(message))
    }

    fn failed(&self, reference: &Reference, cause: Cause) -> Error {
        Error::new("read", format!("{}{}", self.repository.name(), reference.suffix()), cause)
    }
}

fn size_of(manifest: &Manifest) -> u64 {
    footprint::of_manifest(manifest) as u64
}
