//! `/jwt/auth`: who gets a token, and for what.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Knobs, Rules};
use crate::support::products::asked::Asked;
use crate::support::products::front::Front;
use crate::support::products::people::{Credential, People, Right};
use crate::support::products::tokens::Scope;
use crate::support::wire::Response;

pub const SERVICE: &str = "container_registry";

pub fn answer(front: &Front<Rules>, asked: &Asked) -> Response {
    let mut knobs = front.knobs.lock().unwrap();
    let now = Instant::now();
    if knobs.banned_until.is_some_and(|until| now < until) {
        return Response::new(403).header("content-type", "text/plain").body("Forbidden\n");
    }
    // Clients that try OAuth2 first go on with a GET.
    if asked.method() != "GET" {
        return Response::new(404);
    }
    let people = front.people.lock().unwrap();
    let credential = match asked.basic() {
        Ok(None) => None,
        Ok(Some((user, secret))) => match people.login(&user, &secret) {
            Some(credential) => Some((user, credential)),
            None => return wrong_login(&mut knobs, now),
        },
        Err(()) => return wrong_login(&mut knobs, now),
    };
    let scopes = Scope::asked(asked);
    let able = credential.as_ref().map(|(_, credential)| {
        credential.has(&["read_registry", "write_registry"])
            || knobs.api_opens_registry && credential.has(&["api"])
    });
    if !able.unwrap_or(!scopes.is_empty()) {
        return errors(403, "DENIED", "access forbidden");
    }
    let grant = |scope: Scope| granted(&knobs, &people, credential.as_ref(), scope);
    let access: Vec<Scope> =
        scopes.into_iter().map(grant).filter(|scope| !scope.actions.is_empty()).collect();
    let holder = credential.as_ref().map(|(_, credential)| credential.holder.as_str());
    let token = front.tokens.lock().unwrap().issue(holder, access, knobs.token_lifetime);
    Response::json(200, &json!({ "token": token }))
}

fn granted(
    knobs: &Knobs,
    people: &People,
    credential: Option<&(String, Credential)>,
    scope: Scope,
) -> Scope {
    let holder = credential.map(|(_, credential)| credential.holder.as_str());
    if scope.kind == "registry" {
        let admin = holder.is_some_and(|holder| people.is_admin(holder));
        return scope.granted(|action| admin && action == "*");
    }
    // A path with a star asks for the list of the repositories below it.
    let (repository, below) = match scope.name.strip_suffix("/*") {
        Some(path) => (path.to_owned(), true),
        None => (scope.name.clone(), false),
    };
    let Some(project) = knobs.project_of(&repository) else { return scope.granted(|_| false) };
    let right = people.right(holder, project);
    let of_job = credential.is_some_and(|(user, _)| user == "gitlab-ci-token");
    let has = |registry_scope: &str| {
        credential.is_none_or(|(_, credential)| {
            credential.has(&[registry_scope])
                || knobs.api_opens_registry && credential.has(&["api"])
        })
    };
    scope.granted(|action| match action {
        "pull" => right >= Some(Right::Read) && has("read_registry"),
        "push" | "delete" | "*" => {
            let pushes = !of_job || knobs.job_tokens_push;
            !below && right >= Some(Right::Write) && has("write_registry") && pushes
        }
        _ => false,
    })
}

/// Counts a failure towards the ban of the address.
fn wrong_login(knobs: &mut Knobs, now: Instant) -> Response {
    knobs.failures.retain(|at| now - *at < Duration::from_secs(60));
    knobs.failures.push(now);
    if knobs.failures.len() >= knobs.ban_after {
        knobs.banned_until = Some(now + knobs.ban);
    }
    errors(401, "UNAUTHORIZED", "HTTP Basic: Access denied")
        .header("www-authenticate", "Basic realm=\"GitLab\"")
}

fn errors(status: u16, code: &str, message: &str) -> Response {
    Response::json(status, &json!({ "errors": [{ "code": code, "message": message }] }))
}
