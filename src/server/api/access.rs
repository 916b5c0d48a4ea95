//! Who may ask what.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use secrecy::ExposeSecret;
use subtle::ConstantTimeEq;

use super::Api;
use super::problem::Problem;
use crate::server::pages;

/// Who may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Everybody who reaches the address, as often as they like: it costs nothing.
    Free,
    /// Everybody who reaches the address: scrapers.
    Open,
    /// Everybody on this machine; elsewhere clients with the token.
    Read,
    /// Clients with the token.
    Change,
    /// Senders of push events, who have secrets of their own.
    Events,
}

/// Lets a request through to its handler, or refuses it.
pub(super) async fn guard(
    State((api, access)): State<(Arc<Api>, Access)>,
    request: Request,
    next: Next,
) -> Response {
    match admit(&api, access, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn admit(api: &Api, access: Access, headers: &HeaderMap) -> Result<(), Problem> {
    match access {
        Access::Free => Ok(()),
        Access::Open => api.limits.probes.admit(),
        Access::Events => api.limits.events.admit(),
        Access::Read | Access::Change => match authorize(api, access, headers) {
            Ok(()) => api.limits.requests.admit(),
            // Clients that guess tokens are slowed down, and slow down nobody else.
            Err(problem) => api.limits.refusals.admit().and(Err(problem)),
        },
    }
}

/// Whether a client may read the API.
pub(super) fn may_read(api: &Api, headers: &HeaderMap) -> bool {
    authorize(api, Access::Read, headers).is_ok()
}

/// What is open on this machine without a token is not open to web pages.
fn refuse_pages(headers: &HeaderMap) -> Result<(), Problem> {
    if pages::are_of_page(headers) || !pages::name_this_machine(headers) {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "web pages and other names than localhost are not served without the daemon's token",
        ));
    }
    Ok(())
}

/// Checks that a client has this access.
fn authorize(api: &Api, access: Access, headers: &HeaderMap) -> Result<(), Problem> {
    let guarded = api.daemon.guarded();
    let Some(token) = guarded.token else {
        return match access {
            Access::Change => Err(Problem::new(
                StatusCode::FORBIDDEN,
                "this daemon has no token, so it only reads: set `token` in [daemon]",
            )),
            // Without a token it listens on this machine only: the configuration is refused else.
            _ if guarded.local => refuse_pages(headers),
            _ => Err(Problem::new(StatusCode::UNAUTHORIZED, "this daemon has no token")),
        };
    };
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let shown = shown.and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    let matches = shown
        .is_some_and(|shown| bool::from(shown.as_bytes().ct_eq(token.expose_secret().as_bytes())));
    if matches {
        return Ok(());
    }
    if access == Access::Read && guarded.local {
        return refuse_pages(headers);
    }
    let detail = match shown {
        None => "show the daemon's token as `Authorization: Bearer TOKEN`",
        Some(_) => "this is not the daemon's token",
    };
    Err(Problem::new(StatusCode::UNAUTHORIZED, detail))
}
