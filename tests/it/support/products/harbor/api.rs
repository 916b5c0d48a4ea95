//! `/api/v2.0/`: projects and repositories. Their artifacts are in a file of their own.

use serde_json::{Value, json};

use super::{Rules, Slashes, artifacts, login, refuse};
use crate::support::products::asked::Asked;
use crate::support::products::front::Front;
use crate::support::products::inventory::Repository;
use crate::support::products::pages::{at_page, numbered};
use crate::support::products::people::{Credential, Right};
use crate::support::wire::{Response, decode};

pub async fn answer(front: &Front<Rules>, asked: &Asked) -> Response {
    let Ok(credential) = login(front, asked) else {
        return refuse(401, "UNAUTHORIZED", "unauthorized");
    };
    let who = credential.as_ref();
    if let Some(refusal) = page_too_long(asked) {
        return refusal;
    }
    let parts = asked.parts();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    match (asked.method(), &parts[..]) {
        ("GET", ["api", "v2.0", "projects"]) => projects(front, asked, who),
        ("GET", ["api", "v2.0", "repositories"]) => repositories(front, asked, who, None),
        (method, ["api", "v2.0", "projects", project, "repositories", rest @ ..]) => {
            if let Some(refusal) = hidden(front, who, project) {
                return refusal;
            }
            match (method, rest) {
                ("GET", []) => repositories(front, asked, who, Some(project)),
                (_, [name, "artifacts", rest @ ..]) => match name_of(front.knobs().slashes, name) {
                    Some(name) => {
                        let repository = format!("{project}/{name}");
                        artifacts::answer(front, asked, who, &repository, rest).await
                    }
                    None => not_found(),
                },
                _ => not_found(),
            }
        }
        _ => not_found(),
    }
}

pub fn not_found() -> Response {
    refuse(404, "NOT_FOUND", "path not found")
}

/// The name that a part of the path means, which was decoded once.
fn name_of(slashes: Slashes, part: &str) -> Option<String> {
    match slashes {
        // A single slash divides the path before anybody looks at it.
        Slashes::Twice if part.contains('/') => None,
        Slashes::Once if part.contains('%') => None,
        _ => Some(decode(part)),
    }
}

fn page_too_long(asked: &Asked) -> Option<Response> {
    let message =
        "validation failure list:\npage_size in query should be less than or equal to 100";
    let too_long = asked.number("page_size").is_some_and(|size| size > 100);
    too_long.then(|| refuse(422, "UNPROCESSABLE_ENTITY", message))
}

/// The refusal to show a project: it is not there, or not for this reader.
fn hidden(front: &Front<Rules>, who: Option<&Credential>, project: &str) -> Option<Response> {
    let known = front.knobs().projects.contains_key(project);
    match (known, reads(front, who, project), who) {
        (true, true, _) => None,
        (_, _, None) => Some(refuse(401, "UNAUTHORIZED", "unauthorized")),
        (false, _, _) => Some(refuse(404, "NOT_FOUND", &format!("project {project} not found"))),
        (true, false, _) => Some(refuse(403, "FORBIDDEN", "forbidden")),
    }
}

fn reads(front: &Front<Rules>, who: Option<&Credential>, project: &str) -> bool {
    let holder = who.map(|who| who.holder.as_str());
    let right = front.people.lock().unwrap().right(holder, project);
    right >= Some(Right::Read) && who.is_none_or(|who| who.has(&["pull"]))
}

fn projects(front: &Front<Rules>, asked: &Asked, who: Option<&Credential>) -> Response {
    let shown = front.knobs().projects.into_iter().filter(|(name, _)| reads(front, who, name));
    let entries = shown.map(|(name, number)| {
        let public = front.people.lock().unwrap().is_public(&name);
        json!({
            "project_id": number,
            "name": name,
            "metadata": { "public": public.to_string() },
        })
    });
    paged(front, asked, entries.collect())
}

fn repositories(
    front: &Front<Rules>,
    asked: &Asked,
    who: Option<&Credential>,
    of: Option<&str>,
) -> Response {
    let projects = front.knobs().projects;
    let project = |name: &str| name.split('/').next().unwrap_or_default().to_owned();
    let inventory = front.inventory.lock().unwrap();
    let shown = inventory.shown().iter().filter(|(name, _)| {
        let project = project(name);
        of.is_none_or(|of| of == project) && reads(front, who, &project)
    });
    let entries = shown.map(|(name, there)| entry(name, there, projects.get(&project(name))));
    let entries = entries.collect();
    drop(inventory);
    paged(front, asked, entries)
}

fn entry(name: &str, there: &Repository, project: Option<&u64>) -> Value {
    json!({
        "id": there.id,
        "name": name,
        "project_id": project,
        "artifact_count": there.versions.len(),
        "creation_time": there.created.to_string(),
        "update_time": there.updated.to_string(),
    })
}

/// One page, with the count of all and a link.
pub fn paged(front: &Front<Rules>, asked: &Asked, entries: Vec<Value>) -> Response {
    let limit = asked.number("page_size").unwrap_or(10).max(1);
    let at = asked.number("page").unwrap_or(1).max(1);
    let page = numbered(entries, at, limit, front.shift());
    let response =
        Response::json(200, &json!(page.entries)).header("x-total-count", page.total.to_string());
    let mut links = Vec::new();
    if at > 1 {
        links.push(format!("<{}>; rel=\"prev\"", at_page(asked, at - 1)));
    }
    if page.more {
        links.push(format!("<{}>; rel=\"next\"", at_page(asked, at + 1)));
    }
    // Where there is no other page, there is no header.
    if links.is_empty() { response } else { response.header("link", links.join(" , ")) }
}
