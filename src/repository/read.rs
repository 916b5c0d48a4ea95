//! Reading a small blob whole.

use futures_util::StreamExt;

use super::{Cause, Error, Reference, Repository, Result};
use crate::oci::Digest;
use crate::oci::manifest::MAX_MANIFEST_BYTES;

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
