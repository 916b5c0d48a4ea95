//! Rules: how they fare, what they would do, and the request to run one now.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;

use super::access::Access;
use super::endpoint::{Body, Endpoint, either, json as schema};
use super::lines::{LINES, lines};
use super::path::Name;
use super::{Api, Problem, json, json_with};
use crate::cleanup::Asked;
use crate::config::cleanup::Mode;
use crate::daemon::view::{
    Accepted, Cancelled, CleanupPlans, NoPlan, PlanOptions, RulePlan, RuleStatus,
};
use crate::daemon::{AskedBy, RuleRefusal, RunOptions};
use crate::oci::ImageAddress;
use crate::sync::RuleReport;

/// How long a plan may take to be made.
const PLAN_TIMEOUT: Duration = Duration::from_secs(600);

const NAME: &str = "Name of the rule";
const UNKNOWN: &str = "There is no such rule";
const MODE: &str = "Of a cleanup rule: `apply` or `plan`, instead of the rule's own `mode`";
const RECHECK: &str = "Of a sync rule: `true` asks the targets about every image, also where the state knows the answer";
const CAUSE: &str = "Who asks for the run, as the history has it: `api` (the default) or `command`";
const KIND: &str = "A parameter cannot be understood, or is for rules of the other kind";
const SWEEPING: &str = "The rule covers every repository of a registry, so it must not delete";
const STOPPING: &str = "The daemon is stopping";

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
            .parameter("mode", MODE)
            .parameter("recheck", RECHECK)
            .parameter("cause", CAUSE)
            .answer(202, "The run was started or queued", schema::<Accepted>())
            .answer(400, KIND, Body::Problem)
            .answer(404, UNKNOWN, Body::Problem)
            .answer(409, SWEEPING, Body::Problem)
            .answer(503, STOPPING, Body::Problem),
        Endpoint::get("/api/v1/rules/{name}/plan/lines", Access::Read, plan_lines)
            .summary("Plan what a run would do now, line by line; stops if the client goes away")
            .parameter("name", NAME)
            .parameter(
                "explain",
                "Of a cleanup rule: plan only the repository of this image, and explain its fate",
            )
            .parameter("recheck", RECHECK)
            .answer(
                200,
                "Lines of a sync rule: `image` for each image that is not simply unchanged; \
                 `report`. Of a cleanup rule: `plan` with the plan of each repository, and the \
                 explanation; `report`",
                Body::Text(LINES),
            )
            .answer(
                400,
                "A parameter cannot be understood or is for rules of the other kind, or the rule \
                 does not cover the image",
                Body::Problem,
            )
            .answer(404, UNKNOWN, Body::Problem),
        Endpoint::post("/api/v1/rules/{name}/run/lines", Access::Change, run_lines)
            .summary("Run the rule now, or after its current run, and follow the run")
            .parameter("name", NAME)
            .parameter("mode", MODE)
            .parameter("recheck", RECHECK)
            .parameter("cause", CAUSE)
            .answer(
                200,
                "Lines: `run` with the run's id; of a sync rule `image` for each image that is not \
                 simply unchanged and `moved`, of a cleanup rule `plan` with the plan of each \
                 repository; `report`",
                Body::Text(LINES),
            )
            .answer(400, KIND, Body::Problem)
            .answer(404, UNKNOWN, Body::Problem)
            .answer(409, SWEEPING, Body::Problem)
            .answer(503, STOPPING, Body::Problem),
        Endpoint::post("/api/v1/rules/{name}/cancel", Access::Change, cancel)
            .summary(
                "Stop all runs of a rule and remove them from the queue; what they have copied or \
                 deleted stays so",
            )
            .parameter("name", NAME)
            .answer(202, "They stop", schema::<Cancelled>())
            .answer(
                404,
                "There is no such rule, or no run of it is in progress or queued",
                Body::Problem,
            )
            .answer(503, STOPPING, Body::Problem),
    ]
}

/// What may stand behind the question mark of a plan.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Planned {
    explain: Option<String>,
    #[serde(default)]
    recheck: bool,
}

