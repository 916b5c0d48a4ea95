//! Uploads of blobs (distribution-spec "Pushing blobs"): in one request or many, mounted, taken
//! up again after a break.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, StatusCode, header};

use super::answer::{self, Answer, CONTENT_DIGEST, Refusal};
use super::{Head, Incoming, Registry, range, route};
use crate::layout::{Layout, Upload, UploadError, UploadId};
use crate::oci::{Digest, RepositoryName};

const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");

impl Registry {
    pub(super) async fn begin_upload(
        &self,
        name: &RepositoryName,
        head: &Head,
        incoming: &mut Incoming,
    ) -> Answer {
        let wanted = |key| head.query.get(key).map(|digest| route::digest(digest)).transpose();
        let (mounted, digest) = (wanted("mount")?, wanted("digest")?);
        let layout = self.layouts.get_or_create(name).await?;
        if let Some(digest) = mounted {
            let from = head.query.get("from").map(String::as_str);
            if layout.has_or_mounts(&digest, from).await? {
                return Ok(created(name, &digest));
            }
        } else if let Some(digest) = digest {
            return receive_whole(&layout, name, &digest, incoming).await;
        }
        let id = layout.begin_upload().await?;
        Ok(progress(StatusCode::ACCEPTED, name, &id, 0))
    }

    pub(super) async fn upload_status(&self, name: &RepositoryName, id: &UploadId) -> Answer {
        let upload = self.repository(name).await?.upload(id).await?;
        Ok(progress(StatusCode::NO_CONTENT, name, id, upload.length()))
    }

    pub(super) async fn append_to_upload(
        &self,
        name: &RepositoryName,
        id: &UploadId,
        head: &Head,
        incoming: &mut Incoming,
    ) -> Answer {
        let mut upload = self.repository(name).await?.upload(id).await?;
        receive(&mut upload, name, id, head, incoming).await?;
        Ok(progress(StatusCode::ACCEPTED, name, id, upload.length()))
    }

    pub(super) async fn finish_upload(
        &self,
        name: &RepositoryName,
        id: &UploadId,
        head: &Head,
        incoming: &mut Incoming,
    ) -> Answer {
        let Some(digest) = head.query.get("digest") else {
            return Err(Refusal::bad_request("DIGEST_INVALID", "the query lacks `digest`"));
        };
        let digest = route::digest(digest)?;
        let layout = self.repository(name).await?;
        let mut upload = layout.upload(id).await?;
        receive(&mut upload, name, id, head, incoming).await?;
        layout.commit_upload(id, upload, &digest).await?;
        Ok(created(name, &digest))
    }

    pub(super) async fn cancel_upload(&self, name: &RepositoryName, id: &UploadId) -> Answer {
        let layout = self.repository(name).await?;
        let upload = layout.upload(id).await?;
        layout.discard_upload(id, upload).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    }
}

/// A blob in a single POST. Its sender never learns the upload's name, so that nothing of it is
/// kept when it breaks off.
async fn receive_whole(
    layout: &Layout,
    name: &RepositoryName,
    digest: &Digest,
    incoming: &mut Incoming,
) -> Answer {
    let id = layout.begin_upload().await?;
    let mut upload = layout.upload(&id).await?;
    match upload.append(&mut incoming.chunks, incoming.length).await {
        Ok(()) => layout.commit_upload(&id, upload, digest).await?,
        Err(error) => {
            layout.discard_upload(&id, upload).await?;
            return Err(error.into());
        }
    }
    Ok(created(name, digest))
}

/// Appends a request's body to an upload, at the place that its `Content-Range` names.
async fn receive(
    upload: &mut Upload,
    name: &RepositoryName,
    id: &UploadId,
    head: &Head,
    incoming: &mut Incoming,
) -> Result<(), Refusal> {
    let mut length = incoming.length;
    if let Some(header) = head.headers.get(header::CONTENT_RANGE).filter(|_| length != Some(0)) {
        let Some((first, last)) = header.to_str().ok().and_then(range::chunk) else {
            let message = "the Content-Range is not valid: expected `<first>-<last>`";
            return Err(Refusal::bad_request("BLOB_UPLOAD_INVALID", message));
        };
        let in_range = last - first + 1;
        if length.is_some_and(|length| length != in_range) {
            let message = "Content-Range and Content-Length contradict each other";
            return Err(Refusal::bad_request("SIZE_INVALID", message));
        }
        length = Some(in_range);
        place(upload, first).await.map_err(|error| {
            Refusal::from(error)
                .with(header::RANGE, &received(upload.length()))
                .with(header::LOCATION, &location(name, id))
        })?;
    }
    Ok(upload.append(&mut incoming.chunks, length).await?)
}

/// Checks that a chunk begins where the upload stands.
async fn place(upload: &mut Upload, first: u64) -> Result<(), UploadError> {
    match upload.length() {
        length if length == first => Ok(()),
        // `Range: 0-0` is also what is said of an upload without a byte: who takes it for that
        // sends the first byte again.
        1 if first == 0 => upload.truncate(0).await,
        length => Err(UploadError::Offset { length, offset: first }),
    }
}

/// Where an upload stands. The form cannot tell no byte from one; `0-0` for both is what
/// distribution sends.
fn received(length: u64) -> String {
    format!("0-{}", length.saturating_sub(1))
}

fn location(name: &RepositoryName, id: &UploadId) -> String {
    format!("/v2/{name}/blobs/uploads/{id}")
}

fn progress(status: StatusCode, name: &RepositoryName, id: &UploadId, length: u64) -> Response {
    let headers = [
        (header::LOCATION, location(name, id)),
        (header::RANGE, received(length)),
        (UPLOAD_ID, id.to_string()),
    ];
    answer::with_headers(status, headers, Body::empty())
}

fn created(name: &RepositoryName, digest: &Digest) -> Response {
    let location = format!("/v2/{name}/blobs/{digest}");
    let headers = [(header::LOCATION, location), (CONTENT_DIGEST, digest.to_string())];
    answer::with_headers(StatusCode::CREATED, headers, Body::empty())
}
