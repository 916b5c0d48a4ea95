//! Answers that come line by line, for as long as what they tell of goes on.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::{HeaderValue, header};
use tokio::time::timeout;

use crate::daemon::news::Following;
use crate::text::inert_json;

/// A JSON document a line.
pub(super) const LINES: &str = "application/jsonl";

/// After so long without news comes an empty line. So clients know that the daemon is alive, and the
/// daemon notices that a client is gone.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);

pub(super) fn lines(following: Following) -> Response {
    let lines = stream::unfold(following, async |mut following| {
        let line = match timeout(SIGN_OF_LIFE, following.next()).await {
            Ok(Some(line)) => inert_json(&line).into_owned() + "\n",
            Ok(None) => return None,
            Err(_) => "\n".to_owned(),
        };
        Some((Ok::<_, Infallible>(line), following))
    });
    let media_type = HeaderValue::from_static(LINES);
    ([(header::CONTENT_TYPE, media_type)], Body::from_stream(lines)).into_response()
}
