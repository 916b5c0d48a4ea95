//! Azure Container Registry: `<name>.azurecr.io` and the storage of its blobs, behind one port that
//! clients use as `HTTP_PROXY`.
//!
//! ```text
//! let acr = Acr::start();
//! acr.people(|people| {
//!     people.credential(Credential::new("acme", "admin-password"));
//!     people.credential(Credential::new("app", "entra-token").any_user());
//!     people.member("acme", "app", Right::Admin).member("app", "app", Right::Read);
//! });
//! acr.load(&image, "app", "v1");
//! // tags: GET http://acme.azurecr.io/acr/v1/app/_tags through acr.url(0)
//! ```

mod metadata;
mod registry;
mod token;

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;

use super::asked::Asked;
use super::backend::Backend;
use super::forward::no_such_page;
use super::front::{Area, Broken, Front};
use super::{Emulator, Product};
use crate::support::scripted::{Scripted, error};
use crate::support::wire::Response;

/// The registry that the tests talk to. Every name under this domain is the same registry.
pub const REGISTRY: &str = "acme.azurecr.io";
const DOMAIN: &str = ".azurecr.io";
pub const STORAGE: &str = "acme.blob.core.windows.net";

pub type Acr = Emulator<Rules>;

pub struct Rules;

#[derive(Clone)]
pub struct Knobs {
    pub token_lifetime: Duration,
    pub refresh_lifetime: Duration,
    /// Whether public repositories can be read without a login.
    pub anonymous_pull: bool,
    /// The right that reads of `/acr/v1/<name>` need.
    pub metadata_right: &'static str,
    /// Entries of a page of metadata at most.
    pub page_cap: usize,
    /// The answer to deletions: 200 or 202.
    pub deleted_status: u16,
    /// Whether the registry deletes by tag.
    pub deletes_tags: bool,
    /// `repository:tag`s and `repository@digest`s that are locked against writes and deletion.
    pub locked: BTreeSet<String>,
    pub blobs_at_storage: bool,
    /// `Retry-After` of 429, if any.
    pub retry_after: Option<String>,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            token_lifetime: Duration::from_secs(75 * 60),
            refresh_lifetime: Duration::from_secs(3 * 3600),
            anonymous_pull: false,
            metadata_right: "metadata_read",
            page_cap: 100,
            deleted_status: 202,
            deletes_tags: false,
            locked: BTreeSet::new(),
            blobs_at_storage: true,
            retry_after: None,
        }
    }
}

impl Acr {
    pub fn start() -> Self {
        Self::launch(1, Backend::Scripted(Scripted::start()))
    }

    /// Locks a `repository:tag` or a `repository@digest`.
    pub fn lock(&self, what: &str) -> &Self {
        self.knobs(|knobs| knobs.locked.extend([what.to_owned()]))
    }
}

#[async_trait]
impl Product for Rules {
    type Knobs = Knobs;

    fn area(asked: &Asked) -> Area {
        match (asked.host(), asked.path()) {
            (STORAGE, _) => Area::Storage,
            (_, path) if path.starts_with("/oauth2/") => Area::Token,
            (_, path) if path.starts_with("/acr/") => Area::Api,
            _ => Area::Registry,
        }
    }

    async fn answer(front: &Front<Self>, asked: &Asked) -> Result<Response, Broken> {
        match Self::area(asked) {
            Area::Storage => front.storage(asked).await,
            _ if !asked.host().ends_with(DOMAIN) => {
                Ok(Response::new(502).body(format!("no host {} here", asked.host())))
            }
            Area::Token => Ok(token::answer(front, asked)),
            Area::Api => Ok(metadata::answer(front, asked).await),
            _ if asked.path().starts_with("/v2") => registry::answer(front, asked).await,
            Area::Registry => Ok(no_such_page()),
        }
    }

    fn exhausted(front: &Front<Self>, _: &Asked) -> Response {
        let response = error(429, "TOOMANYREQUESTS", "too many requests");
        match front.knobs().retry_after {
            Some(value) => response.header("retry-after", value),
            None => response,
        }
    }
}

/// The refusal to change what is locked.
fn locked() -> Response {
    error(405, "UNSUPPORTED", "The operation is disallowed on this registry, repository or image.")
}
