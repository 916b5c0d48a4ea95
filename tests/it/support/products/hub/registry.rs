//! `registry-1.docker.io`: the limit of pulls, and what it refuses.

use super::{Referrers, Rules, STORAGE, token};
use crate::support::products::asked::Asked;
use crate::support::products::forward::no_such_page;
use crate::support::products::front::{Broken, Front};
use crate::support::products::tokens::{Shown, challenge};
use crate::support::scripted::{Route, error, wanted};
use crate::support::wire::Response;

pub async fn answer(front: &Front<Rules>, asked: &Asked) -> Result<Response, Broken> {
    let knobs = front.knobs();
    let route = asked.route();
    let from = asked.parameter("from");
    let needs = wanted(&asked.head, &route, from.as_deref());
    let shown = front.tokens.lock().unwrap().shown(asked, &needs);
    if !matches!(shown, Shown::Enough(_)) {
        let challenge = challenge(&token::realm(), token::SERVICE, &needs, &shown);
        let refusal = error(401, "UNAUTHORIZED", "authentication required");
        return Ok(refusal.header("www-authenticate", challenge));
    }
    let mut response = match (asked.method(), &route) {
        ("GET" | "HEAD", Route::Manifest(..)) => pull(front, asked).await?,
        ("GET" | "HEAD", Route::Blob(..)) if knobs.blobs_at_storage => {
            front.to_storage(asked, &format!("http://{STORAGE}")).await?
        }
        ("DELETE", Route::Manifest(name, reference)) => match refused(front, name, reference) {
            Some(refusal) => refusal,
            None => front.forward(asked).await?,
        },
        (_, Route::Referrers(..)) if knobs.referrers != Referrers::Api => no_such_page(),
        (_, Route::Unknown) => no_such_page(),
        _ => front.forward(asked).await?,
    };
    if knobs.referrers == Referrers::Nothing {
        response.headers.remove("oci-subject");
    }
    Ok(response.header("docker-distribution-api-version", "registry/2.0"))
}

/// A manifest. Each GET is a pull; a HEAD is none, and tells how many are left.
async fn pull(front: &Front<Rules>, asked: &Asked) -> Result<Response, Broken> {
    let knobs = front.knobs();
    let Some(mut left) = knobs.pulls_left else { return front.forward(asked).await };
    let response = if asked.method() == "HEAD" {
        front.forward(asked).await?
    } else if left == 0 {
        let message = "You have reached your pull rate limit. You may increase the limit by \
                       authenticating and upgrading: https://www.docker.com/increase-rate-limit";
        error(429, "TOOMANYREQUESTS", message)
    } else {
        left -= 1;
        front.knobs.lock().unwrap().pulls_left = Some(left);
        front.forward(asked).await?
    };
    let window = knobs.pull_window;
    Ok(response
        .header("ratelimit-limit", format!("{};w={window}", knobs.pull_limit))
        .header("ratelimit-remaining", format!("{left};w={window}"))
        .header("docker-ratelimit-source", "192.0.2.1"))
}

/// The refusal to delete a tag, or a manifest that a tag or an index holds.
fn refused(front: &Front<Rules>, name: &str, reference: &str) -> Option<Response> {
    if !reference.contains(':') {
        return Some(error(405, "UNSUPPORTED", "The operation is unsupported."));
    }
    let inventory = front.inventory.lock().unwrap();
    let there = inventory.live().get(name)?;
    let held = !there.tags_of(reference).is_empty() || !there.parents_of(reference).is_empty();
    held.then(|| error(403, "DENIED", "manifest is still tagged or referenced"))
}
