//! GitHub's container registry: `ghcr.io`, `api.github.com`, and the host of its blobs, all of them
//! behind one port that clients use as `HTTP_PROXY`.
//!
//! ```text
//! let ghcr = Ghcr::start();
//! ghcr.people(|people| {
//!     people.credential(Credential::new("alice", "ghp_1").scopes(&["read:packages"]).any_user());
//!     people.member("alice", "acme", Right::Admin);
//! });
//! ghcr.load(&image, "acme/app", "v1").load_many("acme/big", 1_000, 9);
//! tranship.command().env("HTTP_PROXY", ghcr.url(0));
//! assert_eq!(ghcr.traffic(Area::Api).len(), 100);
//! ```

mod api;
mod registry;
mod versions;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;

use super::asked::Asked;
use super::backend::Backend;
use super::front::{Area, Broken, Front};
use super::{Emulator, Product};
use crate::support::scripted::{Scripted, error};
use crate::support::wire::Response;

pub const REGISTRY: &str = "ghcr.io";
pub const API: &str = "api.github.com";
pub const STORAGE: &str = "pkg-containers.githubusercontent.com";

pub type Ghcr = Emulator<Rules>;

pub struct Rules;

#[derive(Clone)]
pub struct Knobs {
    /// Owners that are people. All others are organisations.
    pub users: BTreeSet<String>,
    /// How long tokens last, and whether their answer says so.
    pub token_lifetime: Duration,
    pub states_lifetime: bool,
    /// Whether fine-grained tokens (`github_pat_…`) are taken.
    pub fine_grained_tokens: bool,
    /// Whether the base64 of a token is taken as a Bearer itself.
    pub token_as_bearer: bool,
    /// The answer to `_catalog`.
    pub catalog_status: u16,
    /// The answer to the deletion of a version.
    pub deleted_status: u16,
    /// Downloads of versions, by digest.
    pub downloads: BTreeMap<String, u64>,
    /// Entries of a page of tags at most, whatever `n` says. `None`: as many as are asked for.
    pub tags_cap: Option<usize>,
    pub blobs_at_storage: bool,
    /// Whether the API's limit shows as its secondary one.
    pub secondary_limit: bool,
    /// What was deleted: package, version, and its tags then.
    deleted: Vec<versions::Deleted>,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            users: BTreeSet::new(),
            token_lifetime: Duration::from_secs(300),
            states_lifetime: false,
            fine_grained_tokens: false,
            token_as_bearer: false,
            catalog_status: 404,
            deleted_status: 204,
            downloads: BTreeMap::new(),
            tags_cap: None,
            blobs_at_storage: false,
            secondary_limit: false,
            deleted: Vec::new(),
        }
    }
}

impl Ghcr {
    pub fn start() -> Self {
        Self::launch(1, Backend::without_referrers())
    }
}

#[async_trait]
impl Product for Rules {
    type Knobs = Knobs;

    fn area(asked: &Asked) -> Area {
        match (asked.host(), asked.path()) {
            (REGISTRY, "/token") => Area::Token,
            (API, _) => Area::Api,
            (STORAGE, _) => Area::Storage,
            _ => Area::Registry,
        }
    }

    async fn answer(front: &Front<Self>, asked: &Asked) -> Result<Response, Broken> {
        match (Self::area(asked), asked.host()) {
            (Area::Token, _) => Ok(registry::token(front, asked)),
            (Area::Api, _) => Ok(api::answer(front, asked).await),
            (Area::Storage, _) => front.storage(asked).await,
            (Area::Registry, REGISTRY) => registry::answer(front, asked).await,
            (Area::Registry, host) => Ok(Response::new(502).body(format!("no host {host} here"))),
        }
    }

    fn exhausted(front: &Front<Self>, asked: &Asked) -> Response {
        if Self::area(asked) != Area::Api {
            let allowed = if asked.reads() { 44_000 } else { 2_000 };
            let message = format!("retry-after: 880.092µs, allowed: {allowed}/minute");
            return error(429, "TOOMANYREQUESTS", &message);
        }
        if front.knobs().secondary_limit {
            let message = "You have exceeded a secondary rate limit. Please wait a few minutes \
                           before you try again.";
            return Response::json(403, &json!({ "message": message })).header("retry-after", "60");
        }
        let reset = jiff::Timestamp::now().as_second() + 1800;
        let message = "API rate limit exceeded for user ID 1.";
        Response::json(403, &json!({ "message": message }))
            .header("x-ratelimit-limit", "5000")
            .header("x-ratelimit-remaining", "0")
            .header("x-ratelimit-reset", reset.to_string())
            .header("x-ratelimit-resource", "core")
    }
}

/// The owner of a repository and the name of its package.
fn package_of(repository: &str) -> (&str, &str) {
    repository.split_once('/').unwrap_or((repository, ""))
}
