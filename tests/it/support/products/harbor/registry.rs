//! Harbor's tokens, and what its registry takes and refuses.

use jiff::Timestamp;
use serde_json::json;

use super::{Rules, immutable, login, refuse};
use crate::support::products::asked::Asked;
use crate::support::products::forward::{no_such_page, unsupported};
use crate::support::products::front::{Broken, Front};
use crate::support::products::pages;
use crate::support::products::people::{Credential, Right};
use crate::support::products::tokens::{Scope, Shown, challenge};
use crate::support::scripted::{Route, error, wanted};
use crate::support::wire::Response;

/// Bytes of a manifest.
const MANIFEST: usize = 4 << 20;

pub fn token(front: &Front<Rules>, asked: &Asked) -> Response {
    if asked.method() != "GET" {
        return unsupported();
    }
    let Ok(credential) = login(front, asked) else {
        return refuse(401, "UNAUTHORIZED", "unauthorized");
    };
    let access = Scope::asked(asked).into_iter().map(|scope| {
        let name = scope.name.clone();
        // The catalog is for Basic logins only.
        let repository = scope.kind == "repository";
        scope.granted(|action| repository && may(front, credential.as_ref(), &name, action))
    });
    let access = access.collect();
    let holder = credential.as_ref().map(|credential| credential.holder.as_str());
    let lifetime = front.knobs().token_lifetime;
    let token = front.tokens.lock().unwrap().issue(holder, access, lifetime);
    let answer = json!({
        "token": token,
        "access_token": token,
        "expires_in": lifetime.as_secs(),
        "issued_at": Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    });
    Response::json(200, &answer)
}

/// Whether a right on the project, and what a robot is for, allow an action.
pub fn may(
    front: &Front<Rules>,
    credential: Option<&Credential>,
    repository: &str,
    action: &str,
) -> bool {
    let holder = credential.map(|credential| credential.holder.as_str());
    let right = front.people.lock().unwrap().right(holder, repository);
    let needed = match action {
        "pull" => Right::Read,
        "push" => Right::Write,
        "delete" | "*" => Right::Admin,
        _ => return false,
    };
    right >= Some(needed) && credential.is_none_or(|credential| credential.has(&[action]))
}

pub async fn answer(front: &Front<Rules>, asked: &Asked) -> Result<Response, Broken> {
    let route = asked.route();
    let from = asked.parameter("from");
    let needs = wanted(&asked.head, &route, from.as_deref());
    if let Some(refusal) = refused(front, asked, &route, &needs) {
        return Ok(refusal.header("docker-distribution-api-version", "registry/2.0"));
    }
    if let Some(refusal) = refused_write(front, asked, &route) {
        return Ok(refusal);
    }
    let response = match (asked.method(), &route) {
        ("GET", Route::Catalog) => catalog(front, asked),
        ("GET", Route::Tags(name)) => tags(front, asked, name),
        ("GET" | "HEAD", Route::Manifest(name, reference)) => {
            let response = front.forward(asked).await?;
            told(front, asked, response, &format!("artifact {name}:{reference} not found"))
        }
        (_, Route::Unknown) => no_such_page(),
        _ => front.forward(asked).await?,
    };
    Ok(response.header("docker-distribution-api-version", "registry/2.0"))
}

fn refused(
    front: &Front<Rules>,
    asked: &Asked,
    route: &Route,
    needs: &[(&str, &str, &str)],
) -> Option<Response> {
    let basic = login(front, asked).ok().flatten();
    let allowed = match (&basic, route) {
        (Some(credential), Route::Catalog) => {
            front.people.lock().unwrap().is_admin(&credential.holder)
        }
        (Some(credential), _) => {
            needs.iter().all(|(_, name, action)| may(front, Some(credential), name, action))
        }
        (None, Route::Catalog) => false,
        (None, _) => front.tokens.lock().unwrap().lacking(asked, needs).is_none(),
    };
    let without = asked.head.header("authorization").is_none();
    if let (Some(project), false) = (unknown_project(front, route), without) {
        let refusal = refuse(401, "UNAUTHORIZED", &format!("project {project} not found"));
        return Some(refusal.header("www-authenticate", ""));
    }
    if allowed {
        return None;
    }
    let challenge = match (without, route) {
        (true, Route::Catalog) | (false, _) => "Basic realm=\"harbor\"".to_owned(),
        (true, _) => {
            let realm = format!("http://{}/service/token", front.host(0));
            challenge(&realm, "harbor-registry", needs, &Shown::Nothing)
        }
    };
    let refusal = refuse(401, "UNAUTHORIZED", "unauthorized to access repository");
    Some(refusal.header("www-authenticate", challenge))
}

