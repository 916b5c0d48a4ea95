//! Blobs, whole or in part (distribution-spec "Pulling blobs").

use axum::body::Body;
use http::{Method, StatusCode, header};

use super::answer::{self, Answer, CONTENT_DIGEST, Refusal};
use super::range::{self, Wanted};
use super::{Head, Registry};
use crate::oci::{Digest, RepositoryName};
use crate::repository::Repository;

impl Registry {
    pub(super) async fn get_blob(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        head: &Head,
    ) -> Answer {
        let layout = self.repository(name).await?;
        let Some(size) = layout.blob_size(digest).await? else {
            let message = format!("there is no blob {digest} in `{name}`");
            return Err(Refusal::not_found("BLOB_UNKNOWN", message));
        };
        let mut headers = vec![
            (CONTENT_DIGEST, digest.to_string()),
            (header::ETAG, answer::etag(digest)),
            (header::ACCEPT_RANGES, "bytes".to_owned()),
            (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        ];
        if answer::is_known(&head.headers, digest) {
            return Ok(answer::with_headers(StatusCode::NOT_MODIFIED, headers, Body::empty()));
        }
        let range = head.headers.get(header::RANGE).and_then(|range| range.to_str().ok());
        let range = range.filter(|_| head.method == Method::GET);
        let (status, first, length) =
            match range.map_or(Wanted::Whole, |range| range::wanted(range, size)) {
                Wanted::Whole => (StatusCode::OK, 0, size),
                Wanted::Part(first, last) => (StatusCode::PARTIAL_CONTENT, first, last - first + 1),
                Wanted::Nothing => {
                    let message = format!("the blob has {size} bytes");
                    let status = StatusCode::RANGE_NOT_SATISFIABLE;
                    return Err(Refusal::new(status, "RANGE_INVALID", message)
                        .with(header::CONTENT_RANGE, &format!("bytes */{size}")));
                }
            };
        headers.push((header::CONTENT_LENGTH, length.to_string()));
        if status == StatusCode::PARTIAL_CONTENT {
            let last = first + length - 1;
            headers.push((header::CONTENT_RANGE, format!("bytes {first}-{last}/{size}")));
        }
        let body = if head.method == Method::HEAD || length == 0 {
            Body::empty()
        } else {
            Body::from_stream(layout.blob_range(digest, first, Some(length)).await?.chunks)
        };
        Ok(answer::with_headers(status, headers, body))
    }
}
