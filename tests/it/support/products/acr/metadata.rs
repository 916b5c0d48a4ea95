//! `/acr/v1/`: tags with their digests and times, manifests, and the deletion of a tag.

use serde_json::{Value, json};

use super::{Rules, locked, registry, token};
use crate::support::products::asked::Asked;
use crate::support::products::front::Front;
use crate::support::products::inventory::{Repository, Tag};
use crate::support::products::pages::page;
use crate::support::scripted::error;
use crate::support::wire::Response;

pub async fn answer(front: &Front<Rules>, asked: &Asked) -> Response {
    let path = asked.path().trim_start_matches("/acr/v1/");
    if (asked.method(), path) == ("GET", "_catalog") {
        let needs = [("registry", "catalog", "*")];
        return token::refused(front, asked, &needs).unwrap_or_else(|| catalog(front, asked));
    }
    let right = front.knobs().metadata_right;
    if let ("DELETE", Some((name, tag))) = (asked.method(), path.split_once("/_tags/")) {
        let needs = [("repository", name, "delete")];
        return match token::refused(front, asked, &needs) {
            Some(refusal) => refusal,
            None => delete(front, name, tag).await,
        };
    }
    let listed = ["/_tags", "/_manifests"].iter().find_map(|kind| {
        path.strip_suffix(kind).filter(|_| asked.method() == "GET").map(|name| (name, *kind))
    });
    let Some((name, kind)) = listed else {
        return error(404, "NOT_FOUND", "the path is not known");
    };
    if let Some(refusal) = token::refused(front, asked, &[("repository", name, right)]) {
        return refusal;
    }
    let found = front.inventory.lock().unwrap().shown().get(name).cloned();
    match found {
        Some(there) if kind == "/_tags" => tags(front, asked, name, &there),
        Some(there) => manifests(front, asked, name, &there),
        None => error(404, "NAME_UNKNOWN", "repository name not known to registry"),
    }
}

/// A page behind a marker, whose link is relative, with an order even where none was asked for.
fn paged(
    front: &Front<Rules>,
    asked: &Asked,
    keyed: Vec<(String, Value)>,
    wrap: impl Fn(Vec<Value>) -> Value,
) -> Response {
    let cap = front.knobs().page_cap;
    let limit = asked.number("n").unwrap_or(cap).clamp(1, cap);
    let start = match asked.parameter("last") {
        Some(last) => match keyed.iter().position(|(key, _)| *key == last) {
            Some(at) => at + 1,
            None => keyed.iter().filter(|(key, _)| *key <= last).count(),
        },
        None => 0,
    };
    let page = page(keyed, start, limit, front.shift());
    let last = page.entries.last().map(|(key, _)| key.clone());
    let entries = page.entries.into_iter().map(|(_, entry)| entry).collect();
    let response = Response::json(200, &wrap(entries));
    match last.filter(|_| page.more) {
        Some(last) => {
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            query.append_pair("last", &last).append_pair("n", &limit.to_string());
            query.append_pair("orderby", &asked.parameter("orderby").unwrap_or_default());
            let link = format!("<{}?{}>; rel=\"next\"", asked.head.raw_path, query.finish());
            response.header("link", link)
        }
        None => response,
    }
}

pub fn catalog(front: &Front<Rules>, asked: &Asked) -> Response {
    let names: Vec<String> = front.inventory.lock().unwrap().shown().keys().cloned().collect();
    let keyed = names.into_iter().map(|name| (name.clone(), name.into())).collect();
    paged(front, asked, keyed, |names| json!({ "repositories": names }))
}

fn attributes(free: bool) -> Value {
    json!({ "deleteEnabled": free, "writeEnabled": free, "readEnabled": true, "listEnabled": true })
}

fn tags(front: &Front<Rules>, asked: &Asked, name: &str, there: &Repository) -> Response {
    let digest = asked.parameter("digest");
    let mut tags: Vec<(&String, &Tag)> = there.tags.iter().collect();
    tags.retain(|(_, tag)| digest.as_ref().is_none_or(|digest| tag.digest == *digest));
    // In the order of time the marker holds a time too, behind an ampersand.
    let timed = match asked.parameter("orderby").as_deref() {
        Some("timedesc") => {
            tags.sort_by_key(|(_, tag)| std::cmp::Reverse(tag.updated));
            true
        }
        Some("timeasc") => {
            tags.sort_by_key(|(_, tag)| tag.updated);
            true
        }
        _ => false,
    };
    let keyed = tags.into_iter().map(|(tag, of)| {
        let key = if timed { format!("{tag}&{}", of.updated) } else { tag.clone() };
        let entry = json!({
            "name": tag,
            "digest": of.digest,
            "createdTime": of.created.to_string(),
            "lastUpdateTime": of.updated.to_string(),
            "signed": false,
            "changeableAttributes": attributes(!registry::is_locked(front, name, tag)),
        });
        (key, entry)
    });
    let (keyed, host) = (keyed.collect(), asked.host().to_owned());
    paged(front, asked, keyed, |tags| json!({ "registry": host, "imageName": name, "tags": tags }))
}

fn manifests(front: &Front<Rules>, asked: &Asked, name: &str, there: &Repository) -> Response {
    let mut versions: Vec<_> = there.versions.values().collect();
    if asked.parameter("orderby").as_deref() == Some("timedesc") {
        versions.sort_by_key(|version| std::cmp::Reverse(version.updated));
    }
    let keyed = versions.into_iter().map(|version| {
        let entry = json!({
            "digest": version.digest,
            "imageSize": version.blob_bytes(),
            "createdTime": version.created.to_string(),
            "lastUpdateTime": version.updated.to_string(),
            "mediaType": version.media_type,
            "tags": there.tags_of(&version.digest),
            "changeableAttributes": attributes(!registry::is_locked(front, name, &version.digest)),
        });
        (version.digest.clone(), entry)
    });
    let (keyed, host) = (keyed.collect(), asked.host().to_owned());
    let wrap = |manifests| json!({ "registry": host, "imageName": name, "manifests": manifests });
    paged(front, asked, keyed, wrap)
}

async fn delete(front: &Front<Rules>, name: &str, tag: &str) -> Response {
    if registry::is_locked(front, name, tag) {
        return locked();
    }
    let known = {
        let inventory = front.inventory.lock().unwrap();
        inventory.live().get(name).is_some_and(|there| there.tags.contains_key(tag))
    };
    if !known {
        return error(404, "TAG_UNKNOWN", "the specified tag does not exist");
    }
    front.untag(name, tag).await;
    Response::new(front.knobs().deleted_status)
}
