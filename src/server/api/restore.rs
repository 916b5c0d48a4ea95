//! The request to restore what cleanup rules deleted.

use std::sync::Arc;

use axum::body::Body as RequestBody;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::access::Access;
use super::endpoint::{Body, Endpoint};
use super::lines::{LINES, lines};
use super::{Api, Problem, receiving};
use crate::daemon::{RestoreRefusal, RestoreRequest};

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::post("/api/v1/restore", Access::Change, restore)
            .summary(
                "Restore images that cleanup rules deleted, as `tranship restore` does; stops \
                 between two images if the client goes away",
            )
            .takes::<RestoreRequest>()
            .answer(
                200,
                "Lines: `restored` with each image when it is done, as printed by `tranship \
                 restore --output json`; `end`",
                Body::Text(LINES),
            )
            .answer(400, "The request cannot be understood", Body::Problem)
            .answer(404, "Nothing of that can be restored", Body::Problem)
            .answer(408, "The request did not arrive in time", Body::Problem)
            .answer(413, "The request is too large", Body::Problem)
            .answer(503, "The daemon is stopping, or is restoring other images", Body::Problem),
    ]
}

async fn restore(State(api): State<Arc<Api>>, body: RequestBody) -> Result<Response, Problem> {
    let body = receiving::timely(body).await?;
    let request: RestoreRequest =
        serde_json::from_slice(&body).map_err(|error| Problem::bad_request(error.to_string()))?;
    Ok(lines(api.daemon.restore(request).await.map_err(refused)?))
}

fn refused(refusal: RestoreRefusal) -> Problem {
    let status = match &refusal {
        RestoreRefusal::Malformed(_) => StatusCode::BAD_REQUEST,
        RestoreRefusal::Nothing => StatusCode::NOT_FOUND,
        RestoreRefusal::Busy => StatusCode::SERVICE_UNAVAILABLE,
        RestoreRefusal::Unreadable(_) => StatusCode::INTERNAL_SERVER_ERROR,
        RestoreRefusal::Stopping(stopping) => return Problem::from(*stopping),
    };
    Problem::new(status, refusal.to_string())
}