/// The project of a route, if there is none of that name.
fn unknown_project(front: &Front<Rules>, route: &Route) -> Option<String> {
    let project = route.repository()?.split('/').next()?;
    (!front.knobs().projects.contains_key(project)).then(|| project.to_owned())
}

/// The refusal of a push or deletion by the kind of project, the size, or a rule.
fn refused_write(front: &Front<Rules>, asked: &Asked, route: &Route) -> Option<Response> {
    if asked.reads() {
        return None;
    }
    let knobs = front.knobs();
    let name = route.repository()?;
    let project = name.split('/').next()?;
    if knobs.proxy_projects.contains(project) && asked.method() != "DELETE" {
        let message = format!("can not push artifact to a proxy project: {project}");
        return Some(refuse(403, "DENIED", &message));
    }
    let Route::Manifest(_, reference) = route else { return None };
    let inventory = front.inventory.lock().unwrap();
    let there = inventory.live().get(name);
    if asked.method() == "DELETE" {
        if !reference.contains(':') {
            return Some(error(400, "UNSUPPORTED", "The operation is unsupported."));
        }
        let tags = there.map(|there| there.tags_of(reference)).unwrap_or_default();
        return knobs.immutable(name, &tags).map(|tag| immutable(tag));
    }
    if asked.body.len() > MANIFEST {
        return Some(refuse(413, "REQUEST_ENTITY_TOO_LARGE", "http: request body too large"));
    }
    let digest = tranship::oci::Digest::of(&asked.body).to_string();
    let moved = there.and_then(|there| there.tags.get(reference)).map(|tag| tag.digest != digest);
    let tag = [reference.clone()];
    let fixed = knobs.immutable(name, &tag).filter(|_| moved == Some(true))?;
    let message = format!("Failed to process request due to '{fixed}' configured as immutable.");
    Some(refuse(412, "PRECONDITION", &message))
}

/// An answer about a manifest, with what is odd about it here.
fn told(front: &Front<Rules>, asked: &Asked, mut response: Response, missing: &str) -> Response {
    let knobs = front.knobs();
    if response.status == 404 {
        let code = knobs.not_found_code.as_deref().unwrap_or("NOT_FOUND");
        return refuse(404, code, missing);
    }
    if asked.method() == "HEAD" && knobs.head_length_off > 0 {
        let length = response.promised.unwrap_or_default();
        response.promised = Some(length + knobs.head_length_off);
    }
    response
}

/// Every repository, or pages of them. A `last` that is none of them is refused.
fn catalog(front: &Front<Rules>, asked: &Asked) -> Response {
    let inventory = front.inventory.lock().unwrap();
    let names: Vec<String> = inventory.live().keys().cloned().collect();
    let start = match asked.parameter("last") {
        Some(last) => match names.iter().position(|name| *name == last) {
            Some(at) => at + 1,
            None => return refuse(400, "BAD_REQUEST", "the last entry does not exist"),
        },
        None => 0,
    };
    let limit = asked.number("n").unwrap_or(usize::MAX);
    pages::catalog(&pages::page(names, start, limit, 0), limit)
}

fn tags(front: &Front<Rules>, asked: &Asked, name: &str) -> Response {
    let inventory = front.inventory.lock().unwrap();
    match inventory.live().get(name) {
        Some(there) => pages::tags(there, name, asked, asked.number("n").unwrap_or(usize::MAX)),
        None => {
            let code = front.knobs().not_found_code;
            let code = code.as_deref().unwrap_or("NOT_FOUND");
            refuse(404, code, &format!("repository {name} not found"))
        }
    }
}
