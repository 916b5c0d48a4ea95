//! Gitea's tokens, and what is odd about its lists and uploads.

use serde_json::json;

use super::{REGISTRY, Rules, STORAGE};
use crate::support::products::asked::Asked;
use crate::support::products::forward::no_such_page;
use crate::support::products::front::{Broken, Front};
use crate::support::products::pages;
use crate::support::products::people::{Credential, Right};
use crate::support::products::tokens::Scope;
use crate::support::scripted::{Route, error};
use crate::support::wire::Response;

/// Bytes of a manifest.
const MANIFEST: usize = 10 << 20;
/// Repositories of a page of the catalog at most.
const PAGE: usize = 100;

/// A token for all that its holder may do: whatever scope was asked for.
pub fn token(front: &Front<Rules>, asked: &Asked) -> Response {
    if asked.method() != "GET" {
        return Response::new(405);
    }
    let people = front.people.lock().unwrap();
    let credential = match asked.basic() {
        Ok(None) => None,
        Ok(Some((user, secret))) => match people.login(&user, &secret) {
            Some(credential) => Some(credential),
            None => return error(401, "UNAUTHORIZED", "authentication required"),
        },
        Err(()) => return error(401, "UNAUTHORIZED", "authentication required"),
    };
    let holder = credential.as_ref().map(|credential| credential.holder.as_str());
    // The token stands for the credential it was given for.
    let access = credential.as_ref().map(|credential| Scope {
        kind: "credential".to_owned(),
        name: credential.secret.clone(),
        actions: Vec::new(),
    });
    let lifetime = front.knobs().token_lifetime;
    let mut tokens = front.tokens.lock().unwrap();
    let token = tokens.issue(holder, access.into_iter().collect(), lifetime);
    Response::json(200, &json!({ "token": token }))
}

/// Whose token a request shows. `Err`: none that is good.
fn shown(front: &Front<Rules>, asked: &Asked) -> Result<Option<Credential>, ()> {
    let tokens = front.tokens.lock().unwrap();
    let issued = asked.bearer().and_then(|token| tokens.valid(token)).ok_or(())?;
    let secret = issued.access.first();
    let people = front.people.lock().unwrap();
    Ok(secret.and_then(|secret| people.token(&secret.name)))
}

fn unauthorized(front: &Front<Rules>) -> Response {
    let realm = format!("http://{}/v2/token", front.host(REGISTRY));
    let challenge = format!("Bearer realm=\"{realm}\",service=\"container_registry\",scope=\"*\"");
    error(401, "UNAUTHORIZED", "authentication required").header("www-authenticate", challenge)
}

pub async fn answer(front: &Front<Rules>, asked: &Asked) -> Result<Response, Broken> {
    let Ok(who) = shown(front, asked) else { return Ok(unauthorized(front)) };
    let route = asked.route();
    if let Some(name) = route.repository() {
        let owner = name.split('/').next().unwrap_or_default();
        if !front.knobs().owners.contains(owner) || !name.contains('/') {
            return Ok(Response::new(404).body("Not Found\n"));
        }
        if !may(front, who.as_ref(), name, asked.reads()) {
            return Ok(unauthorized(front));
        }
    }
    let response = match (asked.method(), &route) {
        ("GET", Route::Catalog) => catalog(front, asked, who.as_ref()),
        ("GET", Route::Tags(name)) => tags(front, asked, name),
        (method, Route::Upload(name, session)) => {
            upload(front, asked, method, name, session.as_deref()).await?
        }
        ("PUT", Route::Manifest(..)) if asked.body.len() > MANIFEST => {
            error(413, "MANIFEST_INVALID", "manifest exceeds maximum size")
        }
        ("GET", Route::Blob(..)) if front.knobs().blobs_at_storage => {
            front.to_storage(asked, &format!("http://{}", front.host(STORAGE))).await?
        }
        (_, Route::Referrers(..) | Route::Unknown) => no_such_page(),
        _ => front.forward(asked).await?,
    };
    Ok(response.header("docker-distribution-api-version", "registry/2.0"))
}

