//! Gitea's registry, and what is odd about it: one port. It has no list of digests.
//!
//! ```text
//! let gitea = Gitea::start();
//! gitea.owner("acme").people(|people| {
//!     people.credential(Credential::new("alice", "token").scopes(&["write:package"]));
//!     people.member("alice", "acme", Right::Write);
//! });
//! gitea.load(&image, "acme/app", "v1");
//! ```

mod registry;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;

use super::asked::Asked;
use super::backend::Backend;
use super::forward::no_such_page;
use super::front::{Area, Broken, Front};
use super::{Emulator, Product};
use crate::support::scripted::Scripted;
use crate::support::wire::Response;

/// The port of the registry.
pub const REGISTRY: usize = 0;
/// The port of the storage that blobs may be redirected to.
pub const STORAGE: usize = 1;

pub type Gitea = Emulator<Rules>;

pub struct Rules;

#[derive(Clone)]
pub struct Knobs {
    owners: BTreeSet<String>,
    pub token_lifetime: Duration,
    pub blobs_at_storage: bool,
    /// Bytes that each upload has, by its path.
    uploads: BTreeMap<String, usize>,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            owners: BTreeSet::new(),
            token_lifetime: Duration::from_secs(24 * 3600),
            blobs_at_storage: false,
            uploads: BTreeMap::new(),
        }
    }
}

impl Gitea {
    pub fn start() -> Self {
        Self::launch(2, Backend::without_referrers())
    }

    /// Makes a user or an organisation, who can own images.
    pub fn owner(&self, name: &str) -> &Self {
        self.knobs(|knobs| knobs.owners.extend([name.to_owned()]))
    }
}

#[async_trait]
impl Product for Rules {
    type Knobs = Knobs;

    fn area(asked: &Asked) -> Area {
        match (asked.door, asked.path()) {
            (STORAGE, _) => Area::Storage,
            (_, "/v2/token") => Area::Token,
            _ => Area::Registry,
        }
    }

    async fn answer(front: &Front<Self>, asked: &Asked) -> Result<Response, Broken> {
        match Self::area(asked) {
            Area::Storage => front.storage(asked).await,
            Area::Token => Ok(registry::token(front, asked)),
            _ if asked.path().starts_with("/v2") => registry::answer(front, asked).await,
            _ => Ok(no_such_page()),
        }
    }

    /// Gitea itself knows no such limit: a proxy before it answers.
    fn exhausted(_: &Front<Self>, _: &Asked) -> Response {
        Response::new(429).header("content-type", "text/plain").body("Too Many Requests\n")
    }
}
