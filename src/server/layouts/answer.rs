//! Answers: refusals in the specification's form ("Error Codes"), and what several share.

use std::io;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::layout::UploadError;
use crate::oci::Digest;
use crate::repository::{Cause, Error};

pub(super) type Answer = Result<Response, Refusal>;

pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// A request that is not carried out.
#[derive(Debug)]
pub(super) struct Refusal {
    pub status: StatusCode,
    pub code: &'static str,
    message: String,
    headers: Vec<(HeaderName, String)>,
}

impl Refusal {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), headers: Vec::new() }
    }

    pub fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    pub fn bad_request(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub fn unsupported(message: &str) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", message)
    }

    pub fn with(mut self, name: HeaderName, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// The server's own failure: the client learns that it happened, the log what it was.
    fn failure(error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "a request failed");
        let message = "the registry failed; its log says why";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", message)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = serde_json::json!({
            "errors": [{ "code": self.code, "message": self.message }]
        });
        let json = (header::CONTENT_TYPE, "application/json".to_owned());
        with_headers(self.status, [json].into_iter().chain(self.headers), body.to_string())
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        match error.cause() {
            part @ Cause::MissingPart(_) => {
                Self::not_found("MANIFEST_BLOB_UNKNOWN", part.to_string())
            }
            Cause::Missing => Self::not_found("BLOB_UNKNOWN", "it is not there"),
            Cause::Unsupported(why) => Self::bad_request("NAME_INVALID", why),
            _ => Self::failure(&error),
        }
    }
}

impl From<UploadError> for Refusal {
    fn from(error: UploadError) -> Self {
        let (status, code) = match error {
            UploadError::Gone => (StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN"),
            UploadError::Busy | UploadError::TakenOver => {
                (StatusCode::CONFLICT, "BLOB_UPLOAD_INVALID")
            }
            UploadError::Offset { .. } => {
                (StatusCode::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID")
            }
            UploadError::BrokenOff => (StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID"),
            UploadError::TooLong => (StatusCode::BAD_REQUEST, "SIZE_INVALID"),
            UploadError::Digest { .. } => (StatusCode::BAD_REQUEST, "DIGEST_INVALID"),
            UploadError::Io(error) if is_full(&error) => {
                let message = "the registry has no space left";
                return Self::new(StatusCode::INSUFFICIENT_STORAGE, "UNKNOWN", message);
            }
            UploadError::Io(error) => return Self::failure(&error),
        };
        Self::new(status, code, error.to_string())
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// What `/v2/` answers: this is a registry.
pub(super) fn base() -> Response {
    let version = HeaderName::from_static("docker-distribution-api-version");
    let headers = [(header::CONTENT_TYPE, "application/json"), (version, "registry/2.0")];
    with_headers(StatusCode::OK, headers, "{}")
}

pub(super) fn json(value: &serde_json::Value) -> Response {
    with_headers(StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], value.to_string())
}

/// An answer with headers.
pub(super) fn with_headers(
    status: StatusCode,
    headers: impl IntoIterator<Item = (HeaderName, impl AsRef<str>)>,
    body: impl Into<Body>,
) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    for (name, value) in headers {
        response.headers_mut().append(name, text(value.as_ref()));
    }
    response
}

/// A header's value. All that is put there is made of valid names, digests and numbers, or was
/// received in a header or escaped; anything else would only lose its value.
fn text(value: &str) -> HeaderValue {
    HeaderValue::from_str(value).unwrap_or(HeaderValue::from_static(""))
}

/// Whether the client has this content already (`If-None-Match`, RFC 9110 §13.1.2).
pub(super) fn is_known(headers: &HeaderMap, digest: &Digest) -> bool {
    let tag = etag(digest);
    let tags =
        headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    tags.flat_map(|value| value.split(','))
        .any(|value| matches!(value.trim(), value if value == "*" || value.trim_start_matches("W/") == tag))
}

pub(super) fn etag(digest: &Digest) -> String {
    format!("\"{digest}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_other_failures_and_paths_are_told_to_nobody() {
        for (kind, status) in
            [(io::ErrorKind::StorageFull, 507), (io::ErrorKind::NotADirectory, 500)]
        {
            let error = io::Error::new(kind, "/srv/secret/path");
            let refusal = Refusal::from(UploadError::Io(error));
            assert_eq!(refusal.status.as_u16(), status);
            assert!(!refusal.message.contains("path"), "{}", refusal.message);
        }
    }
}
