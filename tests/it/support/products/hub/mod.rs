//! Docker Hub: `registry-1.docker.io`, `auth.docker.io`, `hub.docker.com` and the hosts of its
//! blobs, all of them behind one port that clients use as `HTTP_PROXY`.
//!
//! ```text
//! let hub = Hub::start();
//! hub.people(|people| {
//!     people.credential(Credential::new("alice", "dckr_pat_1").scopes(&["repo:read"]));
//!     people.member("alice", "acme", Right::Admin).public("library");
//! });
//! hub.load(&image, "library/alpine", "3.20").knobs(|knobs| knobs.pulls_left = Some(3));
//! tranship.command().env("HTTP_PROXY", hub.url(0));
//! assert_eq!(hub.pulls_left(), Some(3));
//! ```

mod api;
mod registry;
mod token;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::json;

use super::asked::Asked;
use super::backend::Backend;
use super::front::{Area, Broken, Front};
use super::{Emulator, Product};
use crate::support::scripted::Scripted;
use crate::support::wire::Response;

pub const REGISTRY: &str = "registry-1.docker.io";
pub const AUTH: &str = "auth.docker.io";
pub const API: &str = "hub.docker.com";
pub const STORAGE: &str = "production.cloudflare.docker.com";

pub type Hub = Emulator<Rules>;

pub struct Rules;

/// What there is of the referrers API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Referrers {
    Api,
    /// As in 2024: a push is answered with `OCI-Subject`, and there is no API.
    SubjectOnly,
    Nothing,
}

#[derive(Clone)]
pub struct Knobs {
    pub token_lifetime: Duration,
    /// Whether a push makes a repository that is missing.
    pub creates_on_push: bool,
    /// Whether names have two levels at most.
    pub two_levels: bool,
    pub referrers: Referrers,
    /// Whether tags of the API have the digest of what they point at.
    pub tag_digests: bool,
    /// The answer to the deletion of a tag by the API.
    pub deleted_status: u16,
    /// Pulls that are left of the limit. `None`: unlimited, and no headers.
    pub pulls_left: Option<u32>,
    pub pull_limit: u32,
    /// Seconds of the limit's window.
    pub pull_window: u32,
    /// When manifests were last pulled, by digest.
    pub pulled: BTreeMap<String, Timestamp>,
    pub blobs_at_storage: bool,
    /// Repositories that were made without a push.
    made: BTreeSet<String>,
    /// The user and secret that each refresh token stands for.
    refresh: BTreeMap<String, (String, String)>,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            token_lifetime: Duration::from_secs(300),
            creates_on_push: true,
            two_levels: true,
            referrers: Referrers::SubjectOnly,
            tag_digests: true,
            deleted_status: 204,
            pulls_left: None,
            pull_limit: 100,
            pull_window: 21_600,
            pulled: BTreeMap::new(),
            blobs_at_storage: true,
            made: BTreeSet::new(),
            refresh: BTreeMap::new(),
        }
    }
}

impl Hub {
    pub fn start() -> Self {
        Self::launch(1, Backend::Scripted(Scripted::start()))
    }

    /// How many pulls are left of the limit.
    pub fn pulls_left(&self) -> Option<u32> {
        self.front.knobs().pulls_left
    }
}

#[async_trait]
impl Product for Rules {
    type Knobs = Knobs;

    fn area(asked: &Asked) -> Area {
        match (asked.host(), asked.path()) {
            (AUTH, _) | (API, "/v2/auth/token") => Area::Token,
            (API, _) => Area::Api,
            (STORAGE, _) => Area::Storage,
            _ => Area::Registry,
        }
    }

    async fn answer(front: &Front<Self>, asked: &Asked) -> Result<Response, Broken> {
        match (asked.host(), Self::area(asked)) {
            (AUTH, _) => Ok(token::answer(front, asked)),
            (API, Area::Token) => Ok(token::of_api(front, asked)),
            (API, _) => Ok(api::answer(front, asked).await),
            (STORAGE, _) => front.storage(asked).await,
            (REGISTRY, _) => registry::answer(front, asked).await,
            (host, _) => Ok(Response::new(502).body(format!("no host {host} here"))),
        }
    }

    /// The limit against abuse, which says nothing; that of the API tells its numbers.
    fn exhausted(_: &Front<Self>, asked: &Asked) -> Response {
        if Self::area(asked) != Area::Api {
            return Response::new(429)
                .header("content-type", "text/plain")
                .body("Too Many Requests\n");
        }
        let reset = Timestamp::now().as_second() + 30;
        Response::json(429, &json!({ "detail": "Rate limit exceeded", "error": false }))
            .header("retry-after", "30")
            .header("x-ratelimit-limit", "180")
            .header("x-ratelimit-remaining", "0")
            .header("x-ratelimit-reset", reset.to_string())
    }
}
