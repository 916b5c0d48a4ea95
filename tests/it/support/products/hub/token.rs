//! `auth.docker.io`, for the registry, and the login of the API.

use jiff::Timestamp;
use serde_json::json;

use super::{AUTH, Rules};
use crate::support::products::asked::Asked;
use crate::support::products::front::Front;
use crate::support::products::people::{Credential, Right};
use crate::support::products::tokens::Scope;
use crate::support::wire::Response;

pub const SERVICE: &str = "registry.docker.io";

pub fn realm() -> String {
    format!("http://{AUTH}/token")
}

pub fn answer(front: &Front<Rules>, asked: &Asked) -> Response {
    if asked.path() != "/token" {
        return Response::new(404);
    }
    let credential = match asked.method() {
        "GET" => match asked.basic() {
            Ok(None) => None,
            Ok(Some((user, secret))) => match login(front, &user, &secret) {
                Some(credential) => Some(credential),
                None => return wrong(),
            },
            Err(()) => return wrong(),
        },
        "POST" => match by_form(front, asked) {
            Some(credential) => Some(credential),
            None => return wrong(),
        },
        _ => return Response::new(405),
    };
    let access = Scope::asked(asked).into_iter().map(|scope| {
        let name = scope.name.clone();
        let repository = scope.kind == "repository";
        scope.granted(|action| repository && may(front, credential.as_ref(), &name, action))
    });
    let access = access.collect();
    let lifetime = front.knobs().token_lifetime;
    let holder = credential.as_ref().map(|credential| credential.holder.as_str());
    let token = front.tokens.lock().unwrap().issue(holder, access, lifetime);
    let mut answer = json!({
        "token": token,
        "access_token": token,
        "expires_in": lifetime.as_secs(),
        "issued_at": Timestamp::now().to_string(),
    });
    let offline = asked.parameter("offline_token").as_deref() == Some("true")
        || asked.form().get("access_type").is_some_and(|kind| kind == "offline");
    if let (true, Some(credential)) = (offline, credential) {
        let login = (credential.holder.clone(), credential.secret);
        let known = &mut front.knobs.lock().unwrap().refresh;
        let word = format!("refresh-{}", known.len());
        known.insert(word.clone(), login);
        answer["refresh_token"] = word.into();
    }
    Response::json(200, &answer)
}

fn wrong() -> Response {
    Response::json(401, &json!({ "details": "incorrect username or password" }))
}

fn login(front: &Front<Rules>, user: &str, secret: &str) -> Option<Credential> {
    front.people.lock().unwrap().login(user, secret)
}

/// The login of OAuth2: by password, or by a refresh token.
fn by_form(front: &Front<Rules>, asked: &Asked) -> Option<Credential> {
    let form = asked.form();
    match form.get("grant_type")?.as_str() {
        "password" => login(front, form.get("username")?, form.get("password")?),
        "refresh_token" => {
            let known = front.knobs().refresh;
            let (holder, secret) = known.get(form.get("refresh_token")?)?;
            login(front, holder, secret)
        }
        _ => None,
    }
}

/// Whether a right on the repository, and what a token is for, allow an action.
pub fn may(front: &Front<Rules>, who: Option<&Credential>, name: &str, action: &str) -> bool {
    let knobs = front.knobs();
    if !name.contains('/') || knobs.two_levels && name.matches('/').count() > 1 {
        return false;
    }
    let holder = who.map(|who| who.holder.as_str());
    let right = front.people.lock().unwrap().right(holder, name);
    let has = |scopes: &[&str]| who.is_none_or(|who| who.has(scopes));
    let there = || {
        let known = front.inventory.lock().unwrap().live().contains_key(name);
        known || knobs.made.contains(name) || knobs.creates_on_push
    };
    match action {
        "pull" => right >= Some(Right::Read) && has(&["repo:read", "repo:write", "repo:admin"]),
        "push" => right >= Some(Right::Write) && has(&["repo:write", "repo:admin"]) && there(),
        "delete" => right >= Some(Right::Admin) && has(&["repo:admin"]),
        _ => false,
    }
}

/// `POST hub.docker.com/v2/auth/token`: a token for the API.
pub fn of_api(front: &Front<Rules>, asked: &Asked) -> Response {
    if asked.method() != "POST" {
        return Response::json(405, &json!({ "detail": "method not allowed" }));
    }
    let body = asked.json();
    let field = |name: &str| body[name].as_str().unwrap_or_default();
    let Some(credential) = login(front, field("identifier"), field("secret")) else {
        return Response::json(401, &json!({ "detail": "Incorrect authentication credentials" }));
    };
    // The scope of such a token is what the credential is for: it stands for that.
    let access =
        vec![Scope { kind: "credential".to_owned(), name: credential.secret, actions: Vec::new() }];
    let lifetime = front.knobs().token_lifetime;
    let token = front.tokens.lock().unwrap().issue(Some(&credential.holder), access, lifetime);
    Response::json(200, &json!({ "access_token": token }))
}
