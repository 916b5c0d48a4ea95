//! Runs: those of the past, those under way, and the request to stop one.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;

use super::access::Access;
use super::endpoint::{Body, Endpoint, json as schema};
use super::path::Name;
use super::{Api, Problem, json};
use crate::daemon::view::{ActiveRun, RunDetail};
use crate::history::{Filter, RunId, RunOutcome, RunRecord};

/// Runs of one answer, unless asked otherwise.
const RUNS: usize = 100;
/// Runs of one answer at most.
pub const MAX_RUNS: usize = 1_000;

pub(super) fn endpoints() -> Vec<Endpoint> {
    const ID: &str = "The run's id";
    vec![
        Endpoint::get("/api/v1/runs", Access::Read, list)
            .summary("List runs, newest first")
            .parameter("rule", "Only runs of this rule")
            .parameter(
                "outcome",
                "Only runs that are `running`, `succeeded`, `failed`, `limited` or `interrupted`",
            )
            .parameter(
                "since",
                "Only runs that ended at or after this time (RFC 3339), or are in progress",
            )
            .parameter("limit", "Maximum number of runs: 100 by default, at most 1000")
            .answer(200, "The runs", schema::<Vec<RunRecord>>())
            .answer(400, "A parameter cannot be understood", Body::Problem),
        Endpoint::get("/api/v1/runs/{id}", Access::Read, one)
            .summary("Show one run, with every image that was not simply unchanged")
            .parameter("id", ID)
            .answer(200, "The run", schema::<RunDetail>())
            .answer(404, "No such run, or it is no longer in the history", Body::Problem),
        Endpoint::post("/api/v1/runs/{id}/cancel", Access::Change, cancel)
            .summary(
                "Stop a run or remove it from the queue; what it has copied or deleted stays so",
            )
            .parameter("id", ID)
            .answer(202, "It stops", Body::Text("text/plain"))
            .answer(404, "The run is neither in progress nor queued", Body::Problem)
            .answer(503, "The daemon is stopping", Body::Problem),
        Endpoint::get("/api/v1/running", Access::Read, async |State(api): State<Arc<Api>>| {
            json(&api.daemon.active())
        })
        .summary("List runs in progress, oldest first")
        .answer(200, "The runs", schema::<Vec<ActiveRun>>()),
    ]
}

/// What may stand behind the question mark.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    rule: Option<String>,
    outcome: Option<RunOutcome>,
    since: Option<Timestamp>,
    limit: Option<usize>,
}

async fn list(
    State(api): State<Arc<Api>>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(Wanted { rule, outcome, since, limit }) =
        wanted.map_err(|rejection| Problem::bad_request(rejection.body_text()))?;
    let limit = Some(limit.unwrap_or(RUNS).min(MAX_RUNS));
    let runs = api.daemon.runs(Filter { rule, outcome, since, limit }).await;
    Ok(json(&runs.map_err(unreadable)?))
}

async fn one(State(api): State<Arc<Api>>, Name(id): Name) -> Result<Response, Problem> {
    let run = api.daemon.run(parse(&id)?).await.map_err(unreadable)?;
    Ok(json(&run.ok_or_else(|| unknown(&id))?))
}

async fn cancel(
    State(api): State<Arc<Api>>,
    Name(id): Name,
) -> Result<(StatusCode, &'static str), Problem> {
    match api.daemon.cancel(parse(&id)?).await? {
        true => Ok((StatusCode::ACCEPTED, "it stops\n")),
        false => Err(Problem::not_found(format!("{id} is neither under way nor waiting"))),
    }
}

fn parse(id: &str) -> Result<RunId, Problem> {
    id.parse().map_err(|_| unknown(id))
}

fn unknown(id: &str) -> Problem {
    Problem::not_found(format!("there is no run `{id}` in the history"))
}

fn unreadable(error: std::io::Error) -> Problem {
    Problem::internal(format!("the history cannot be read: {error}"))
}
