//! What the registry takes and refuses of distribution-spec.

use super::{Rules, STORAGE, locked, metadata, token};
use crate::support::products::asked::Asked;
use crate::support::products::forward::{no_such_page, unsupported};
use crate::support::products::front::{Broken, Front};
use crate::support::scripted::{Route, error, wanted};
use crate::support::wire::Response;

/// Bytes of a manifest.
const MANIFEST: usize = 4 << 20;

pub async fn answer(front: &Front<Rules>, asked: &Asked) -> Result<Response, Broken> {
    let knobs = front.knobs();
    let route = asked.route();
    let from = asked.parameter("from");
    let needs = wanted(&asked.head, &route, from.as_deref());
    if let Some(refusal) = token::refused(front, asked, &needs) {
        return Ok(refusal);
    }
    let response = match (asked.method(), &route) {
        ("GET", Route::Catalog) => metadata::catalog(front, asked),
        ("PUT", Route::Manifest(..)) if asked.body.len() > MANIFEST => {
            error(413, "SIZE_INVALID", "the manifest is too large")
        }
        ("PUT" | "DELETE", Route::Manifest(name, reference))
            if is_locked(front, name, reference) =>
        {
            locked()
        }
        ("DELETE", Route::Manifest(_, reference))
            if !reference.contains(':') && !knobs.deletes_tags =>
        {
            unsupported()
        }
        ("DELETE", Route::Manifest(..)) => {
            let mut response = front.forward(asked).await?;
            if response.status == 202 {
                response.status = knobs.deleted_status;
            }
            response
        }
        ("GET" | "HEAD", Route::Blob(..)) if knobs.blobs_at_storage => {
            front.to_storage(asked, &format!("http://{STORAGE}")).await?
        }
        (_, Route::Unknown) => no_such_page(),
        _ => front.forward(asked).await?,
    };
    Ok(response.header("docker-distribution-api-version", "registry/2.0"))
}

/// Whether a tag or manifest, or a tag of the manifest, is locked.
pub fn is_locked(front: &Front<Rules>, name: &str, reference: &str) -> bool {
    let locked = front.knobs().locked;
    let inventory = front.inventory.lock().unwrap();
    let there = inventory.live().get(name);
    if !reference.contains(':') {
        return locked.contains(&format!("{name}:{reference}"));
    }
    let tags = there.map(|there| there.tags_of(reference)).unwrap_or_default();
    locked.contains(&format!("{name}@{reference}"))
        || tags.iter().any(|tag| locked.contains(&format!("{name}:{tag}")))
}
