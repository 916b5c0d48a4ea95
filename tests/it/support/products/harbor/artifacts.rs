//! The artifacts of a repository: one entry a digest, with its tags; deletion and copies.

use serde_json::{Value, json};

use super::api::{not_found, paged};
use super::{Rules, immutable, refuse, registry};
use crate::support::products::asked::Asked;
use crate::support::products::front::Front;
use crate::support::products::inventory::{Repository, Version};
use crate::support::products::people::Credential;
use crate::support::wire::Response;

/// What was never pulled has Go's zero time.
const NEVER: &str = "0001-01-01T00:00:00.000Z";

pub async fn answer(
    front: &Front<Rules>,
    asked: &Asked,
    who: Option<&Credential>,
    repository: &str,
    rest: &[&str],
) -> Response {
    let action = match asked.method() {
        "GET" => "pull",
        "POST" => "push",
        _ => "delete",
    };
    if !registry::may(front, who, repository, action) {
        return match who {
            Some(_) => refuse(403, "FORBIDDEN", "forbidden"),
            None => refuse(401, "UNAUTHORIZED", "unauthorized"),
        };
    }
    if let ("POST", []) = (asked.method(), rest) {
        return copy(front, asked, who, repository);
    }
    let found = front.inventory.lock().unwrap().shown().get(repository).cloned();
    let Some(there) = found else {
        return refuse(404, "NOT_FOUND", &format!("repository {repository} not found"));
    };
    if let ("GET", []) = (asked.method(), rest) {
        return list(front, asked, repository, &there);
    }
    let Some((reference, rest)) = rest.split_first() else { return not_found() };
    let digest = there.tags.get(*reference).map_or(*reference, |tag| tag.digest.as_str());
    let Some(version) = there.versions.get(digest) else {
        return refuse(404, "NOT_FOUND", &format!("artifact {repository}:{reference} not found"));
    };
    match (asked.method(), rest) {
        ("GET", []) => Response::json(200, &entry(front, asked, repository, &there, version)),
        ("DELETE", []) => delete(front, repository, &there, version).await,
        ("DELETE", ["tags", tag]) => {
            let own = there.tags_of(digest);
            if !own.iter().any(|own| own == tag) {
                let message = format!("tag {tag} attached to artifact {digest} not found");
                return refuse(404, "NOT_FOUND", &message);
            }
            if let Some(tag) = front.knobs().immutable(repository, &[(*tag).to_owned()]) {
                return immutable(tag);
            }
            front.untag(repository, tag).await;
            Response::new(200)
        }
        _ => not_found(),
    }
}

fn list(front: &Front<Rules>, asked: &Asked, name: &str, there: &Repository) -> Response {
    let query = asked.parameter("q").unwrap_or_default();
    let wanted = match query.as_str() {
        "" => None,
        _ => match query.strip_prefix("tags=") {
            Some(tags) => Some(tags),
            None => return refuse(400, "BAD_REQUEST", "the query is not supported"),
        },
    };
    let mut versions = there.newest_first();
    match asked.parameter("sort").as_deref() {
        None | Some("-push_time") => {}
        Some("push_time") => versions.reverse(),
        Some(_) => return refuse(400, "BAD_REQUEST", "the sort is not supported"),
    }
    versions.retain(|version| {
        let tags = there.tags_of(&version.digest);
        let fits = match wanted {
            None => true,
            Some("*") => !tags.is_empty(),
            Some("nil") => tags.is_empty(),
            Some(tag) => tags.iter().any(|own| own == tag),
        };
        // What refers to another is listed with that one.
        fits && !is_accessory(there, version)
    });
    let entries = versions.into_iter().map(|it| entry(front, asked, name, there, it)).collect();
    paged(front, asked, entries)
}

fn is_accessory(there: &Repository, version: &Version) -> bool {
    version.subject().is_some_and(|subject| there.versions.contains_key(&subject))
}

