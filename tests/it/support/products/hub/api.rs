//! `hub.docker.com`: repositories of a namespace, and their tags.

use serde_json::{Value, json};

use super::{API, Rules, token};
use crate::support::products::asked::Asked;
use crate::support::products::front::Front;
use crate::support::products::inventory::{Repository, Tag, Version};
use crate::support::products::pages::{at_page, numbered};
use crate::support::products::people::{Credential, Right};
use crate::support::wire::Response;

const PAGE: usize = 100;

pub async fn answer(front: &Front<Rules>, asked: &Asked) -> Response {
    let who = match shown(front, asked) {
        Ok(who) => who,
        Err(refusal) => return *refusal,
    };
    let who = who.as_ref();
    let parts = asked.parts();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    match (asked.method(), &parts[..]) {
        ("GET", ["v2", "namespaces", namespace, "repositories"]) => {
            repositories(front, asked, who, namespace)
        }
        ("POST", ["v2", "namespaces", namespace, "repositories"]) => {
            make(front, asked, who, namespace)
        }
        ("GET", ["v2", "namespaces", namespace, "repositories", name, "tags"]) => {
            tags(front, asked, who, &format!("{namespace}/{name}"))
        }
        // The last part is empty: the path ends with a slash.
        ("DELETE", ["v2", "repositories", namespace, name, "tags", tag, ""]) => {
            delete(front, who, &format!("{namespace}/{name}"), tag).await
        }
        _ => not_found(),
    }
}

fn not_found() -> Response {
    Response::json(404, &json!({ "message": "object not found", "errinfo": {} }))
}

fn detail(status: u16, text: &str) -> Response {
    Response::json(status, &json!({ "detail": text, "message": text }))
}

/// Whose token it is: one that the API's own login gave.
fn shown(front: &Front<Rules>, asked: &Asked) -> Result<Option<Credential>, Box<Response>> {
    if asked.head.header("authorization").is_none() {
        return Ok(None);
    }
    let tokens = front.tokens.lock().unwrap();
    let issued = asked.bearer().and_then(|token| tokens.valid(token));
    let secret =
        issued.and_then(|issued| issued.access.first()).filter(|it| it.kind == "credential");
    let people = front.people.lock().unwrap();
    match secret.and_then(|secret| people.token(&secret.name)) {
        Some(credential) => Ok(Some(credential)),
        None => Err(detail(401, "unauthorized").into()),
    }
}

fn repositories(
    front: &Front<Rules>,
    asked: &Asked,
    who: Option<&Credential>,
    namespace: &str,
) -> Response {
    let inventory = front.inventory.lock().unwrap();
    let own =
        inventory.shown().iter().filter(|(name, _)| name.split('/').next() == Some(namespace));
    let mut own: Vec<(String, Repository)> =
        own.map(|(name, there)| (name.clone(), there.clone())).collect();
    drop(inventory);
    own.retain(|(name, _)| token::may(front, who, name, "pull"));
    match asked.parameter("ordering").as_deref() {
        Some("last_updated") => own.sort_by_key(|(_, there)| there.updated),
        Some("-last_updated") => own.sort_by_key(|(_, there)| std::cmp::Reverse(there.updated)),
        Some("-name") => own.reverse(),
        _ => {}
    }
    let entries = own.into_iter().map(|(name, there)| {
        let public = front.people.lock().unwrap().is_public(&name);
        json!({
            "name": name.split_once('/').map(|(_, name)| name),
            "namespace": namespace,
            "repository_type": "image",
            "is_private": !public,
            "last_updated": there.updated.to_string(),
        })
    });
    paged(front, asked, entries.collect())
}

