//! `/api/v4/`: repositories of projects and groups, their tags one by one, and deletion.

use std::time::{Duration, Instant};

use regex::Regex;
use serde_json::{Value, json};

use super::{GITLAB, REGISTRY, Rules};
use crate::support::products::asked::Asked;
use crate::support::products::front::Front;
use crate::support::products::inventory::{Repository, Tag};
use crate::support::products::pages::{at_page, numbered};
use crate::support::products::people::{Credential, Right, lies_under};
use crate::support::wire::Response;

/// The bulk deletion runs so often for a repository.
const BULK_EVERY: Duration = Duration::from_secs(3600);

pub async fn answer(front: &Front<Rules>, asked: &Asked) -> Response {
    let credential = match shown(front, asked) {
        Ok(credential) => credential,
        Err(refusal) => return *refusal,
    };
    let parts = asked.parts();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let who = credential.as_ref();
    match (asked.method(), &parts[..]) {
        ("GET", ["api", "v4", "groups", group, "registry", "repositories"]) => {
            of_group(front, asked, who, group)
        }
        (_, ["api", "v4", "projects", project, "registry", "repositories", rest @ ..]) => {
            of_project(front, asked, who, project, rest).await
        }
        _ => Response::json(404, &json!({ "error": "404 Not Found" })),
    }
}

/// The credential of a request, if it has any.
fn shown(front: &Front<Rules>, asked: &Asked) -> Result<Option<Credential>, Box<Response>> {
    let headers = ["private-token", "deploy-token", "job-token"];
    let own = headers.iter().find_map(|name| asked.head.header(name)).or(asked.bearer());
    let Some(secret) = own else { return Ok(None) };
    let Some(credential) = front.people.lock().unwrap().token(secret) else {
        return Err(message(401, "401 Unauthorized").into());
    };
    let knobs = front.knobs();
    let wanted = if asked.reads() { &knobs.api_reads } else { &knobs.api_writes };
    if !credential.has(wanted) {
        let description =
            "The request requires higher privileges than provided by the access token.";
        let body = json!({
            "error": "insufficient_scope",
            "error_description": description,
            "scope": wanted.join(" "),
        });
        return Err(Response::json(403, &body).into());
    }
    Ok(Some(credential))
}

fn message(status: u16, text: &str) -> Response {
    Response::json(status, &json!({ "message": text }))
}

fn right(front: &Front<Rules>, who: Option<&Credential>, project: &str) -> Option<Right> {
    front.people.lock().unwrap().right(who.map(|who| who.holder.as_str()), project)
}

fn of_group(
    front: &Front<Rules>,
    asked: &Asked,
    who: Option<&Credential>,
    group: &str,
) -> Response {
    let mut projects: Vec<(String, u64)> = front.knobs().projects.into_iter().collect();
    projects.retain(|(path, _)| lies_under(path, group) && path != group);
    projects.retain(|(path, _)| right(front, who, path).is_some());
    if projects.is_empty() {
        return message(404, "404 Group Not Found");
    }
    list(front, asked, &projects)
}

async fn of_project(
    front: &Front<Rules>,
    asked: &Asked,
    who: Option<&Credential>,
    project: &str,
    rest: &[&str],
) -> Response {
    let projects = front.knobs().projects;
    let by_number = project.parse::<u64>().ok();
    let known = projects.into_iter().find(|(path, id)| path == project || Some(*id) == by_number);
    let known = known.and_then(|known| Some((right(front, who, &known.0)?, known)));
    let Some((right, known)) = known else { return message(404, "404 Project Not Found") };
    let project = known.0.clone();
    if let ("GET", []) = (asked.method(), rest) {
        return list(front, asked, &[known]);
    }
    let number = rest.first().and_then(|number| number.parse::<u64>().ok());
    let found = number.and_then(|number| {
        let inventory = front.inventory.lock().unwrap();
        let mut of_project = inventory.shown().iter().filter(|(name, repository)| {
            front.knobs().project_of(name) == Some(&project) && repository.id == number
        });
        of_project.next().map(|(name, repository)| (name.clone(), repository.clone()))
    });
    let Some((name, repository)) = found else {
        return message(404, "404 Container Repository Not Found");
    };
    if asked.method() == "DELETE" && right < Right::Write {
        return message(403, "403 Forbidden");
    }
    match (asked.method(), &rest[1..]) {
        ("GET", ["tags"]) => {
            let tags = repository.tags.keys().map(|tag| named(front, &name, tag)).collect();
            paged(front, asked, tags)
        }
        ("GET", ["tags", tag]) => match repository.tags.get(*tag) {
            Some(there) => detail(front, &name, tag, there, &repository),
            None => message(404, "404 Tag Not Found"),
        },
        ("DELETE", ["tags", tag]) if !repository.tags.contains_key(*tag) => {
            message(404, "404 Tag Not Found")
        }
        ("DELETE", ["tags", tag]) if is_protected(front, &name, tag) => {
            message(403, "403 Forbidden")
        }
        ("DELETE", ["tags", tag]) => {
            front.untag(&name, tag).await;
            Response::json(200, &json!({}))
        }
        ("DELETE", ["tags"]) => bulk_delete(front, asked, &name, &repository).await,
        _ => Response::json(404, &json!({ "error": "404 Not Found" })),
    }
}

