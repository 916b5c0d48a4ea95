//! The versions of a package at `api.github.com`: every manifest is one, tagged or not.

use serde_json::{Value, json};

use super::api::{message, paged, right, written};
use super::{Rules, package_of};
use crate::support::products::asked::Asked;
use crate::support::products::front::Front;
use crate::support::products::inventory::{Repository, Version};
use crate::support::products::people::{Credential, Right};
use crate::support::wire::Response;

/// Versions of public packages with more downloads stay.
const DOWNLOADS: u64 = 5_000;

#[derive(Clone)]
pub struct Deleted {
    repository: String,
    version: Version,
    tags: Vec<String>,
}

pub async fn answer(
    front: &Front<Rules>,
    asked: &Asked,
    who: &Credential,
    repository: &str,
    rest: &[&str],
) -> Response {
    let found = front.inventory.lock().unwrap().shown().get(repository).cloned();
    let may = right(front, who, repository);
    let (Some(there), Some(may)) = (found, may) else { return message(404, "Package not found.") };
    if !who.has(&["read:packages", "write:packages", "delete:packages"]) {
        return message(403, "You need at least read:packages scope to get a package's versions.");
    }
    let version = rest.first().map(|number| {
        let number = number.parse::<u64>().ok();
        there.versions.values().find(|version| Some(version.id) == number)
    });
    match (asked.method(), version) {
        ("GET", None) if asked.parameter("state").as_deref() == Some("deleted") => {
            deleted(front, asked, repository)
        }
        ("GET", None) => paged(front, asked, there.newest_first(), |version| {
            entry(repository, version, &there.tags_of(&version.digest))
        }),
        (_, Some(None)) => message(404, "Package version not found."),
        ("GET", Some(Some(version))) => {
            Response::json(200, &entry(repository, version, &there.tags_of(&version.digest)))
        }
        ("DELETE", Some(Some(version))) => {
            delete(front, who, may, repository, &there, version).await
        }
        _ => message(404, "Not Found"),
    }
}

fn entry(repository: &str, version: &Version, tags: &[String]) -> Value {
    let (owner, package) = package_of(repository);
    json!({
        "id": version.id,
        "name": version.digest,
        "url": format!("https://api.github.com/orgs/{owner}/packages/container/{}/versions/{}",
            package.replace('/', "%2F"), version.id),
        "created_at": written(version.created),
        "updated_at": written(version.updated),
        "metadata": { "package_type": "container", "container": { "tags": tags } },
    })
}

fn deleted(front: &Front<Rules>, asked: &Asked, repository: &str) -> Response {
    let mut deleted = front.knobs().deleted;
    deleted.retain(|deleted| deleted.repository == repository);
    paged(front, asked, deleted, |deleted| entry(repository, &deleted.version, &deleted.tags))
}

async fn delete(
    front: &Front<Rules>,
    who: &Credential,
    may: Right,
    repository: &str,
    there: &Repository,
    version: &Version,
) -> Response {
    if may < Right::Admin || !who.has(&["delete:packages"]) {
        return message(403, "You need admin rights and the delete:packages scope.");
    }
    let knobs = front.knobs();
    let public = front.people.lock().unwrap().is_public(repository);
    let downloads = knobs.downloads.get(&version.digest).copied().unwrap_or_default();
    if public && downloads > DOWNLOADS {
        return message(
            400,
            "Publicly visible package versions with more than 5000 downloads cannot be deleted. \
             Contact GitHub support for further assistance.",
        );
    }
    let tags = there.tags_of(&version.digest);
    if !tags.is_empty() && there.tags.values().all(|tag| tag.digest == version.digest) {
        return message(
            400,
            "You cannot delete the last tagged version of a package. You must delete the package \
             instead.",
        );
    }
    front.remove(repository, &version.digest).await;
    let deleted = Deleted { repository: repository.to_owned(), version: version.clone(), tags };
    front.knobs.lock().unwrap().deleted.push(deleted);
    Response::new(knobs.deleted_status)
}
