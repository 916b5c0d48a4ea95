//! Reading blobs: HEAD and GET with ranges (distribution-spec, "Pulling blobs").

use http::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderValue, RANGE};
use http::{Method, StatusCode};

use super::call::What;
use super::operation::Operation;
use super::remote::RemoteRepository;
use crate::oci::Digest;
use crate::repository::{BlobReader, Cause, Repository, Result};

impl RemoteRepository {
    pub(super) async fn head_blob(&self, digest: &Digest) -> Result<Option<u64>> {
        let what = What::Blob(self.name(), digest);
        let url = self.url(&format!("blobs/{digest}"));
        let call = self.call(Operation::LookUpBlob, what, Method::HEAD, url, &self.reads);
        let answer = self.registry.origin.call(&call).await?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            _ => return Err(call.refused(&answer)),
        }
        let length = answer.header(CONTENT_LENGTH.as_str()).and_then(|text| text.parse().ok());
        let length = length.ok_or_else(|| {
            call.error(Cause::Protocol("the registry does not say how long it is".to_owned()))
        })?;
        Ok(Some(length))
    }

    pub(super) async fn get_blob(&self, digest: &Digest, offset: u64) -> Result<BlobReader> {
        let what = What::Blob(self.name(), digest);
        let url = self.url(&format!("blobs/{digest}"));
        let mut call = self.call(Operation::GetBlob, what, Method::GET, url, &self.reads);
        if offset > 0 {
            let range = HeaderValue::from_str(&format!("bytes={offset}-"));
            let range = range.map_err(|error| call.error(Cause::Protocol(error.to_string())))?;
            call = call.header(RANGE, range);
        }
        let response = match self.registry.origin.open(&call).await? {
            Ok(response) => response,
            Err(answer) => return Err(call.refused(&answer)),
        };
        let begins = match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let range =
                    response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
                range.and_then(first_byte).filter(|first| *first == offset).ok_or_else(|| {
                    let range = range.unwrap_or("none");
                    call.error(Cause::Protocol(format!(
                        "asked for the bytes from {offset} on, the registry sends the range `{range}`"
                    )))
                })?
            }
            _ => 0,
        };
        Ok(BlobReader { offset: begins, chunks: self.registry.origin.chunks(&call, response) })
    }
}

/// The first byte position in `bytes 7-99/100` (RFC 9110 §14.4).
fn first_byte(content_range: &str) -> Option<u64> {
    content_range.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges() {
        assert_eq!(first_byte("bytes 7-99/100"), Some(7));
        assert_eq!(first_byte("bytes 0-0/*"), Some(0));
        assert_eq!(first_byte("bytes */100"), None);
        assert_eq!(first_byte("7-99"), None);
    }
}
