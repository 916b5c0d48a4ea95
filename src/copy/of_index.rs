//! What of an index is copied, where that is not all of it.

use crate::oci::{Digest, Document, Manifest, Platform};
use crate::repository::{Cause, Error, Reference, Repository, Result, missing};
use crate::transfer::platforms;

/// What of an index is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OfIndex {
    /// The index with its images.
    Whole,
    /// The image of this platform, in place of the index.
    One(Platform),
    /// The index without its images.
    Only,
}

/// What is copied of an image that was named.
pub(super) enum Part {
    Whole,
    /// One image of the index that it is.
    Image {
        digest: Digest,
        note: String,
    },
    Index(Box<Manifest>),
}

/// What of this image is wanted. It is read only if that depends on whether it is an index.
pub(super) async fn part(
    source: &dyn Repository,
    reference: &Reference,
    wanted: &OfIndex,
) -> Result<Part> {
    if *wanted == OfIndex::Whole {
        return Ok(Part::Whole);
    }
    let name = || format!("{}{}", source.name(), reference.suffix());
    let Some(manifest) = source.manifest(reference).await? else {
        return Err(missing("look up", source, reference).await);
    };
    let Document::Index { children } = &manifest.document else { return Ok(Part::Whole) };
    let OfIndex::One(platform) = wanted else { return Ok(Part::Index(manifest.into())) };
    let chosen = platforms::choose(children, platform)
        .map_err(|error| Error::new("read", name(), Cause::Unsupported(error.to_string())))?;
    let note = format!("only the image for {platform} of the index {}", manifest.digest);
    Ok(Part::Image { digest: chosen.digest.clone(), note })
}
