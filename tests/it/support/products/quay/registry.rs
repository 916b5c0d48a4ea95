//! Quay's tokens, and what its registry takes and refuses.

use serde_json::{Value, json};

use super::{Rules, login, uploads};
use crate::support::products::asked::Asked;
use crate::support::products::forward::{absolute, no_such_page};
use crate::support::products::front::{Broken, Front};
use crate::support::products::pages;
use crate::support::products::people::{Credential, Right};
use crate::support::products::tokens::{Issued, Scope, Shown, challenge};
use crate::support::scripted::{Route, error, wanted};
use crate::support::wire::Response;

/// Entries of a page at most, whatever is asked for.
const PAGE: usize = 100;

pub fn token(front: &Front<Rules>, asked: &Asked) -> Response {
    if asked.method() != "GET" {
        return Response::new(405);
    }
    let credential = match asked.basic() {
        Ok(None) => None,
        Ok(Some((user, secret))) => match login(front, &user, &secret) {
            Some(credential) => Some(credential),
            None => return invalid_login(),
        },
        Err(()) => return invalid_login(),
    };
    let texts = Scope::texts(asked);
    if credential.is_none() && texts.is_empty() {
        return unauthorized();
    }
    let mut access = Vec::new();
    for text in texts {
        let known = |action: &String| ["pull", "push", "*"].contains(&action.as_str());
        let scope = Scope::parse(&text)
            .filter(|scope| scope.kind == "repository" && scope.actions.iter().all(known));
        let Some(scope) = scope else {
            let message = format!("Unable to decode repository and actions: {text}");
            return error(400, "INVALID_REQUEST", &message);
        };
        if scope.name.matches('/').count() > 1 && !front.knobs().nested {
            let message = format!("Nested repositories are not supported. Found: {}", scope.name);
            return error(400, "NAME_INVALID", &message);
        }
        let name = scope.name.clone();
        access.push(scope.granted(|action| may(front, credential.as_ref(), &name, action)));
    }
    let holder = credential.as_ref().map(|credential| credential.holder.as_str());
    let lifetime = front.knobs().token_lifetime;
    let token = front.tokens.lock().unwrap().issue(holder, access, lifetime);
    Response::json(200, &json!({ "token": token }))
}

fn may(front: &Front<Rules>, who: Option<&Credential>, name: &str, action: &str) -> bool {
    let knobs = front.knobs();
    let organization = name.split('/').next().unwrap_or_default();
    let there = knobs.organizations.contains(organization) || knobs.creates_organizations;
    let holder = who.map(|who| who.holder.as_str());
    let right = front.people.lock().unwrap().right(holder, name);
    match action {
        "pull" => right >= Some(Right::Read),
        "push" => there && right >= Some(Right::Write),
        _ => right >= Some(Right::Admin),
    }
}

fn invalid_login() -> Response {
    error(401, "UNAUTHORIZED", "Specified credentials are invalid")
}

fn unauthorized() -> Response {
    error(401, "UNAUTHORIZED", "access to the requested resource is not authorized")
}

pub async fn answer(front: &Front<Rules>, asked: &Asked) -> Result<Response, Broken> {
    let route = asked.route();
    let from = asked.parameter("from");
    let mut needs = Vec::new();
    // A deletion needs what a push needs; the catalog shows what the token's holder may see.
    for (kind, name, action) in wanted(&asked.head, &route, from.as_deref()) {
        match action {
            "delete" => needs.extend([(kind, name, "pull"), (kind, name, "push")]),
            _ if kind == "registry" => {}
            _ => needs.push((kind, name, action)),
        }
    }
    let shown = front.tokens.lock().unwrap().shown(asked, &needs);
    let Shown::Enough(issued) = &shown else {
        let host = front.host(0);
        let challenge = challenge(&format!("http://{host}/v2/auth"), host, &needs, &shown);
        return Ok(unauthorized().header("www-authenticate", challenge));
    };
    if let Some(refusal) = refused_write(front, asked, &route) {
        return Ok(refusal);
    }
    let response = match (asked.method(), &route) {
        ("GET", Route::Catalog) => catalog(front, asked, issued),
        ("GET", Route::Tags(name)) => tags(front, asked, name),
        ("GET", Route::Referrers(name, digest)) if !is_known(front, name, digest) => {
            error(400, "MANIFEST_INVALID", "manifest invalid")
        }
        (_, Route::Upload(name, session)) => {
            uploads::answer(front, asked, name, session.as_deref()).await?
        }
        ("DELETE", Route::Blob(..)) => error(405, "UNSUPPORTED", "The operation is unsupported."),
        (_, Route::Unknown) => no_such_page(),
        _ => front.forward(asked).await?,
    };
    let mut response = absolute(response, &format!("http://{}", front.host(0)));
    response.headers.remove("oci-subject");
    Ok(response.header("docker-distribution-api-version", "registry/2.0"))
}

