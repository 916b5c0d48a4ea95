//! Layouts served as a registry over HTTP (distribution-spec 1.1), read-only or writable.
//!
//! - `route`: what a path asks for. Pure.
//! - `range`: which bytes a header asks for. Pure.
//! - `answer`: refusals as the specification wants them, and small helpers.
//! - `blobs`, `uploads`, `manifests`, `lists`: one family of endpoints each.
//!
//! Everybody who can reach the server may use it: it is for this machine, a trusted network, or
//! a place behind a proxy that asks for credentials.

mod answer;
mod blobs;
mod lists;
mod manifests;
mod range;
mod route;
mod uploads;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use http::{HeaderMap, Method, StatusCode, Uri, header};

use crate::layout::{Layout, Layouts};
use crate::oci::RepositoryName;

use super::pages;
use answer::{Answer, Refusal};
use route::{Resource, Route};

/// How much of a refused body is read and dropped, so that its sender gets to see the answer.
const MAX_DRAINED: usize = 16 << 20;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// What is told of each request.
pub type Observer = Arc<dyn Fn(&RequestLine) + Send + Sync>;

/// How layouts are served.
#[derive(Clone)]
pub struct Options {
    /// Whether clients may push and delete.
    pub writable: bool,
    /// How long the sender of a body may be silent.
    pub idle_timeout: Duration,
    /// Only this machine can reach the server, so clients name it by an address or as `localhost`.
    pub is_local: bool,
    /// Called once for each request, when its status is known.
    pub on_request: Option<Observer>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            writable: false,
            idle_timeout: Duration::from_secs(60),
            is_local: false,
            on_request: None,
        }
    }
}

/// One request and how it was answered.
#[derive(Debug, Clone)]
pub struct RequestLine {
    pub method: Method,
    pub uri: Uri,
    pub status: StatusCode,
}

/// The registry API over a set of layouts.
pub fn registry(layouts: Layouts, options: Options) -> Router {
    let registry = Arc::new(Registry { layouts, options });
    Router::new().fallback(handle).with_state(registry)
}

struct Registry {
    layouts: Layouts,
    options: Options,
}

/// A request without its body.
struct Head {
    method: Method,
    headers: HeaderMap,
    query: Query,
}

/// The parameters of a request, decoded.
struct Query(Vec<(String, String)>);

impl Query {
    fn get(&self, key: &str) -> Option<&String> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a String> {
        self.0.iter().filter(move |(name, _)| name == key).map(|(_, value)| value)
    }
}

/// A request's body. Its chunks end with an error if it breaks off or its sender is silent.
struct Incoming {
    chunks: BoxStream<'static, Result<Bytes, BrokenOff>>,
    /// In bytes, where it is announced.
    length: Option<u64>,
}

struct BrokenOff;

async fn handle(State(registry): State<Arc<Registry>>, request: Request) -> Response {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let on_request = registry.options.on_request.clone();
    // A task of its own ends properly when the connection breaks, keeping what has arrived;
    // this future would be dropped in the middle of it.
    let response = if matches!(method, Method::POST | Method::PATCH | Method::PUT) {
        let answered = tokio::spawn(async move { registry.respond(request).await }).await;
        answered.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
    } else {
        registry.respond(request).await
    };
    if let Some(on_request) = on_request {
        on_request(&RequestLine { method, uri, status: response.status() });
    }
    response
}

impl Registry {
    async fn respond(&self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let query = url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
        let head = Head {
            method: parts.method,
            query: Query(query.into_owned().collect()),
            headers: parts.headers,
        };
        let mut incoming = Incoming::new(body, &head.headers, self.options.idle_timeout);
        match self.answer(parts.uri.path(), &head, &mut incoming).await {
            Ok(response) => response,
            Err(refusal) => {
                // Who waits for a "continue" has not sent anything, and now will not.
                if !head.headers.contains_key(header::EXPECT) {
                    incoming.drain().await;
                }
                refusal.into_response()
            }
        }
    }

    async fn answer(&self, path: &str, head: &Head, incoming: &mut Incoming) -> Answer {
        if pages::are_of_page(&head.headers)
            || self.options.is_local && !pages::name_this_machine(&head.headers)
        {
            let message = "web pages and other names than localhost are not served";
            return Err(Refusal::new(StatusCode::FORBIDDEN, "DENIED", message));
        }
        let reading = matches!(head.method, Method::GET | Method::HEAD);
        if !reading && !self.options.writable {
            return Err(Refusal::unsupported("this registry is read-only"));
        }
        let (name, resource) = match route::parse(path)? {
            Route::Base if reading => return Ok(answer::base()),
            Route::Catalog if reading => return self.catalog(head).await,
            Route::Base | Route::Catalog => {
                return Err(Refusal::unsupported("this can only be read"));
            }
            Route::Repository(name, resource) => (name, resource),
        };
        match (&resource, head.method.as_str()) {
            (Resource::Tags, "GET" | "HEAD") => self.tags(&name, head).await,
            (Resource::Referrers(subject), "GET" | "HEAD") => {
                self.referrers(&name, subject, head).await
            }
            (Resource::Manifest(reference), "GET" | "HEAD") => {
                self.get_manifest(&name, reference, head).await
            }
            (Resource::Manifest(reference), "PUT") => {
                self.put_manifest(&name, reference, head, incoming).await
            }
            (Resource::Manifest(reference), "DELETE") => {
                self.delete_manifest(&name, reference).await
            }
            (Resource::Blob(digest), "GET" | "HEAD") => self.get_blob(&name, digest, head).await,
            (Resource::Uploads, "POST") => self.begin_upload(&name, head, incoming).await,
            (Resource::Upload(id), "GET" | "HEAD") => self.upload_status(&name, id).await,
            (Resource::Upload(id), "PATCH") => {
                self.append_to_upload(&name, id, head, incoming).await
            }
            (Resource::Upload(id), "PUT") => self.finish_upload(&name, id, head, incoming).await,
            (Resource::Upload(id), "DELETE") => self.cancel_upload(&name, id).await,
            _ => Err(Refusal::unsupported("this cannot be done here")),
        }
    }

    /// A repository that is there.
    async fn repository(&self, name: &RepositoryName) -> Result<Layout, Refusal> {
        self.layouts.get(name).await?.ok_or_else(|| {
            let message = format!("there is no repository `{name}`");
            Refusal::not_found("NAME_UNKNOWN", message)
        })
    }
}

impl Incoming {
    fn new(body: Body, headers: &HeaderMap, idle_timeout: Duration) -> Self {
        let chunks = stream::unfold(Some(body.into_data_stream()), move |body| async move {
            let mut body = body?;
            match tokio::time::timeout(idle_timeout, body.next()).await {
                Ok(Some(Ok(chunk))) => Some((Ok(chunk), Some(body))),
                Ok(None) => None,
                Ok(Some(Err(_))) | Err(_) => Some((Err(BrokenOff), None)),
            }
        });
        let length = headers.get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        // Who drains it does not know whether it has ended.
        Self { chunks: chunks.fuse().boxed(), length }
    }

    async fn drain(&mut self) {
        let drain = async {
            let mut size = 0;
            while let Some(Ok(chunk)) = self.chunks.next().await {
                size += chunk.len();
                if size > MAX_DRAINED {
                    break;
                }
            }
        };
        // Best effort: the answer is sent either way.
        let _ = tokio::time::timeout(DRAIN_TIMEOUT, drain).await;
    }
}
