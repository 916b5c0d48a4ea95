//! Harbor: registry, tokens and API on one port.
//!
//! ```text
//! let harbor = Harbor::start();
//! harbor.project("acme").people(|people| {
//!     people.credential(Credential::new("robot$acme+ci", "secret").scopes(&["pull"]));
//!     people.member("robot$acme+ci", "acme", Right::Admin);
//! });
//! harbor.load(&image, "acme/tools/app", "v1");
//! // artifacts: /api/v2.0/projects/acme/repositories/tools%252Fapp/artifacts
//! ```

mod api;
mod artifacts;
mod registry;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::json;

use super::asked::Asked;
use super::backend::Backend;
use super::forward::{limit_of_a_proxy, no_such_page};
use super::front::{Area, Broken, Front};
use super::people::Credential;
use super::{Emulator, Product};
use crate::support::scripted::Scripted;
use crate::support::wire::Response;

pub type Harbor = Emulator<Rules>;

pub struct Rules;

/// How often a slash in a repository's name must be encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slashes {
    Once,
    Twice,
    OnceOrTwice,
}

#[derive(Clone)]
pub struct Knobs {
    /// By name; with its number.
    projects: BTreeMap<String, u64>,
    /// Projects that are caches of other registries.
    pub proxy_projects: BTreeSet<String>,
    pub token_lifetime: Duration,
    pub slashes: Slashes,
    /// `repository:tag`s that an immutability rule covers.
    pub immutable_tags: BTreeSet<String>,
    /// When manifests were last pulled, by digest.
    pub pulled: BTreeMap<String, Timestamp>,
    /// By how much the length that HEAD tells of a manifest is off.
    pub head_length_off: u64,
    /// The code of the registry's 404, where it is not the usual one.
    pub not_found_code: Option<String>,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            projects: BTreeMap::new(),
            proxy_projects: BTreeSet::new(),
            token_lifetime: Duration::from_secs(30 * 60),
            slashes: Slashes::Twice,
            immutable_tags: BTreeSet::new(),
            pulled: BTreeMap::new(),
            head_length_off: 0,
            not_found_code: None,
        }
    }
}

impl Knobs {
    /// A tag among these that an immutability rule covers.
    fn immutable<'a>(&self, repository: &str, tags: &'a [String]) -> Option<&'a String> {
        tags.iter().find(|tag| self.immutable_tags.contains(&format!("{repository}:{tag}")))
    }
}

impl Harbor {
    pub fn start() -> Self {
        Self::launch(1, Backend::Scripted(Scripted::start()))
    }

    /// Makes a project. Only in projects can images be pushed.
    pub fn project(&self, name: &str) -> &Self {
        self.knobs(|knobs| {
            let number = knobs.projects.len() as u64 + 1;
            knobs.projects.insert(name.to_owned(), number);
        })
    }

    /// Covers a `repository:tag` by an immutability rule.
    pub fn immutable(&self, tag: &str) -> &Self {
        self.knobs(|knobs| knobs.immutable_tags.extend([tag.to_owned()]))
    }
}

#[async_trait]
impl Product for Rules {
    type Knobs = Knobs;

    fn area(asked: &Asked) -> Area {
        match asked.path() {
            "/service/token" => Area::Token,
            path if path.starts_with("/api/") => Area::Api,
            _ => Area::Registry,
        }
    }

    async fn answer(front: &Front<Self>, asked: &Asked) -> Result<Response, Broken> {
        match Self::area(asked) {
            Area::Token => Ok(registry::token(front, asked)),
            Area::Api => Ok(api::answer(front, asked).await),
            _ if asked.path().starts_with("/v2") => registry::answer(front, asked).await,
            _ => Ok(no_such_page()),
        }
    }

    /// Harbor itself knows no such limit: a proxy before it answers.
    fn exhausted(_: &Front<Self>, _: &Asked) -> Response {
        limit_of_a_proxy()
    }
}

/// An error in Harbor's words.
fn refuse(status: u16, code: &str, message: &str) -> Response {
    Response::json(status, &json!({ "errors": [{ "code": code, "message": message }] }))
}

fn immutable(tag: &str) -> Response {
    let message = format!("the tag {tag} configured as immutable, cannot be deleted");
    refuse(412, "PRECONDITION", &message)
}

/// Whose Basic login it is. `Err`: it is wrong.
fn login(front: &Front<Rules>, asked: &Asked) -> Result<Option<Credential>, ()> {
    match asked.basic()? {
        Some((user, secret)) => {
            front.people.lock().unwrap().login(&user, &secret).map(Some).ok_or(())
        }
        None => Ok(None),
    }
}