fn may(front: &Front<Rules>, who: Option<&Credential>, name: &str, reads: bool) -> bool {
    let holder = who.map(|who| who.holder.as_str());
    let right = front.people.lock().unwrap().right(holder, name);
    let (needed, scopes): (_, &[&str]) = match reads {
        true => (Right::Read, &["read:package", "write:package"]),
        false => (Right::Write, &["write:package"]),
    };
    right >= Some(needed) && who.is_none_or(|who| who.has(scopes))
}

fn catalog(front: &Front<Rules>, asked: &Asked, who: Option<&Credential>) -> Response {
    let last = asked.parameter("last").unwrap_or_default();
    let names: Vec<String> = front.inventory.lock().unwrap().live().keys().cloned().collect();
    let shown = names.into_iter().filter(|name| *name > last && may(front, who, name, true));
    let limit = asked.number("n").unwrap_or(PAGE).clamp(1, PAGE);
    pages::catalog(&pages::page(shown.collect(), 0, limit, 0), limit)
}

/// Tags, with a link even where nothing is left. Only an empty page has none.
fn tags(front: &Front<Rules>, asked: &Asked, name: &str) -> Response {
    let inventory = front.inventory.lock().unwrap();
    let Some(there) = inventory.live().get(name) else {
        return error(404, "NAME_UNKNOWN", "repository name not known to registry");
    };
    let limit = asked.number("n").unwrap_or(usize::MAX);
    let last = asked.parameter("last").unwrap_or_default();
    let tags: Vec<String> =
        there.tags.keys().filter(|tag| **tag > last).take(limit).cloned().collect();
    let response = Response::json(200, &json!({ "name": name, "tags": tags }));
    match tags.last() {
        Some(last) => {
            let link = format!("</v2/{name}/tags/list?last={last}&n={limit}>; rel=\"next\"");
            response.header("link", link)
        }
        None => response,
    }
}

async fn upload(
    front: &Front<Rules>,
    asked: &Asked,
    method: &str,
    name: &str,
    session: Option<&str>,
) -> Result<Response, Broken> {
    if let ("POST", None, Some(wanted)) = (method, session, asked.parameter("digest")) {
        return Ok(front.whole_blob(asked, name, &wanted));
    }
    if let ("POST", Some(digest)) = (method, asked.parameter("mount"))
        && let Some(response) = mount(front, name, &digest)
    {
        return Ok(response);
    }
    let path = asked.path().to_owned();
    let there = front.knobs().uploads.get(&path).copied().unwrap_or_default();
    // Only the first chunk may come without its place.
    if method == "PATCH" && there > 0 && !asked.head.headers.contains_key("content-range") {
        return Ok(error(416, "BLOB_UPLOAD_INVALID", "the chunk does not tell its place"));
    }
    let mut response = front.forward(asked).await?;
    if method == "PATCH" && response.status == 202 {
        front.knobs.lock().unwrap().uploads.insert(path, there + asked.body.len());
    }
    if method == "GET" && response.status == 204 {
        // One byte too many, and no place to go on at.
        response.set("range", format!("0-{there}"));
        response.headers.remove("location");
    }
    Ok(response)
}

/// A mount of a blob that is anywhere, whatever `from` says.
fn mount(front: &Front<Rules>, name: &str, digest: &str) -> Option<Response> {
    let registry = front.backend.scripted();
    let names: Vec<String> = front.inventory.lock().unwrap().live().keys().cloned().collect();
    let from = names.iter().find(|name| registry.has_blob(name, digest))?;
    registry.copy_blobs(from, name);
    let response = Response::new(201).header("docker-content-digest", digest);
    Some(response.header("location", format!("/v2/{name}/blobs/{digest}")))
}
