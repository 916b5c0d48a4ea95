//! tranship's own registry over layouts, in this process, with a record of its traffic.
//!
//! It has what docker-registry lacks: the referrers API, indexes with children left out, and
//! uploads that keep what arrived before a connection broke.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use futures_util::StreamExt;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tranship::layout::Layouts;
use tranship::server::{self, Options};

use super::endpoint::{Endpoint, Place};
use super::traffic::{Kind, Seen, Traffic};

type Record = Arc<Mutex<Vec<Seen>>>;

/// A writable registry in a folder of its own; dropping it cuts all connections.
pub struct LayoutRegistry {
    endpoint: Endpoint,
    seen: Record,
    runtime: Option<Runtime>,
    root: TempDir,
}

/// A place in the record.
#[derive(Debug, Clone, Copy)]
pub struct Mark(usize);

impl LayoutRegistry {
    pub async fn start() -> Self {
        let root = TempDir::with_prefix("tranship-layouts-").unwrap();
        let seen = Record::default();
        let layouts = Layouts::open(root.path()).await.unwrap();
        let options = Options { writable: true, ..Options::default() };
        let router = server::registry(layouts, options)
            .layer(middleware::from_fn_with_state((Arc::clone(&seen), Instant::now()), record));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("layout-registry")
            .enable_all()
            .build()
            .unwrap();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            server::serve(listener, router, server::Bounds::default(), std::future::pending()).await
        });
        let endpoint = Endpoint::plain(address.to_string());
        Self { endpoint, seen, runtime: Some(runtime), root }
    }

    /// The folder of the layouts.
    pub fn folder(&self) -> &Path {
        self.root.path()
    }

    pub fn mark(&self) -> Mark {
        Mark(self.seen.lock().unwrap().len())
    }

    /// What was asked since a mark; of requests that are still under way, what came until now.
    pub fn requests_since(&self, mark: Mark) -> Traffic {
        Traffic(self.seen.lock().unwrap()[mark.0..].to_vec())
    }

    /// Looks at the record without copying it.
    pub fn look<T>(&self, look: impl FnOnce(&[Seen]) -> T) -> T {
        look(&self.seen.lock().unwrap())
    }

    pub fn traffic(&self) -> Traffic {
        self.requests_since(Mark(0))
    }
}

impl Place for LayoutRegistry {
    fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}

impl Drop for LayoutRegistry {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Allowed inside of another runtime, unlike waiting for the threads.
            runtime.shutdown_background();
        }
    }
}

/// Notes a request when it comes, its body as it comes, and its status when it is known.
async fn record(
    State((seen, started)): State<(Record, Instant)>,
    request: Request,
    next: Next,
) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let at = {
        let mut seen = seen.lock().unwrap();
        seen.push(Seen {
            method: parts.method.to_string(),
            kind: Kind::of(&path),
            path,
            query: parts.uri.query().unwrap_or_default().to_owned(),
            status: None,
            headers: parts.headers.clone(),
            body_length: 0,
            answer_length: 0,
            at: Instant::now().duration_since(started).max(Duration::from_nanos(1)),
        });
        seen.len() - 1
    };
    let counter = Arc::clone(&seen);
    let counted = body.into_data_stream().inspect(move |chunk| {
        if let Ok(chunk) = chunk {
            counter.lock().unwrap()[at].body_length += chunk.len() as u64;
        }
    });
    let request = Request::from_parts(parts, Body::from_stream(counted));
    // A task of its own, because this one ends when the client is gone: what the registry made
    // of the request is to be known even then.
    let answered = tokio::spawn(async move {
        let response = next.run(request).await;
        seen.lock().unwrap()[at].status = Some(response.status().as_u16());
        response
    });
    answered.await.unwrap()
}
