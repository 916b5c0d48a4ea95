//! Messages of registries about what was pushed to them.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;

use super::access::Access;
use super::endpoint::{Body, Endpoint, json as schema};
use super::{Api, Problem, json_with, path::Name};
use crate::daemon::{EventRefusal, EventsAccepted};
use crate::server::serve::Peer;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::post("/api/v1/events/{source}", Access::Events, receive)
            .summary(
                "Receive push events from a registry, in the format of its [events.NAME] table",
            )
            .parameter("source", "Name of the [events.NAME] table")
            .parameter("token", "Secret of the sender, if it cannot set headers")
            .answer(202, "The events that were accepted", schema::<EventsAccepted>())
            .answer(400, "The message cannot be understood", Body::Problem)
            .answer(404, "No such [events.NAME] table", Body::Problem)
            .answer(408, "The message did not arrive in time", Body::Problem)
            .answer(413, "The message is too large", Body::Problem)
            .answer(
                503,
                "The daemon is stopping, or is receiving too many messages",
                Body::Problem,
            ),
    ]
}

async fn receive(
    State(api): State<Arc<Api>>,
    Name(source): Name,
    Extension(Peer(from)): Extension<Peer>,
    request: Request,
) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let (headers, query) = (&head.headers, head.uri.query());
    let intake = api.daemon.intake(&source, headers, query).map_err(refused)?;
    let body = api.receiving.body(&source, from, body).await?;
    let accepted = intake.take(headers, query, &body).await.map_err(refused)?;
    Ok(json_with(StatusCode::ACCEPTED, &accepted))
}

fn refused(refusal: EventRefusal) -> Problem {
    let status = match &refusal {
        EventRefusal::UnknownSource(_) => StatusCode::NOT_FOUND,
        EventRefusal::Forged => StatusCode::UNAUTHORIZED,
        EventRefusal::Malformed(_) => StatusCode::BAD_REQUEST,
        EventRefusal::Stopping(stopping) => return Problem::from(*stopping),
    };
    Problem::new(status, refusal.to_string())
}
