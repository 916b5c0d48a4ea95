//! `/oauth2/`: an Entra token becomes a refresh token, which becomes a token for one thing.

use serde_json::json;

use super::Rules;
use crate::support::products::asked::Asked;
use crate::support::products::front::Front;
use crate::support::products::people::Right;
use crate::support::products::tokens::{Scope, challenge};
use crate::support::scripted::error;
use crate::support::wire::Response;

/// The user name that goes with a refresh token as a password.
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

pub fn answer(front: &Front<Rules>, asked: &Asked) -> Response {
    match (asked.method(), asked.path()) {
        ("POST", "/oauth2/exchange") => exchange(front, asked),
        ("GET" | "POST", "/oauth2/token") => token(front, asked),
        _ => error(404, "NOT_FOUND", "the path is not known"),
    }
}

fn unauthorized() -> Response {
    error(401, "UNAUTHORIZED", "authentication required")
}

fn exchange(front: &Front<Rules>, asked: &Asked) -> Response {
    let form = asked.form();
    let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    if field("grant_type") != "access_token" || field("service") != asked.host() {
        return error(400, "BAD_REQUEST", "grant_type or service is wrong");
    }
    let credential = front.people.lock().unwrap().token(field("access_token"));
    // A password is no token of Entra's.
    let Some(credential) = credential.filter(|credential| credential.user.is_none()) else {
        return unauthorized();
    };
    let lifetime = front.knobs().refresh_lifetime;
    let refresh = Scope { kind: "refresh".to_owned(), name: String::new(), actions: Vec::new() };
    let mut tokens = front.tokens.lock().unwrap();
    let token = tokens.issue(Some(&credential.holder), vec![refresh], lifetime);
    Response::json(200, &json!({ "refresh_token": token }))
}

fn token(front: &Front<Rules>, asked: &Asked) -> Response {
    let holder = if asked.method() == "POST" {
        let form = asked.form();
        let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
        match field("grant_type") {
            "refresh_token" => match holder_of(front, field("refresh_token")) {
                Some(holder) => Some(holder),
                None => return unauthorized(),
            },
            _ => return error(400, "BAD_REQUEST", "the grant_type is not supported"),
        }
    } else {
        match asked.basic() {
            Ok(None) => None,
            Ok(Some((user, secret))) => {
                let people = front.people.lock().unwrap();
                let known = match user.as_str() {
                    NOBODY => holder_of(front, &secret),
                    _ => people.login(&user, &secret).map(|credential| credential.holder),
                };
                if known.is_none() {
                    return unauthorized();
                }
                known
            }
            Err(()) => return unauthorized(),
        }
    };
    if holder.is_none() && !front.knobs().anonymous_pull {
        return unauthorized();
    }
    let access = Scope::asked(asked).into_iter().map(|scope| {
        let (name, kind) = (scope.name.clone(), scope.kind.clone());
        scope.granted(|action| may(front, holder.as_deref(), &kind, &name, action))
    });
    let access = access.collect();
    let lifetime = front.knobs().token_lifetime;
    let token = front.tokens.lock().unwrap().issue(holder.as_deref(), access, lifetime);
    Response::json(200, &json!({ "access_token": token }))
}

/// Whose refresh token it is.
fn holder_of(front: &Front<Rules>, token: &str) -> Option<String> {
    let tokens = front.tokens.lock().unwrap();
    let issued = tokens.valid(token)?;
    issued.access.iter().any(|scope| scope.kind == "refresh").then(|| issued.holder.clone())?
}

fn may(front: &Front<Rules>, holder: Option<&str>, kind: &str, name: &str, action: &str) -> bool {
    if kind == "registry" {
        return holder.is_some() && name == "catalog" && action == "*";
    }
    let needed = match action {
        "pull" | "metadata_read" => Right::Read,
        "push" | "metadata_write" => Right::Write,
        "delete" | "*" => Right::Admin,
        _ => return false,
    };
    front.people.lock().unwrap().right(holder, name) >= Some(needed)
}

/// The challenge for a request without a token that is good for it.
pub fn refused(
    front: &Front<Rules>,
    asked: &Asked,
    needs: &[(&str, &str, &str)],
) -> Option<Response> {
    let shown = front.tokens.lock().unwrap().lacking(asked, needs)?;
    let host = asked.host();
    let challenge = challenge(&format!("http://{host}/oauth2/token"), host, needs, &shown);
    Some(unauthorized().header("www-authenticate", challenge))
}
