//! Puts samples into layouts on disk, as `docker push` would have done.

use bytes::Bytes;
use futures_util::StreamExt;

use super::blob::Blob;
use super::samples::Sample;
use super::world::DemoError;
use crate::layout::{Layout, Layouts};
use crate::repository::{BlobBody, Placement, Repository, UploadStart};

/// Puts a sample with all below it into its repository.
pub(super) async fn put(layouts: &Layouts, sample: &Sample) -> Result<(), DemoError> {
    let name = sample.repository.parse().map_err(std::io::Error::other)?;
    let layout = layouts.get_or_create(&name).await?;
    for image in sample.image.all() {
        for blob in &image.blobs {
            upload(&layout, blob).await?;
        }
        let root = std::ptr::eq(image, &sample.image);
        let placement = if root { &sample.placement } else { &Placement::Part };
        layout.put_manifest(placement, &image.manifest).await?;
    }
    Ok(())
}

async fn upload(layout: &Layout, blob: &Blob) -> Result<(), DemoError> {
    let UploadStart::Session(session) = layout.start_upload(&blob.digest, None).await? else {
        return Ok(());
    };
    let bytes: Bytes = blob.bytes.clone();
    let body = BlobBody {
        length: bytes.len() as u64,
        chunks: futures_util::stream::iter([Ok(bytes)]).boxed(),
    };
    Ok(layout.finish_upload(&session, &blob.digest, body).await?)
}
