//! Rules: how they fare, what they would do, and the request to run one now.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::access::Access;
use super::endpoint::{Body, Endpoint, either, json as schema};
use super::path::Name;
use super::{Api, Problem, json, json_with};
use crate::daemon::view::{Accepted, CleanupPlans, RulePlan, RuleStatus};
use crate::sync::RuleReport;

/// How long a plan may take to be made.
const PLAN_TIMEOUT: Duration = Duration::from_secs(600);

const NAME: &str = "Name of the rule";
const UNKNOWN: &str = "There is no such rule";

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/rules", Access::Read, async |State(api): State<Arc<Api>>| {
            json(&api.daemon.rules())
        })
        .summary("List the rules, in the order of the configuration")
        .answer(200, "All rules", schema::<Vec<RuleStatus>>()),
        Endpoint::get("/api/v1/rules/{name}", Access::Read, one)
            .summary("Show one rule")
            .parameter("name", NAME)
            .answer(200, "The rule", schema::<RuleStatus>())
            .answer(404, UNKNOWN, Body::Problem),
        Endpoint::get("/api/v1/rules/{name}/plan", Access::Read, plan)
            .summary("Plan what a run would do now; contacts the registries but changes nothing")
            .parameter("name", NAME)
            .answer(
                200,
                "As printed by `tranship sync --dry-run` or `tranship cleanup`, with --output json",
                either::<RuleReport, CleanupPlans>(),
            )
            .answer(404, UNKNOWN, Body::Problem)
            .answer(503, "Too many plans are being made, or this one took too long", Body::Problem),
        Endpoint::post("/api/v1/rules/{name}/run", Access::Change, run)
            .summary("Run the rule now, or after its current run")
            .parameter("name", NAME)
            .answer(202, "The run was started or queued", schema::<Accepted>())
            .answer(404, UNKNOWN, Body::Problem)
            .answer(503, "The daemon is stopping", Body::Problem),
    ]
}

fn unknown(name: &str) -> Problem {
    Problem::not_found(format!("there is no rule `{name}`: GET /api/v1/rules lists them"))
}

async fn one(State(api): State<Arc<Api>>, Name(name): Name) -> Result<Response, Problem> {
    Ok(json(&api.daemon.rule(&name).ok_or_else(|| unknown(&name))?))
}

async fn plan(State(api): State<Arc<Api>>, Name(name): Name) -> Result<Response, Problem> {
    let unavailable = |detail: &str| Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail);
    let Ok(_place) = api.plans.try_acquire() else {
        return Err(unavailable("other plans are being made: try again when they are done"));
    };
    match tokio::time::timeout(PLAN_TIMEOUT, api.daemon.plan(&name)).await {
        Ok(Some(RulePlan::Sync(report))) => Ok(json(&report)),
        Ok(Some(RulePlan::Cleanup(plans))) => Ok(json(&plans)),
        Ok(None) => Err(unknown(&name)),
        Err(_) => Err(unavailable(
            "the plan took too long: `tranship sync --dry-run` and `tranship cleanup` have no limit",
        )),
    }
}

async fn run(State(api): State<Arc<Api>>, Name(name): Name) -> Result<Response, Problem> {
    let accepted = api.daemon.run_rule(&name).await?.ok_or_else(|| unknown(&name))?;
    Ok(json_with(StatusCode::ACCEPTED, &accepted))
}
