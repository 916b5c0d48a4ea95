//! What GitLab's registry takes and refuses, beyond what distribution does.

use serde_json::{Value, json};

use super::{Knobs, REGISTRY, Rules, STORAGE, token};
use crate::support::products::asked::Asked;
use crate::support::products::forward::{absolute, no_such_page};
use crate::support::products::front::{Broken, Front};
use crate::support::products::pages;
use crate::support::products::tokens::challenge;
use crate::support::scripted::{Route, error, wanted};
use crate::support::wire::Response;

const MANIFESTS: [&str; 4] = [
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
];

pub async fn answer(front: &Front<Rules>, asked: &Asked) -> Result<Response, Broken> {
    let knobs = front.knobs();
    let mut route = asked.route();
    if let Some((name, tag)) = old_tag_delete(asked).filter(|_| knobs.old_tag_delete) {
        route = Route::Manifest(name, tag);
    }
    let from = asked.parameter("from");
    let needs = wanted(&asked.head, &route, from.as_deref());
    if let Some(refusal) = refused(front, asked, &needs) {
        return Ok(refusal);
    }
    let response = match (asked.method(), &route) {
        ("GET" | "HEAD", Route::Ping) => ping(&knobs),
        ("GET", Route::Tags(name)) if knobs.database => tags(front, asked, name),
        ("GET" | "HEAD", Route::Blob(..)) if knobs.blobs_at_storage => {
            front.to_storage(asked, &format!("http://{}", front.host(STORAGE))).await?
        }
        ("PUT", Route::Manifest(name, reference)) => {
            match refused_manifest(&knobs, asked, name, reference) {
                Some(refusal) => refusal,
                None => front.forward(asked).await?,
            }
        }
        ("DELETE", Route::Manifest(name, reference)) => {
            delete(front, &knobs, name, reference).await
        }
        (_, Route::Referrers(..) | Route::Unknown) => no_such_page(),
        _ => front.forward(asked).await?,
    };
    let mut response = absolute(response, &format!("http://{}", front.host(REGISTRY)));
    // A subject is taken, but not noted.
    response.headers.remove("oci-subject");
    Ok(response.header("docker-distribution-api-version", "registry/2.0"))
}

/// The challenge for a request without a token that is good for it.
pub fn refused(
    front: &Front<Rules>,
    asked: &Asked,
    needs: &[(&str, &str, &str)],
) -> Option<Response> {
    let shown = front.tokens.lock().unwrap().lacking(asked, needs)?;
    let realm = format!("http://{}/jwt/auth", front.host(super::GITLAB));
    let challenge = challenge(&realm, token::SERVICE, needs, &shown);
    let refusal = error(401, "UNAUTHORIZED", "authentication required");
    Some(refusal.header("www-authenticate", challenge))
}

fn ping(knobs: &Knobs) -> Response {
    Response::json(200, &json!({}))
        .header("gitlab-container-registry-version", "4.39.0-gitlab")
        .header("gitlab-container-registry-features", "tag_delete")
        .header("gitlab-container-registry-database-enabled", knobs.database.to_string())
}

/// Repository and tag of `DELETE /v2/<name>/tags/reference/<tag>`.
fn old_tag_delete(asked: &Asked) -> Option<(String, String)> {
    let path = asked.path().strip_prefix("/v2/").filter(|_| asked.method() == "DELETE")?;
    let (name, tag) = path.split_once("/tags/reference/")?;
    Some((name.to_owned(), tag.to_owned()))
}

/// Tags in pages of 100, as the metadata database gives them.
fn tags(front: &Front<Rules>, asked: &Asked, name: &str) -> Response {
    let number = asked.parameter("n").map_or(Ok(100), |n| n.parse::<usize>());
    let Some(limit) = number.ok().filter(|n| (1..=1000).contains(n)) else {
        let message = "invalid number of results requested";
        return error(400, "PAGINATION_NUMBER_INVALID", message);
    };
    let inventory = front.inventory.lock().unwrap();
    let Some(repository) = inventory.live().get(name) else {
        return error(404, "NAME_UNKNOWN", "repository name not known to registry");
    };
    pages::tags(repository, name, asked, limit)
}

/// The refusal of a manifest by its tag, size, number of parts, or their types.
fn refused_manifest(knobs: &Knobs, asked: &Asked, name: &str, reference: &str) -> Option<Response> {
    if knobs.protected_tags.contains(&format!("{name}:{reference}")) {
        return Some(protected());
    }
    let invalid = |message: String| Some(error(400, "MANIFEST_INVALID", &message));
    let media_type = asked.head.header("content-type").unwrap_or_default();
    if !MANIFESTS.contains(&media_type) {
        return invalid(format!("unsupported manifest content-type: {media_type}"));
    }
    if knobs.payload_limit.is_some_and(|limit| asked.body.len() > limit) {
        return Some(error(400, "MANIFEST_SIZE_LIMIT", "payload size limit exceeded"));
    }
    let document = asked.json();
    let list = |key: &str| document[key].as_array().cloned().unwrap_or_default();
    let config = document.get("config").cloned();
    let blobs: Vec<Value> = config.into_iter().chain(list("layers")).collect();
    let parts = blobs.len() + list("manifests").len();
    if knobs.reference_limit.is_some_and(|limit| parts > limit) {
        return Some(error(400, "MANIFEST_REFERENCE_LIMIT", "too many manifest references"));
    }
    let unknown = |blob: &&Value| {
        let media_type = blob["mediaType"].as_str().unwrap_or_default();
        knobs.media_types.as_ref().is_some_and(|known| !known.contains(media_type))
    };
    let unknown = blobs.iter().find(unknown)?;
    let media_type = unknown["mediaType"].as_str().unwrap_or_default();
    invalid(format!("unknown media type: {media_type}"))
}

async fn delete(front: &Front<Rules>, knobs: &Knobs, name: &str, reference: &str) -> Response {
    let by_digest = reference.contains(':');
    let (known, tags, parents) = {
        let inventory = front.inventory.lock().unwrap();
        let Some(repository) = inventory.live().get(name) else {
            return error(404, "NAME_UNKNOWN", "repository name not known to registry");
        };
        let parents = knobs.database && !repository.parents_of(reference).is_empty();
        match by_digest {
            true => {
                let known = repository.versions.contains_key(reference);
                (known, repository.tags_of(reference), parents)
            }
            false => (repository.tags.contains_key(reference), vec![reference.to_owned()], false),
        }
    };
    if !known {
        return error(404, "MANIFEST_UNKNOWN", "manifest unknown");
    }
    if tags.iter().any(|tag| knobs.protected_tags.contains(&format!("{name}:{tag}"))) {
        return protected();
    }
    if parents {
        return error(409, "MANIFEST_REFERENCED", "manifest referenced by a manifest list");
    }
    match by_digest {
        true => front.remove(name, reference).await,
        false => front.untag(name, reference).await,
    }
    Response::new(202)
}

fn protected() -> Response {
    error(403, "DENIED", "requested access to the resource is denied")
}