fn is_known(front: &Front<Rules>, name: &str, digest: &str) -> bool {
    let inventory = front.inventory.lock().unwrap();
    inventory.live().get(name).is_some_and(|there| there.versions.contains_key(digest))
}

/// The refusal of a push or deletion by the state of the product or of a tag, or by a type.
fn refused_write(front: &Front<Rules>, asked: &Asked, route: &Route) -> Option<Response> {
    if asked.reads() {
        return None;
    }
    let knobs = front.knobs();
    if knobs.read_only {
        let message = "System is currently read-only. Pulls will succeed but all write operations \
                       are currently suspended.";
        return Some(error(405, "DENIED", message));
    }
    let name = route.repository()?;
    let organization = name.split('/').next()?;
    if knobs.over_quota.contains(organization) && asked.method() != "DELETE" {
        return Some(error(403, "DENIED", "Quota has been exceed on namespace"));
    }
    let Route::Manifest(_, reference) = route else { return None };
    let inventory = front.inventory.lock().unwrap();
    let there = inventory.live().get(name);
    let tags = match (there, reference.contains(':')) {
        (Some(there), true) if asked.method() == "DELETE" => there.tags_of(reference),
        (Some(there), false) if there.tags.contains_key(reference) => vec![reference.clone()],
        _ => Vec::new(),
    };
    let digest = tranship::oci::Digest::of(&asked.body).to_string();
    let stays = |tag: &String| {
        let same =
            there.and_then(|there| there.tags.get(tag)).is_some_and(|it| it.digest == digest);
        knobs.immutable_tags.contains(&format!("{name}:{tag}")) && !same
    };
    if tags.iter().any(stays) {
        return Some(error(409, "TAG_IMMUTABLE", "tag is immutable"));
    }
    let known = knobs.media_types.filter(|_| asked.method() == "PUT")?;
    let document = asked.json();
    let layers = document["layers"].as_array().cloned().unwrap_or_default();
    let mut blobs = document.get("config").into_iter().chain(&layers);
    let unknown = |blob: &&Value| !known.contains(blob["mediaType"].as_str().unwrap_or_default());
    blobs.any(|blob| unknown(&blob)).then(|| error(400, "MANIFEST_INVALID", "manifest invalid"))
}

/// The repositories that the token's holder may read; the next page is known by a secret word.
fn catalog(front: &Front<Rules>, asked: &Asked, issued: &Issued) -> Response {
    let public = front.knobs().public_catalog;
    let inventory = front.inventory.lock().unwrap();
    let people = front.people.lock().unwrap();
    let holder = issued.holder.as_deref();
    let shown = inventory.live().keys().filter(|name| match people.is_public(name) {
        true => public || people.is_member(holder, name),
        false => people.right(holder, name).is_some(),
    });
    let names: Vec<String> = shown.cloned().collect();
    let limit = asked.number("n").unwrap_or(PAGE).clamp(1, PAGE);
    let start = asked.parameter("next_page").and_then(|word| read_word(&word)).unwrap_or(0);
    let page = pages::page(names, start, limit, 0);
    let response = Response::json(200, &json!({ "repositories": page.entries }));
    match page.more {
        true => {
            let word = word(start + limit);
            let link = format!("</v2/_catalog?n={limit}&next_page={word}>; rel=\"next\"");
            response.header("link", link)
        }
        false => response,
    }
}

/// A place in a list, in a form that nobody can make up.
pub fn word(start: usize) -> String {
    format!("sealed-{start}")
}

pub fn read_word(word: &str) -> Option<usize> {
    word.strip_prefix("sealed-")?.parse().ok()
}

fn tags(front: &Front<Rules>, asked: &Asked, name: &str) -> Response {
    let inventory = front.inventory.lock().unwrap();
    match inventory.live().get(name) {
        Some(there) => {
            let limit = asked.number("n").unwrap_or(PAGE).clamp(1, PAGE);
            pages::tags(there, name, asked, limit)
        }
        None => error(404, "NAME_UNKNOWN", "repository name not known to registry"),
    }
}
