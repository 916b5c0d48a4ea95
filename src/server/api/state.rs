//! The daemon as a whole: health, metrics, status, configuration, registries, transfers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};

use super::access::{Access, may_read};
use super::endpoint::{Body, Endpoint, json as schema};
use super::{Api, Problem, json, json_with};
use crate::daemon::ReloadError;
use crate::daemon::view::{Readiness, RegistryStatus, Status, Transfer};
use crate::metrics;

/// How long it is good enough to know whether the daemon is ready.
const VERDICT_LASTS: Duration = Duration::from_millis(200);

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/healthz", Access::Free, async || "ok\n")
            .summary("Check that the process works")
            .answer(200, "It is", Body::Text("text/plain")),
        Endpoint::get("/readyz", Access::Free, ready)
            .summary("Check that the daemon is ready, and if not, why")
            .answer(200, "It does", schema::<Readiness>())
            .answer(503, "It does not", schema::<Readiness>()),
        Endpoint::get("/metrics", Access::Open, render)
            .summary("Metrics in the Prometheus text format")
            .answer(200, "See docs/metrics.md", Body::Text(metrics::CONTENT_TYPE)),
        Endpoint::get("/api/v1/status", Access::Read, async |State(api): State<Arc<Api>>| {
            json(&api.daemon.status())
        })
        .summary("Show the state of the daemon")
        .answer(200, "How it is", schema::<Status>()),
        Endpoint::get("/api/v1/transfers", Access::Read, async |State(api): State<Arc<Api>>| {
            json(&api.daemon.transfers())
        })
        .summary("List images being transferred, with bytes and rate")
        .answer(200, "Oldest first", schema::<Vec<Transfer>>()),
        Endpoint::get("/api/v1/registries", Access::Read, async |State(api): State<Arc<Api>>| {
            json(&api.daemon.registries())
        })
        .summary("List the registries used since the start, with their current limits")
        .answer(200, "By host", schema::<Vec<RegistryStatus>>()),
        Endpoint::get("/api/v1/config", Access::Read, config)
            .summary("Show the configuration in use, with defaults; only the sources of secrets")
            .answer(200, "TOML", Body::Text("application/toml")),
        Endpoint::post("/api/v1/reload", Access::Change, reload)
            .summary("Reload the configuration file")
            .answer(200, "It is in use", schema::<Status>())
            .answer(
                422,
                "The file contains a mistake; the previous configuration stays in use",
                Body::Problem,
            )
            .answer(503, "The daemon is stopping", Body::Problem),
    ]
}

async fn ready(State(api): State<Arc<Api>>, headers: HeaderMap) -> Response {
    let mut readiness = verdict(&api);
    if !may_read(&api, &headers) {
        // Probes only want the status; paths and errors are nobody else's business.
        for check in &mut readiness.checks {
            check.message = if check.ok { "good" } else { "not good: the log says why" }.to_owned();
        }
    }
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json_with(status, &readiness)
}

/// What was found out a moment ago, so that a flood of probes costs nothing and nobody's probe
/// has to be refused.
fn verdict(api: &Api) -> Readiness {
    let mut last = api.readiness.lock();
    match &*last {
        Some((at, readiness)) if at.elapsed() < VERDICT_LASTS => readiness.clone(),
        _ => {
            let readiness = api.daemon.readiness();
            *last = Some((Instant::now(), readiness.clone()));
            readiness
        }
    }
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
