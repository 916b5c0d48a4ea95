//! Quay: registry, tokens and API on one port.
//!
//! ```text
//! let quay = Quay::start();
//! quay.organization("acme").people(|people| {
//!     people.credential(Credential::new("acme+robot", "secret"));
//!     people.credential(Credential::new("alice", "oauth").scopes(&["repo:read"]).any_user());
//!     people.member("acme+robot", "acme", Right::Write).member("alice", "acme", Right::Admin);
//! });
//! quay.load(&image, "acme/app", "v1");
//! // tags: GET /api/v1/repository/acme/app/tag/?onlyActiveTags=true with `Bearer oauth`
//! ```

mod api;
mod registry;
mod uploads;

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;

use super::asked::Asked;
use super::backend::Backend;
use super::forward::{limit_of_a_proxy, no_such_page};
use super::front::{Area, Broken, Front};
use super::people::Credential;
use super::{Emulator, Product};
use crate::support::scripted::Scripted;
use crate::support::wire::Response;

pub type Quay = Emulator<Rules>;

pub struct Rules;

#[derive(Clone)]
pub struct Knobs {
    organizations: BTreeSet<String>,
    /// Whether a push makes an organisation that is missing.
    pub creates_organizations: bool,
    /// Whether repositories may have more than two levels.
    pub nested: bool,
    /// Whether `_catalog` shows public repositories to those who are no members.
    pub public_catalog: bool,
    /// The real one, which no answer tells.
    pub token_lifetime: Duration,
    /// OAuth scopes of which the API wants one.
    pub api_reads: Vec<&'static str>,
    /// Types of configs and layers that are taken. `None`: all.
    pub media_types: Option<BTreeSet<String>>,
    /// `repository:tag`s that are neither moved nor deleted.
    pub immutable_tags: BTreeSet<String>,
    pub read_only: bool,
    /// Organisations whose storage is used up.
    pub over_quota: BTreeSet<String>,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            organizations: BTreeSet::new(),
            creates_organizations: false,
            nested: true,
            public_catalog: false,
            token_lifetime: Duration::from_secs(3600),
            api_reads: vec!["repo:read", "repo:write", "repo:admin"],
            media_types: None,
            immutable_tags: BTreeSet::new(),
            read_only: false,
            over_quota: BTreeSet::new(),
        }
    }
}

impl Quay {
    pub fn start() -> Self {
        let registry = Scripted::start();
        registry.quirks(|quirks| quirks.oci_subject = false);
        Self::launch(1, Backend::Scripted(registry))
    }

    /// Makes an organisation. Only in organisations can images be pushed.
    pub fn organization(&self, name: &str) -> &Self {
        self.knobs(|knobs| knobs.organizations.extend([name.to_owned()]))
    }

    /// Fixes a `repository:tag` where it points.
    pub fn immutable(&self, tag: &str) -> &Self {
        self.knobs(|knobs| knobs.immutable_tags.extend([tag.to_owned()]))
    }
}

#[async_trait]
impl Product for Rules {
    type Knobs = Knobs;

    fn area(asked: &Asked) -> Area {
        match asked.path() {
            "/v2/auth" => Area::Token,
            path if path.starts_with("/api/") => Area::Api,
            _ => Area::Registry,
        }
    }

    async fn answer(front: &Front<Self>, asked: &Asked) -> Result<Response, Broken> {
        match Self::area(asked) {
            Area::Token => Ok(registry::token(front, asked)),
            Area::Api => Ok(api::answer(front, asked)),
            _ if asked.path().starts_with("/v2") => registry::answer(front, asked).await,
            _ => Ok(no_such_page()),
        }
    }

    fn exhausted(_: &Front<Self>, _: &Asked) -> Response {
        limit_of_a_proxy()
    }
}

/// Whose user name and password these are: a robot's, a person's, or an OAuth token.
fn login(front: &Front<Rules>, user: &str, secret: &str) -> Option<Credential> {
    let people = front.people.lock().unwrap();
    if user == "$oauthtoken" { people.token(secret) } else { people.login(user, secret) }
}
