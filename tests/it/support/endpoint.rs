//! How the harness itself talks to a registry: always with every right, never through tranship.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::Value;

use super::token_server::TokenServer;

/// Every manifest type, so that no registry converts or hides one.
pub const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
application/vnd.oci.image.manifest.v1+json, \
application/vnd.docker.distribution.manifest.list.v2+json, \
application/vnd.docker.distribution.manifest.v2+json";

/// Something that can be reached as a registry.
pub trait Place {
    fn endpoint(&self) -> &Endpoint;

    /// `host:port`, as it stands in references.
    fn host(&self) -> &str {
        &self.endpoint().host
    }

    /// `host:port/repository:tag`.
    fn reference(&self, repository: &str, tag: &str) -> String {
        format!("{}/{repository}:{tag}", self.host())
    }
}

/// What the harness shows to be let in.
#[derive(Clone, Default)]
pub enum Credentials {
    #[default]
    None,
    Basic {
        user: String,
        password: String,
    },
    Tokens(TokenServer),
}

/// A registry's address and the harness's way in.
#[derive(Clone)]
pub struct Endpoint {
    pub host: String,
    pub tls: bool,
    pub client: reqwest::Client,
    pub credentials: Credentials,
}

/// A manifest as a registry serves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    pub media_type: String,
    pub bytes: Bytes,
}

impl Place for Endpoint {
    fn endpoint(&self) -> &Endpoint {
        self
    }
}

/// A client that talks to nobody but the address given, and follows blob redirects.
pub fn client_builder() -> reqwest::ClientBuilder {
    super::choose_cryptography();
    // No connection is used twice: faults leave some of them broken.
    reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).timeout(Duration::from_secs(60))
}

impl Endpoint {
    /// A registry on this machine without TLS and without a login.
    pub fn plain(host: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            tls: false,
            client: client_builder().build().unwrap(),
            credentials: Credentials::None,
        }
    }

    /// An absolute URL of this registry.
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", if self.tls { "https" } else { "http" }, self.host)
    }

    /// A request with credentials for one repository; `location` is a path or a whole URL.
    pub fn request(&self, method: Method, repository: &str, location: &str) -> RequestBuilder {
        let url = if location.starts_with('/') { self.url(location) } else { location.to_owned() };
        let request = self.client.request(method, url);
        match &self.credentials {
            Credentials::None => request,
            Credentials::Basic { user, password } => {
                let basic = STANDARD.encode(format!("{user}:{password}"));
                request.header("authorization", format!("Basic {basic}"))
            }
            Credentials::Tokens(server) => {
                request.header("authorization", format!("Bearer {}", server.mint(repository)))
            }
        }
    }

    /// A manifest by tag or digest; `None` for 404.
    pub async fn manifest(&self, repository: &str, reference: &str) -> Option<Served> {
        let path = format!("/v2/{repository}/manifests/{reference}");
        let get = || self.request(Method::GET, repository, &path).header("accept", ACCEPT).send();
        let mut response = get().await.unwrap();
        // distribution 2 answers so while the file behind a tag is being written.
        for _ in 0..20 {
            if response.status() != StatusCode::INTERNAL_SERVER_ERROR {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            response = get().await.unwrap();
        }
        if response.status() == StatusCode::NOT_FOUND {
            return None;
        }
        assert_eq!(response.status(), 200, "GET {} {path}", self.host);
        let media_type = response.headers()["content-type"].to_str().unwrap().to_owned();
        Some(Served { media_type, bytes: response.bytes().await.unwrap() })
    }

    /// The digest of what a tag points at, hashed from the bytes; `None` for 404.
    pub async fn digest(&self, repository: &str, tag: &str) -> Option<String> {
        let served = self.manifest(repository, tag).await?;
        Some(tranship::oci::Digest::of(&served.bytes).to_string())
    }

    /// A blob's bytes; `None` for 404.
    pub async fn blob(&self, repository: &str, digest: &str) -> Option<Bytes> {
        let path = format!("/v2/{repository}/blobs/{digest}");
        let response = self.request(Method::GET, repository, &path).send().await.unwrap();
        if response.status() == StatusCode::NOT_FOUND {
            return None;
        }
        assert_eq!(response.status(), 200, "GET {} {path}", self.host);
        Some(response.bytes().await.unwrap())
    }

    /// Every tag, sorted; none where the repository is unknown.
    pub async fn tags(&self, repository: &str) -> Vec<String> {
        let path = format!("/v2/{repository}/tags/list");
        let response = self.request(Method::GET, repository, &path).send().await.unwrap();
        if response.status() == StatusCode::NOT_FOUND {
            return Vec::new();
        }
        assert_eq!(response.status(), 200, "GET {} {path}", self.host);
        let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        let mut tags: Vec<String> =
            serde_json::from_value(body["tags"].clone()).unwrap_or_default();
        tags.sort();
        tags
    }

    /// Uploads a blob in two requests, unless it is there.
    pub async fn put_blob(&self, repository: &str, digest: &str, bytes: Bytes) {
        let path = format!("/v2/{repository}/blobs/{digest}");
        let there = self.request(Method::HEAD, repository, &path).send().await.unwrap();
        if there.status() == 200 {
            return;
        }
        let path = format!("/v2/{repository}/blobs/uploads/");
        let opened = self.request(Method::POST, repository, &path).send().await.unwrap();
        assert_eq!(opened.status(), 202, "POST {} {path}", self.host);
        let location = opened.headers()["location"].to_str().unwrap();
        let separator = if location.contains('?') { '&' } else { '?' };
        let location = format!("{location}{separator}digest={digest}");
        let put = self.request(Method::PUT, repository, &location).body(bytes).send().await;
        assert_eq!(put.unwrap().status(), 201, "PUT {} {digest}", self.host);
    }

    /// Puts a manifest under a tag or its digest; gives the answer's headers.
    pub async fn put_manifest(
        &self,
        repository: &str,
        reference: &str,
        media_type: &str,
        bytes: Bytes,
    ) -> http::HeaderMap {
        let path = format!("/v2/{repository}/manifests/{reference}");
        let request = self.request(Method::PUT, repository, &path);
        let response = request.header("content-type", media_type).body(bytes).send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.unwrap_or_default();
        assert_eq!(status, 201, "PUT {} {path}: {text}", self.host);
        headers
    }

    /// Deletes a manifest by digest (or a tag, where the registry lets one).
    pub async fn delete(&self, repository: &str, reference: &str) -> StatusCode {
        let path = format!("/v2/{repository}/manifests/{reference}");
        self.request(Method::DELETE, repository, &path).send().await.unwrap().status()
    }
}