fn entry(
    front: &Front<Rules>,
    asked: &Asked,
    name: &str,
    there: &Repository,
    version: &Version,
) -> Value {
    let knobs = front.knobs();
    let document = version.document();
    let pulled = knobs.pulled.get(&version.digest).map(ToString::to_string);
    let pulled = pulled.unwrap_or_else(|| NEVER.to_owned());
    let own = there.tags.iter().filter(|(_, tag)| tag.digest == version.digest);
    let tags: Vec<Value> = own
        .map(|(tag, of)| {
            let fixed = knobs.immutable_tags.contains(&format!("{name}:{tag}"));
            json!({
                "name": tag,
                "push_time": of.updated.to_string(),
                "pull_time": pulled,
                "immutable": fixed,
            })
        })
        .collect();
    let references: Vec<Value> =
        version.children().iter().map(|child| json!({ "child_digest": child })).collect();
    let referring =
        there.versions.values().filter(|it| it.subject().as_ref() == Some(&version.digest));
    let accessories: Vec<Value> = referring
        .map(|it| {
            json!({
                "digest": it.digest,
                "type": "subject.accessory",
                "subject_artifact_digest": version.digest,
            })
        })
        .collect();
    let mut entry = json!({
        "id": version.id,
        "digest": version.digest,
        "type": "IMAGE",
        "media_type": document["config"]["mediaType"],
        "manifest_media_type": version.media_type,
        "artifact_type": document["artifactType"],
        "size": version.blob_bytes() + version.bytes.len() as u64,
        "push_time": version.created.to_string(),
        "pull_time": pulled,
        "references": references,
        "accessories": accessories,
    });
    if asked.parameter("with_tag").as_deref() != Some("false") {
        // Go's empty list.
        entry["tags"] = if tags.is_empty() { Value::Null } else { tags.into() };
    }
    entry
}

/// Deletes an artifact with its tags, and the parts of an index that nothing else holds.
async fn delete(
    front: &Front<Rules>,
    repository: &str,
    there: &Repository,
    version: &Version,
) -> Response {
    let tags = there.tags_of(&version.digest);
    if let Some(tag) = front.knobs().immutable(repository, &tags) {
        return immutable(tag);
    }
    if !there.parents_of(&version.digest).is_empty() {
        let message = "the deleting artifact is referenced by others";
        return refuse(412, "VIOLATE_FOREIGN_KEY_CONSTRAINT", message);
    }
    for child in version.children() {
        if there.tags_of(&child).is_empty() && there.parents_of(&child).len() == 1 {
            front.remove(repository, &child).await;
        }
    }
    front.remove(repository, &version.digest).await;
    Response::new(200)
}

/// Copies an artifact within the server: `from=project/repository@digest`, or with a tag.
fn copy(
    front: &Front<Rules>,
    asked: &Asked,
    who: Option<&Credential>,
    repository: &str,
) -> Response {
    let from = asked.parameter("from").unwrap_or_default();
    let Some((source, reference)) = from.split_once('@').or_else(|| from.rsplit_once(':')) else {
        return refuse(400, "BAD_REQUEST", &format!("invalid format: {from}"));
    };
    if !registry::may(front, who, source, "pull") {
        return refuse(403, "FORBIDDEN", "forbidden");
    }
    let mut inventory = front.inventory.lock().unwrap();
    let there = inventory.live().get(source).cloned();
    let digest = there.as_ref().and_then(|there| {
        let tagged = there.tags.get(reference).map(|tag| tag.digest.clone());
        tagged.or_else(|| there.versions.contains_key(reference).then(|| reference.to_owned()))
    });
    let (Some(there), Some(digest)) = (there, digest) else {
        return refuse(404, "NOT_FOUND", &format!("artifact {from} not found"));
    };
    let registry = front.backend.scripted();
    registry.copy_blobs(source, repository);
    let mut parts = there.versions[&digest].children();
    parts.push(digest.clone());
    for version in parts.iter().filter_map(|part| there.versions.get(part)) {
        let tag = (version.digest == digest && !reference.contains(':')).then_some(reference);
        let under = tag.unwrap_or(&version.digest);
        registry.insert_manifest(repository, tag, &version.media_type, version.bytes.clone());
        inventory.put(repository, under, &version.media_type, &version.bytes);
    }
    let (project, name) = repository.split_once('/').unwrap_or_default();
    let name = name.replace('/', "%252F");
    let location = format!("/api/v2.0/projects/{project}/repositories/{name}/artifacts/{digest}");
    Response::new(201).header("location", location)
}
