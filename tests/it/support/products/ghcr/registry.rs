//! `ghcr.io` itself: tokens, and what it refuses of distribution-spec.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::{REGISTRY, Rules, package_of};
use crate::support::products::asked::Asked;
use crate::support::products::forward::{no_such_page, unsupported};
use crate::support::products::front::{Broken, Front};
use crate::support::products::pages;
use crate::support::products::people::{Credential, People, Right};
use crate::support::products::tokens::{Scope, Shown, challenge};
use crate::support::scripted::{Route, error, wanted};
use crate::support::wire::Response;

/// Bytes of the body of a chunk.
const CHUNK: usize = 4 << 20;

/// The answer of `/token`: what was asked for, as far as it is granted.
pub fn token(front: &Front<Rules>, asked: &Asked) -> Response {
    if asked.method() != "GET" {
        return unsupported();
    }
    let knobs = front.knobs();
    let people = front.people.lock().unwrap();
    let credential = match asked.basic() {
        Ok(None) => None,
        Ok(Some((user, secret))) => people.login(&user, &secret),
        Err(()) => None,
    };
    let fine_grained = credential.as_ref().is_some_and(|it| it.secret.starts_with("github_pat_"));
    let wrong = credential.is_none() && asked.head.header("authorization").is_some();
    if wrong || fine_grained && !knobs.fine_grained_tokens {
        return error(403, "DENIED", "denied");
    }
    let access: Vec<Scope> = Scope::asked(asked)
        .into_iter()
        .map(|scope| {
            let name = scope.name.clone();
            scope.granted(|action| may(&people, credential.as_ref(), &name, action))
        })
        .collect();
    let holder = credential.as_ref().map(|credential| credential.holder.as_str());
    let token = front.tokens.lock().unwrap().issue(holder, access, knobs.token_lifetime);
    let mut answer = json!({ "token": token });
    if knobs.states_lifetime {
        answer["expires_in"] = knobs.token_lifetime.as_secs().into();
    }
    Response::json(200, &answer)
}

fn may(people: &People, credential: Option<&Credential>, name: &str, action: &str) -> bool {
    let right = people.right(credential.map(|it| it.holder.as_str()), name);
    let has = |scopes: &[&str]| credential.is_none_or(|credential| credential.has(scopes));
    match action {
        // What everybody may read needs no scope.
        "pull" if people.is_public(name) => true,
        "pull" => right >= Some(Right::Read) && has(&["read:packages", "write:packages"]),
        "push" => right >= Some(Right::Write) && has(&["write:packages"]),
        _ => false,
    }
}

pub async fn answer(front: &Front<Rules>, asked: &Asked) -> Result<Response, Broken> {
    let knobs = front.knobs();
    let route = asked.route();
    if route == Route::Catalog {
        return Ok(error(knobs.catalog_status, "UNSUPPORTED", "the operation is unsupported"));
    }
    // Before any login: there is no deletion here.
    if asked.method() == "DELETE" && matches!(route, Route::Manifest(..) | Route::Blob(..)) {
        return Ok(unsupported());
    }
    let from = asked.parameter("from");
    let needs = wanted(&asked.head, &route, from.as_deref());
    if let Some(refusal) = refused(front, asked, &needs) {
        return Ok(refusal);
    }
    let mut response = match (asked.method(), &route) {
        ("GET", Route::Tags(name)) => tags(front, asked, name),
        ("PATCH", Route::Upload(..)) if too_long(asked) => too_long_answer(),
        ("GET", Route::Blob(..)) if knobs.blobs_at_storage => {
            front.to_storage(asked, &format!("http://{}", super::STORAGE)).await?
        }
        (_, Route::Referrers(..) | Route::Unknown) => no_such_page(),
        ("PUT", Route::Manifest(name, _)) => {
            let response = front.forward(asked).await?;
            if response.status == 201 {
                own(front, asked, name);
            }
            response
        }
        _ => front.forward(asked).await?,
    };
    response.headers.remove("oci-subject");
    Ok(response.header("docker-distribution-api-version", "registry/2.0"))
}

fn refused(front: &Front<Rules>, asked: &Asked, needs: &[(&str, &str, &str)]) -> Option<Response> {
    if front.knobs().token_as_bearer && own_token_suffices(front, asked, needs) {
        return None;
    }
    let shown = front.tokens.lock().unwrap().shown(asked, needs);
    let named = match &shown {
        Shown::Enough(_) => return None,
        Shown::TooLittle => asked.bearer().and_then(|token| {
            front.tokens.lock().unwrap().valid(token).and_then(|issued| issued.holder.clone())
        }),
        Shown::Nothing | Shown::Invalid => None,
    };
    if named.is_some() {
        let kind = if asked.reads() { "read_package" } else { "write_package" };
        return Some(error(403, "DENIED", &format!("permission_denied: {kind}")));
    }
    let challenge = challenge(&format!("http://{REGISTRY}/token"), REGISTRY, needs, &shown);
    let refusal = error(401, "UNAUTHORIZED", "authentication required");
    Some(refusal.header("www-authenticate", challenge))
}

/// Whether the Bearer is the base64 of a token that allows all of this.
fn own_token_suffices(front: &Front<Rules>, asked: &Asked, needs: &[(&str, &str, &str)]) -> bool {
    let decoded = asked.bearer().and_then(|bearer| STANDARD.decode(bearer).ok());
    let Some(secret) = decoded.and_then(|bytes| String::from_utf8(bytes).ok()) else {
        return false;
    };
    let people = front.people.lock().unwrap();
    let Some(credential) = people.token(&secret) else { return false };
    needs.iter().all(|(_, name, action)| may(&people, Some(&credential), name, action))
}

/// Who pushes the first image of a package administers it. Nobody else sees it.
fn own(front: &Front<Rules>, asked: &Asked, repository: &str) {
    let tokens = front.tokens.lock().unwrap();
    let holder = asked.bearer().and_then(|token| tokens.valid(token)?.holder.clone());
    let first = {
        let inventory = front.inventory.lock().unwrap();
        inventory.live().get(repository).is_some_and(|it| it.versions.len() == 1)
    };
    if let (Some(holder), true) = (holder, first) {
        front.people.lock().unwrap().member(&holder, repository, Right::Admin);
    }
}

/// A chunk whose length is told and too much. A stream without a length is taken.
fn too_long(asked: &Asked) -> bool {
    asked.head.headers.contains_key("content-length") && asked.body.len() > CHUNK
}

fn too_long_answer() -> Response {
    let message =
        "the request body is too large and exceeds the maximum permissible limit of 4.00MiB";
    error(416, "REQUESTED_RANGE_NOT_SATISFIABLE", message)
}

/// Tags by the hundred, or as many as are asked for.
fn tags(front: &Front<Rules>, asked: &Asked, name: &str) -> Response {
    let inventory = front.inventory.lock().unwrap();
    let Some(repository) = inventory.live().get(name).filter(|_| !package_of(name).1.is_empty())
    else {
        return error(404, "NAME_UNKNOWN", "repository name not known to registry");
    };
    let limit = asked.parameter("n").and_then(|n| n.parse().ok()).unwrap_or(100);
    let limit = limit.min(front.knobs().tags_cap.unwrap_or(usize::MAX));
    pages::tags(repository, name, asked, limit)
}