/// The repositories of these projects, in pages.
fn list(front: &Front<Rules>, asked: &Asked, projects: &[(String, u64)]) -> Response {
    let knobs = front.knobs();
    let counts = asked.parameter("tags_count").as_deref() == Some("true");
    let inventory = front.inventory.lock().unwrap();
    let entries = inventory.shown().iter().filter_map(|(name, repository)| {
        let project = knobs.project_of(name)?;
        let (_, project_id) = projects.iter().find(|(path, _)| path == project)?;
        let mut entry = json!({
            "id": repository.id,
            "name": name[project.len()..].trim_start_matches('/'),
            "path": name,
            "project_id": project_id,
            "location": format!("{}/{name}", front.host(REGISTRY)),
            "created_at": repository.created.to_string(),
            "status": null,
        });
        if counts {
            entry["tags_count"] = repository.tags.len().into();
        }
        Some(entry)
    });
    let entries = entries.collect();
    drop(inventory);
    paged(front, asked, entries)
}

fn paged(front: &Front<Rules>, asked: &Asked, entries: Vec<Value>) -> Response {
    let limit = asked.number("per_page").unwrap_or(20).clamp(1, 100);
    let at = asked.number("page").unwrap_or(1).max(1);
    let page = numbered(entries, at, limit, front.shift());
    let response = Response::json(200, &json!(page.entries));
    if !page.more {
        return response;
    }
    let next = format!("http://{}{}", front.host(GITLAB), at_page(asked, at + 1));
    response.header("link", format!("<{next}>; rel=\"next\""))
}

fn named(front: &Front<Rules>, name: &str, tag: &str) -> Value {
    let location = format!("{}/{name}:{tag}", front.host(REGISTRY));
    json!({ "name": tag, "path": format!("{name}:{tag}"), "location": location })
}

fn detail(
    front: &Front<Rules>,
    name: &str,
    tag: &str,
    there: &Tag,
    repository: &Repository,
) -> Response {
    let version = repository.versions.get(&there.digest);
    let document = version.map(|version| version.document()).unwrap_or_default();
    let config = document["config"]["digest"].as_str().unwrap_or_default();
    let mut detail = named(front, name, tag);
    detail["digest"] = there.digest.clone().into();
    detail["revision"] = config.trim_start_matches("sha256:").into();
    detail["created_at"] = there.created.to_string().into();
    detail["total_size"] = version.map(|version| version.blob_bytes()).into();
    Response::json(200, &detail)
}

fn is_protected(front: &Front<Rules>, name: &str, tag: &str) -> bool {
    front.knobs().protected_tags.contains(&format!("{name}:{tag}"))
}

/// Deletes every tag whose whole name the expression matches, but for `latest`.
async fn bulk_delete(
    front: &Front<Rules>,
    asked: &Asked,
    name: &str,
    repository: &Repository,
) -> Response {
    let form = asked.form();
    let expression = asked.parameter("name_regex_delete");
    let expression = expression.or_else(|| form.get("name_regex_delete").cloned());
    let Some(expression) = expression else {
        return Response::json(400, &json!({ "error": "name_regex_delete is missing" }));
    };
    let Ok(expression) = Regex::new(&format!("^(?:{expression})$")) else {
        return Response::json(400, &json!({ "error": "name_regex_delete is an invalid regexp" }));
    };
    {
        let mut knobs = front.knobs.lock().unwrap();
        let last = knobs.bulk_deletions.get(&repository.id);
        if last.is_some_and(|last| last.elapsed() < BULK_EVERY) {
            let text = "This request has already been made. You can run this at most once an hour \
                        for a given container repository";
            return message(400, text);
        }
        knobs.bulk_deletions.insert(repository.id, Instant::now());
    }
    for tag in repository.tags.keys() {
        if expression.is_match(tag) && tag != "latest" && !is_protected(front, name, tag) {
            front.untag(name, tag).await;
        }
    }
    Response::json(202, &json!({}))
}