/// And of a run.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    mode: Option<Mode>,
    #[serde(default)]
    recheck: bool,
    #[serde(default)]
    cause: AskedBy,
}

impl From<Wanted> for RunOptions {
    fn from(Wanted { mode, recheck, cause }: Wanted) -> Self {
        Self { mode, recheck, asked_by: cause }
    }
}

type Queried<T> = Result<Query<T>, QueryRejection>;

fn understood<T>(query: Queried<T>) -> Result<T, Problem> {
    let rejected = |rejection: QueryRejection| Problem::bad_request(rejection.body_text());
    Ok(query.map_err(rejected)?.0)
}

impl From<RuleRefusal> for Problem {
    fn from(refusal: RuleRefusal) -> Self {
        let status = match &refusal {
            RuleRefusal::Unknown(_) | RuleRefusal::Idle(_) => StatusCode::NOT_FOUND,
            RuleRefusal::NoCleanup(_) | RuleRefusal::NoSync(_) | RuleRefusal::NotCovered { .. } => {
                StatusCode::BAD_REQUEST
            }
            RuleRefusal::Sweeping(_) => StatusCode::CONFLICT,
            RuleRefusal::Stopping(stopping) => return Self::from(*stopping),
        };
        Self::new(status, refusal.to_string())
    }
}

fn unknown(name: &str) -> Problem {
    RuleRefusal::Unknown(name.to_owned()).into()
}

async fn one(State(api): State<Arc<Api>>, Name(name): Name) -> Result<Response, Problem> {
    Ok(json(&api.daemon.rule(&name).ok_or_else(|| unknown(&name))?))
}

async fn plan(State(api): State<Arc<Api>>, Name(name): Name) -> Result<Response, Problem> {
    let unavailable = |detail: &str| Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail);
    match tokio::time::timeout(PLAN_TIMEOUT, api.daemon.plan(&name)).await {
        Ok(Ok(RulePlan::Sync(report))) => Ok(json(&report)),
        Ok(Ok(RulePlan::Cleanup(plans))) => Ok(json(&plans)),
        Ok(Err(NoPlan::Unknown)) => Err(unknown(&name)),
        Ok(Err(NoPlan::Busy)) => {
            Err(unavailable("other plans are being made: try again when they are done"))
        }
        Err(_) => Err(unavailable(
            "the plan took too long: `tranship sync --dry-run` and `tranship cleanup` have no limit",
        )),
    }
}

async fn plan_lines(
    State(api): State<Arc<Api>>,
    Name(name): Name,
    query: Queried<Planned>,
) -> Result<Response, Problem> {
    let Planned { explain, recheck } = understood(query)?;
    let asked = explain.map(|image| asked(&image)).transpose()?;
    Ok(lines(api.daemon.follow_plan(&name, PlanOptions { asked, recheck }).await?))
}

fn asked(image: &str) -> Result<Asked, Problem> {
    let image: ImageAddress =
        image.parse().map_err(|error| Problem::bad_request(format!("`explain`: {error}")))?;
    Asked::of(image).map_err(|why| Problem::bad_request(format!("`explain` {why}")))
}

async fn run(
    State(api): State<Arc<Api>>,
    Name(name): Name,
    query: Queried<Wanted>,
) -> Result<Response, Problem> {
    let accepted = api.daemon.run_rule(&name, understood(query)?.into()).await?;
    Ok(json_with(StatusCode::ACCEPTED, &accepted))
}

async fn run_lines(
    State(api): State<Arc<Api>>,
    Name(name): Name,
    query: Queried<Wanted>,
) -> Result<Response, Problem> {
    Ok(lines(api.daemon.follow_run(&name, understood(query)?.into()).await?))
}

async fn cancel(State(api): State<Arc<Api>>, Name(name): Name) -> Result<Response, Problem> {
    let runs = api.daemon.cancel_rule(&name).await?;
    Ok(json_with(StatusCode::ACCEPTED, &Cancelled { runs }))
}
