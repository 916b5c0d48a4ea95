//! Follows the redirects of reading requests.

use http::header;
use reqwest::Response;

use super::{Failed, Origin, Try};
use crate::http::retry;
use crate::registry::call::{Call, MAX_ERROR_BODY};
use crate::registry::link;
use crate::repository::Cause;

/// Redirects followed for one request.
const MAX_REDIRECTS: u32 = 5;

impl Origin {
    /// The headers of the answer that `response`, which is a redirect, leads to.
    pub(super) async fn follow(&self, call: &Call<'_>, mut response: Response) -> Try<Response> {
        let mut base = call.url.clone();
        for _ in 0..MAX_REDIRECTS {
            let address =
                response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
            let url =
                address.and_then(|address| link::resolve(&base, address)).ok_or_else(|| {
                    Failed::Final(Cause::Protocol(
                        "the registry redirects to an address that is not allowed".to_owned(),
                    ))
                })?;
            // Whatever authorizes it was accepted with the first request.
            let (request, _) = self.prepare(call, &url).await.map_err(Failed::Final)?;
            response = self.send(call, request).await?;
            if retry::is_transient(response.status()) {
                return Err(Failed::Status(self.read(response, MAX_ERROR_BODY).await?));
            }
            if !response.status().is_redirection() {
                return Ok(response);
            }
            base = url;
        }
        Err(Failed::Final(Cause::Protocol(format!(
            "the registry redirects more than {MAX_REDIRECTS} times"
        ))))
    }
}
