//! The daemon over HTTP: health, metrics, and what it did, does and will do.
//!
//! - `endpoint`: the table of endpoints, and the OpenAPI document made of it.
//! - `access`: who may ask what. `limit`: how often. `receiving`: bodies of messages. `path`: names in
//!   addresses. `problem`: refusals. `lines`: answers that come line by line.
//!   `access_log`: what was asked.
//! - `state`, `rules`, `runs`, `restore`, `events`: one family of endpoints each.
//!
//! Nothing in here decides anything about images: every answer is the daemon's.

mod access;
mod access_log;
mod endpoint;
mod events;
mod limit;
mod lines;
mod path;
mod problem;
mod receiving;
mod restore;
mod rules;
mod runs;
mod state;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::Value;

use super::Bounds;
use crate::daemon::Handle;
use crate::daemon::view::Readiness;
use crate::text::inert_json;
use access::Access;
use endpoint::{Body, Endpoint};
use limit::Limits;
pub use problem::Problem;
use receiving::Receiving;
pub use runs::MAX_RUNS;

/// What the handlers share.
struct Api {
    daemon: Handle,
    limits: Limits,
    receiving: Receiving,
    readiness: Mutex<Option<(Instant, Readiness)>>,
    document: Value,
}

/// What clients of the API may take up: few, and in a hurry.
pub const BOUNDS: Bounds = Bounds {
    head_timeout: Duration::from_secs(10),
    write_timeout: Duration::from_secs(10),
    headers: 64,
    head_bytes: 16 << 10,
    connections: 512,
    grace: Duration::from_secs(3),
};

/// The router of the whole API.
pub fn router(daemon: Handle) -> Router {
    let endpoints = endpoints();
    let document = endpoint::document(&endpoints);
    let api = Arc::new(Api {
        daemon,
        limits: Limits::new(),
        receiving: Receiving::default(),
        readiness: Mutex::default(),
        document,
    });
    endpoint::router(endpoints, &api)
        .fallback(async || Problem::not_found("there is nothing here: see /api/v1/openapi.json"))
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "see /api/v1/openapi.json")
        })
        .layer(from_fn(access_log::log))
        .with_state(api)
}

/// The OpenAPI 3.1 document of the API.
pub fn document() -> Value {
    endpoint::document(&endpoints())
}

fn endpoints() -> Vec<Endpoint> {
    let own =
        Endpoint::get("/api/v1/openapi.json", Access::Open, async |State(api): State<Arc<Api>>| {
            json(&api.document)
        })
        .summary("This OpenAPI description")
        .answer(
            200,
            "OpenAPI 3.1",
            Body::Json(|_| schemars::json_schema!({ "type": "object" })),
        );
    let families = [
        state::endpoints(),
        rules::endpoints(),
        runs::endpoints(),
        restore::endpoints(),
        events::endpoints(),
    ];
    families.into_iter().flatten().chain([own]).collect()
}

/// A document as an answer.
fn json(document: &impl Serialize) -> Response {
    json_with(StatusCode::OK, document)
}

fn json_with(status: StatusCode, document: &impl Serialize) -> Response {
    match serde_json::to_string(document) {
        Ok(body) => {
            // People read it on a terminal too.
            let body = inert_json(&body).into_owned();
            let json = HeaderValue::from_static("application/json");
            (status, [(header::CONTENT_TYPE, json)], body).into_response()
        }
        Err(error) => {
            Problem::internal(format!("the answer cannot be written: {error}")).into_response()
        }
    }
}