fn make(
    front: &Front<Rules>,
    asked: &Asked,
    who: Option<&Credential>,
    namespace: &str,
) -> Response {
    let Some(who) = who else { return detail(401, "unauthorized") };
    let body = asked.json();
    let Some(name) = body["name"].as_str() else { return detail(400, "name is missing") };
    let repository = format!("{namespace}/{name}");
    let right = front.people.lock().unwrap().right(Some(&who.holder), &repository);
    if right < Some(Right::Write) || !who.has(&["repo:write", "repo:admin"]) {
        return detail(403, "permission denied");
    }
    front.knobs.lock().unwrap().made.insert(repository.clone());
    front.inventory.lock().unwrap().repository(&repository);
    Response::json(201, &json!({ "name": name, "namespace": namespace }))
}

fn tags(front: &Front<Rules>, asked: &Asked, who: Option<&Credential>, name: &str) -> Response {
    if !token::may(front, who, name, "pull") {
        return not_found();
    }
    let found = front.inventory.lock().unwrap().shown().get(name).cloned();
    let Some(there) = found else { return not_found() };
    let mut tags: Vec<(&String, &Tag)> = there.tags.iter().collect();
    tags.sort_by_key(|(_, tag)| std::cmp::Reverse(tag.pushed));
    let entries = tags.into_iter().map(|(name, tag)| entry(front, &there, name, tag));
    paged(front, asked, entries.collect())
}

fn entry(front: &Front<Rules>, there: &Repository, name: &str, tag: &Tag) -> Value {
    let knobs = front.knobs();
    let version = there.versions.get(&tag.digest);
    let images: Vec<Value> = match version {
        Some(index) if index.is_index() => {
            let children = index.children();
            let document = index.document();
            let child = |(at, digest): (usize, &String)| {
                let platform = &document["manifests"][at]["platform"];
                image(there.versions.get(digest)?, &platform["os"], &platform["architecture"])
            };
            children.iter().enumerate().filter_map(child).collect()
        }
        Some(single) => image(single, &json!("linux"), &json!("amd64")).into_iter().collect(),
        None => Vec::new(),
    };
    let size: u64 = images.iter().filter_map(|image| image["size"].as_u64()).sum();
    let mut entry = json!({
        "name": name,
        "last_updated": tag.pushed.to_string(),
        "tag_last_pushed": tag.pushed.to_string(),
        "tag_last_pulled": knobs.pulled.get(&tag.digest).map(ToString::to_string),
        "full_size": size,
        "images": images,
    });
    if knobs.tag_digests {
        entry["digest"] = tag.digest.clone().into();
        entry["media_type"] = version.map(|version| version.media_type.clone()).into();
        entry["content_type"] = "image".into();
    }
    entry
}

fn image(version: &Version, os: &Value, architecture: &Value) -> Option<Value> {
    Some(json!({
        "digest": version.digest,
        "os": os,
        "architecture": architecture,
        "variant": null,
        "size": version.blob_bytes(),
        "status": "active",
        "last_pushed": version.updated.to_string(),
    }))
}

async fn delete(front: &Front<Rules>, who: Option<&Credential>, name: &str, tag: &str) -> Response {
    if who.is_none() {
        return detail(401, "unauthorized");
    }
    if !token::may(front, who, name, "delete") {
        return detail(403, "permission denied");
    }
    let known = {
        let inventory = front.inventory.lock().unwrap();
        inventory.live().get(name).is_some_and(|there| there.tags.contains_key(tag))
    };
    if !known {
        return not_found();
    }
    front.untag(name, tag).await;
    Response::new(front.knobs().deleted_status)
}

/// One page, with the count of all and the addresses of its neighbours.
fn paged(front: &Front<Rules>, asked: &Asked, entries: Vec<Value>) -> Response {
    let limit = asked.number("page_size").unwrap_or(10).clamp(1, PAGE);
    let at = asked.number("page").unwrap_or(1).max(1);
    let page = numbered(entries, at, limit, front.shift());
    if at > 1 && page.entries.is_empty() {
        return detail(404, "page not found");
    }
    let address = |number: usize| format!("http://{API}{}", at_page(asked, number));
    let answer = json!({
        "count": page.total,
        "next": page.more.then(|| address(at + 1)),
        "previous": (at > 1).then(|| address(at - 1)),
        "results": page.entries,
    });
    Response::json(200, &answer)
}
