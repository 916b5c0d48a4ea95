//! `api.github.com`: who asks, and the packages of an owner.

use serde_json::{Value, json};

use super::{API, Rules, package_of, versions};
use crate::support::products::asked::Asked;
use crate::support::products::front::Front;
use crate::support::products::inventory::Repository;
use crate::support::products::pages::{at_page, numbered};
use crate::support::products::people::{Credential, Right};
use crate::support::wire::Response;

pub async fn answer(front: &Front<Rules>, asked: &Asked) -> Response {
    let credential = match shown(front, asked) {
        Ok(credential) => credential,
        Err(refusal) => return *refusal,
    };
    let parts = asked.parts();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let (owner, rest) = match &parts[..] {
        ["user", "packages", rest @ ..] => (credential.holder.as_str(), rest),
        [kind @ ("orgs" | "users"), owner, "packages", rest @ ..] => {
            let is_user = front.knobs().users.contains(*owner);
            if is_user != (*kind == "users") {
                return message(404, "Not Found");
            }
            (*owner, rest)
        }
        _ => return message(404, "Not Found"),
    };
    let response = match (asked.method(), rest) {
        ("GET", []) => packages(front, asked, &credential, owner),
        (_, ["container", package, "versions", rest @ ..]) => {
            let repository = format!("{owner}/{package}");
            versions::answer(front, asked, &credential, &repository, rest).await
        }
        ("GET", ["container", package]) => {
            let repository = format!("{owner}/{package}");
            let inventory = front.inventory.lock().unwrap();
            match inventory.shown().get(&repository) {
                Some(there) if right(front, &credential, &repository).is_some() => {
                    Response::json(200, &entry(front, &repository, there))
                }
                _ => message(404, "Package not found."),
            }
        }
        _ => message(404, "Not Found"),
    };
    let scopes = credential.scopes.as_ref().map(|scopes| scopes.join(", "));
    response.header("x-oauth-scopes", scopes.unwrap_or_default())
}

pub fn message(status: u16, text: &str) -> Response {
    Response::json(
        status,
        &json!({ "message": text, "documentation_url": "https://docs.github.com/rest" }),
    )
}

pub fn right(front: &Front<Rules>, who: &Credential, repository: &str) -> Option<Right> {
    front.people.lock().unwrap().right(Some(&who.holder), repository)
}

/// Whose token it is. Everything about packages needs one.
fn shown(front: &Front<Rules>, asked: &Asked) -> Result<Credential, Box<Response>> {
    let Some(header) = asked.head.header("authorization") else {
        return Err(message(401, "Requires authentication").into());
    };
    let secret = header.strip_prefix("Bearer ").or(header.strip_prefix("token "));
    let credential = secret.and_then(|secret| front.people.lock().unwrap().token(secret));
    credential.ok_or_else(|| message(401, "Bad credentials").into())
}

fn packages(front: &Front<Rules>, asked: &Asked, who: &Credential, owner: &str) -> Response {
    if !who.has(&["read:packages", "write:packages"]) {
        return message(403, "You need at least read:packages scope to list packages.");
    }
    match asked.parameter("package_type").as_deref() {
        Some("container") => {}
        Some(_) => return Response::json(200, &json!([])),
        None => return message(400, "Package type is missing"),
    }
    let inventory = front.inventory.lock().unwrap();
    let own = inventory
        .shown()
        .iter()
        .filter(|(name, _)| package_of(name).0 == owner && right(front, who, name).is_some());
    let entries: Vec<Value> = own.map(|(name, there)| entry(front, name, there)).collect();
    drop(inventory);
    paged(front, asked, entries, |entry| entry)
}

fn entry(front: &Front<Rules>, repository: &str, there: &Repository) -> Value {
    let (owner, package) = package_of(repository);
    let public = front.people.lock().unwrap().is_public(repository);
    json!({
        "id": there.id,
        "name": package,
        "package_type": "container",
        "owner": { "login": owner },
        "version_count": there.versions.len(),
        "visibility": if public { "public" } else { "private" },
        "created_at": written(there.created),
        "updated_at": written(there.updated),
    })
}

/// A time to the second.
pub fn written(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// One page, with links to the next and the last.
pub fn paged<T>(
    front: &Front<Rules>,
    asked: &Asked,
    entries: Vec<T>,
    write: impl Fn(T) -> Value,
) -> Response {
    let limit = asked.number("per_page").unwrap_or(30).clamp(1, 100);
    let at = asked.number("page").unwrap_or(1).max(1);
    let page = numbered(entries, at, limit, front.shift());
    let last = page.total.div_ceil(limit).max(1);
    let entries: Vec<Value> = page.entries.into_iter().map(write).collect();
    let response = Response::json(200, &json!(entries));
    let link = |number: usize, relation: &str| {
        format!("<http://{API}{}>; rel=\"{relation}\"", at_page(asked, number))
    };
    if !page.more {
        return response;
    }
    response.header("link", format!("{}, {}", link(at + 1, "next"), link(last, "last")))
}
