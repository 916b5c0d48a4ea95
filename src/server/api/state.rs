//! The daemon as a whole: health, metrics, status, configuration, registries, transfers.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{HeaderMap, StatusCode, header};

use super::access::{Access, may_read};
use super::endpoint::{Body, Endpoint, json as schema};
use super::{Api, Problem, json, json_with};
use crate::daemon::ReloadError;
use crate::daemon::view::{Readiness, RegistryStatus, Status, Transfer};
use crate::metrics;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint {
            path: "/healthz",
            method: "GET",
            access: Access::Free,
            summary: "Check that the process works",
            parameters: &[],
            answers: vec![(200, "It is", Body::Text("text/plain"))],
            handler: get(async || "ok\n"),
        },
        Endpoint {
            path: "/readyz",
            method: "GET",
            access: Access::Open,
            summary: "Check that the daemon is ready, and if not, why",
            parameters: &[],
            answers: vec![
                (200, "It does", schema::<Readiness>()),
                (503, "It does not", schema::<Readiness>()),
            ],
            handler: get(ready),
        },
        Endpoint {
            path: "/metrics",
            method: "GET",
            access: Access::Open,
            summary: "Metrics in the Prometheus text format",
            parameters: &[],
            answers: vec![(200, "See docs/metrics.md", Body::Text(metrics::CONTENT_TYPE))],
            handler: get(render),
        },
        Endpoint {
            path: "/api/v1/status",
            method: "GET",
            access: Access::Read,
            summary: "Show the state of the daemon",
            parameters: &[],
            answers: vec![(200, "How it is", schema::<Status>())],
            handler: get(async |State(api): State<Arc<Api>>| json(&api.daemon.status())),
        },
        Endpoint {
            path: "/api/v1/transfers",
            method: "GET",
            access: Access::Read,
            summary: "List images being transferred, with bytes and rate",
            parameters: &[],
            answers: vec![(200, "Oldest first", schema::<Vec<Transfer>>())],
            handler: get(async |State(api): State<Arc<Api>>| json(&api.daemon.transfers())),
        },
        Endpoint {
            path: "/api/v1/registries",
            method: "GET",
            access: Access::Read,
            summary: "List the registries used since the start, with their current limits",
            parameters: &[],
            answers: vec![(200, "By host", schema::<Vec<RegistryStatus>>())],
            handler: get(async |State(api): State<Arc<Api>>| json(&api.daemon.registries())),
        },
        Endpoint {
            path: "/api/v1/config",
            method: "GET",
            access: Access::Read,
            summary: "Show the configuration in use, with defaults; only the sources of secrets",
            parameters: &[],
            answers: vec![(200, "TOML", Body::Text("application/toml"))],
            handler: get(config),
        },
        Endpoint {
            path: "/api/v1/reload",
            method: "POST",
            access: Access::Change,
            summary: "Reload the configuration file",
            parameters: &[],
            answers: vec![
                (200, "It is in use", schema::<Status>()),
                (
                    422,
                    "The file contains a mistake; the previous configuration stays in use",
                    Body::Problem,
                ),
                (503, "The daemon is stopping", Body::Problem),
            ],
            handler: post(reload),
        },
    ]
}

async fn ready(State(api): State<Arc<Api>>, headers: HeaderMap) -> Response {
    let mut readiness = api.daemon.readiness();
    if !may_read(&api, &headers) {
        // Probes only want the status; paths and errors are nobody else's business.
        for check in &mut readiness.checks {
            check.message = if check.ok { "good" } else { "not good: the log says why" }.to_owned();
        }
    }
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json_with(status, &readiness)
}

async fn render(State(api): State<Arc<Api>>) -> Result<impl IntoResponse, Problem> {
    let text = api.daemon.render_metrics().map_err(|error| Problem::internal(error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text))
}

async fn config(State(api): State<Arc<Api>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/toml")], api.daemon.config())
}

async fn reload(State(api): State<Arc<Api>>) -> Result<Response, Problem> {
    match api.daemon.reload().await {
        Ok(()) => Ok(json(&api.daemon.status())),
        Err(ReloadError::Stopping(stopping)) => Err(stopping.into()),
        Err(why) => Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, why.to_string())),
    }
}
