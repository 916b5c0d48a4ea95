//! `/api/v1/`: repositories, and tags with their digests and their past.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Rules;
use super::registry::{read_word, word};
use crate::support::products::asked::Asked;
use crate::support::products::front::Front;
use crate::support::products::inventory::Repository;
use crate::support::products::pages::{numbered, page};
use crate::support::products::people::{Credential, Right};
use crate::support::wire::Response;

const PAGE: usize = 100;

pub fn answer(front: &Front<Rules>, asked: &Asked) -> Response {
    let bearer = asked.head.header("authorization");
    let who = match bearer.map(|_| asked.bearer().unwrap_or_default()) {
        None => None,
        Some(token) => match front.people.lock().unwrap().token(token) {
            Some(credential) if credential.user.is_none() => Some(credential),
            // Passwords and robots are good for the registry only.
            _ => return refuse(401, "invalid_token", "Invalid bearer token"),
        },
    };
    if who.as_ref().is_some_and(|who| !who.has(&front.knobs().api_reads)) {
        return refuse(403, "insufficient_scope", "Unauthorized");
    }
    let path = asked.path().strip_prefix("/api/v1/repository").unwrap_or("?");
    if asked.method() != "GET" {
        return refuse(405, "invalid_request", "Method not allowed");
    }
    if path.is_empty() {
        return repositories(front, asked, who.as_ref());
    }
    match path.strip_prefix('/').and_then(|path| path.strip_suffix("/tag/")) {
        Some(repository) => tags(front, asked, who.as_ref(), repository),
        None => not_found(),
    }
}

fn refuse(status: u16, kind: &str, message: &str) -> Response {
    let body = json!({
        "status": status, "error_type": kind, "error_message": message, "detail": message,
        "title": kind,
    });
    Response::json(status, &body)
}

fn not_found() -> Response {
    refuse(404, "not_found", "Not Found")
}

fn reads(front: &Front<Rules>, who: Option<&Credential>, name: &str) -> bool {
    let holder = who.map(|who| who.holder.as_str());
    front.people.lock().unwrap().right(holder, name) >= Some(Right::Read)
}

fn repositories(front: &Front<Rules>, asked: &Asked, who: Option<&Credential>) -> Response {
    let Some(namespace) = asked.parameter("namespace") else {
        return refuse(400, "invalid_request", "namespace, starred or public must be given");
    };
    let inventory = front.inventory.lock().unwrap();
    let own = inventory.shown().keys().filter_map(|name| {
        let (of, rest) = name.split_once('/')?;
        (of == namespace && reads(front, who, name)).then(|| {
            let public = front.people.lock().unwrap().is_public(name);
            json!({ "namespace": of, "name": rest, "is_public": public, "kind": "image" })
        })
    });
    let own: Vec<Value> = own.collect();
    let start = asked.parameter("next_page").and_then(|word| read_word(&word)).unwrap_or(0);
    let page = page(own, start, PAGE, front.shift());
    let mut answer = json!({ "repositories": page.entries });
    if page.more {
        answer["next_page"] = word(start + PAGE).into();
    }
    Response::json(200, &answer)
}

fn tags(front: &Front<Rules>, asked: &Asked, who: Option<&Credential>, name: &str) -> Response {
    if !reads(front, who, name) {
        return match who {
            Some(_) => refuse(403, "insufficient_scope", "Unauthorized"),
            None => refuse(401, "invalid_token", "Requires authentication"),
        };
    }
    let inventory = front.inventory.lock().unwrap();
    let Some(there) = inventory.shown().get(name) else { return not_found() };
    let active = asked.parameter("onlyActiveTags").as_deref() == Some("true");
    let exact = asked.parameter("specificTag");
    let mut rows = Vec::new();
    for (tag, of) in &there.tags {
        rows.push((of.updated, row(there, tag, &of.digest, of.updated, None)));
    }
    for past in there.past.iter().filter(|_| !active) {
        let row = row(there, &past.tag, &past.digest, past.from, Some(past.until));
        rows.push((past.from, row));
    }
    rows.sort_by_key(|(from, _)| std::cmp::Reverse(*from));
    let mut rows: Vec<Value> = rows.into_iter().map(|(_, row)| row).collect();
    rows.retain(|row| exact.as_ref().is_none_or(|exact| row["name"] == **exact));
    let limit = asked.number("limit").unwrap_or(50).clamp(1, PAGE);
    let at = asked.number("page").unwrap_or(1).max(1);
    let page = numbered(rows, at, limit, front.shift());
    let answer = json!({ "tags": page.entries, "page": at, "has_additional": page.more });
    Response::json(200, &answer)
}

fn row(
    there: &Repository,
    tag: &str,
    digest: &str,
    from: Timestamp,
    until: Option<Timestamp>,
) -> Value {
    let version = there.versions.get(digest);
    let written = |time: Timestamp| time.strftime("%a, %d %b %Y %H:%M:%S -0000").to_string();
    let mut row = json!({
        "name": tag,
        "reversion": false,
        "start_ts": from.as_second(),
        "manifest_digest": digest,
        "is_manifest_list": version.is_some_and(|version| version.is_index()),
        "size": version.filter(|version| !version.is_index()).map(|version| version.blob_bytes()),
        "last_modified": written(from),
    });
    if let Some(until) = until {
        row["end_ts"] = until.as_second().into();
        row["expiration"] = written(until).into();
    }
    row
}
