//! GitLab's container registry: one port for the registry, one for GitLab itself, one for blobs.
//!
//! ```text
//! let gitlab = GitLab::start();
//! gitlab.project("acme/app").people(|people| {
//!     people.credential(Credential::new("alice", "glpat-1").scopes(&["read_registry"]).any_user());
//!     people.member("alice", "acme/app", Right::Write);
//! });
//! gitlab.load(&image, "acme/app/web", "v1");
//! // references: gitlab.host(REGISTRY), API: gitlab.host(GITLAB)
//! ```

mod bulk;
mod registry;
mod rest;
mod token;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::asked::Asked;
use super::backend::Backend;
use super::forward::no_such_page;
use super::front::{Area, Broken, Front};
use super::people::lies_under;
use super::{Emulator, Product};
use crate::support::docker_registry::DockerRegistry;
use crate::support::scripted::Scripted;
use crate::support::wire::Response;

/// The port of the registry.
pub const REGISTRY: usize = 0;
/// The port of GitLab: tokens and API.
pub const GITLAB: usize = 1;
/// The port of the storage that blobs may be redirected to.
pub const STORAGE: usize = 2;

/// Levels of a repository's name below its project.
const LEVELS: usize = 2;

pub type GitLab = Emulator<Rules>;

pub struct Rules;

#[derive(Clone)]
pub struct Knobs {
    /// By path; with its number.
    projects: BTreeMap<String, u64>,
    /// Whether the registry has a metadata database.
    pub database: bool,
    /// 5 minutes, and 15 at gitlab.com.
    pub token_lifetime: Duration,
    /// Logins that may fail within a minute, before the address is banned.
    pub ban_after: usize,
    pub ban: Duration,
    /// Whether job tokens may push.
    pub job_tokens_push: bool,
    /// Whether a token with the scope `api` opens the registry too.
    pub api_opens_registry: bool,
    /// Scopes of which the API wants one for reading, and for deleting.
    pub api_reads: Vec<&'static str>,
    pub api_writes: Vec<&'static str>,
    /// Types of configs and layers that are taken. `None`: all, as with dynamic media types.
    pub media_types: Option<BTreeSet<String>>,
    /// Bytes of a manifest, and parts that it may name.
    pub payload_limit: Option<usize>,
    pub reference_limit: Option<usize>,
    /// `repository:tag`s that nobody may move or delete.
    pub protected_tags: BTreeSet<String>,
    /// Whether tags can be deleted by `/v2/<name>/tags/reference/<tag>`, as at old registries.
    pub old_tag_delete: bool,
    /// Whether blobs are redirected to the storage.
    pub blobs_at_storage: bool,
    failures: Vec<Instant>,
    banned_until: Option<Instant>,
    /// When the bulk deletion of a repository last ran, by the repository's number.
    bulk_deletions: BTreeMap<u64, Instant>,
}

const MEDIA_TYPES: [&str; 14] = [
    "application/vnd.docker.container.image.v1+json",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.oci.empty.v1+json",
    "application/vnd.cncf.helm.config.v1+json",
    "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
    "application/vnd.dev.cosign.simplesigning.v1+json",
    "application/vnd.dev.cosign.artifact.sbom.v1+json",
    "application/vnd.in-toto+json",
];

impl Default for Knobs {
    fn default() -> Self {
        Self {
            projects: BTreeMap::new(),
            database: true,
            token_lifetime: Duration::from_secs(300),
            ban_after: 300,
            ban: Duration::from_secs(15 * 60),
            job_tokens_push: false,
            api_opens_registry: false,
            api_reads: vec!["read_api", "api"],
            api_writes: vec!["api"],
            media_types: Some(MEDIA_TYPES.map(str::to_owned).into()),
            payload_limit: None,
            reference_limit: None,
            protected_tags: BTreeSet::new(),
            old_tag_delete: false,
            blobs_at_storage: false,
            failures: Vec::new(),
            banned_until: None,
            bulk_deletions: BTreeMap::new(),
        }
    }
}

impl Knobs {
    /// The project that a repository belongs to: the nearest above it, not too far.
    fn project_of(&self, repository: &str) -> Option<&str> {
        let above = self.projects.keys().filter(|project| lies_under(repository, project));
        let project = above.max_by_key(|project| project.len())?;
        let below = &repository[project.len()..];
        (below.matches('/').count() <= LEVELS).then_some(project)
    }
}

impl GitLab {
    /// A GitLab whose registry has a metadata database and stores in memory.
    pub fn start() -> Self {
        Self::launch(3, Backend::without_referrers())
    }

    /// A GitLab that stores in a real docker-registry, for large rehearsals.
    pub async fn with_docker_registry() -> Self {
        Self::launch(3, Backend::Real(Box::new(DockerRegistry::start().await)))
    }

    /// Protects a `repository:tag`: nobody may move or delete it.
    pub fn protect(&self, tag: &str) -> &Self {
        self.knobs(|knobs| knobs.protected_tags.extend([tag.to_owned()]))
    }

    /// Makes a project. Only below projects can images be pushed.
    pub fn project(&self, path: &str) -> &Self {
        self.knobs(|knobs| {
            let number = knobs.projects.len() as u64 + 1;
            knobs.projects.insert(path.to_owned(), number);
        })
    }
}

#[async_trait]
impl Product for Rules {
    type Knobs = Knobs;

    fn area(asked: &Asked) -> Area {
        match (asked.door, asked.path()) {
            (STORAGE, _) => Area::Storage,
            (GITLAB, "/jwt/auth") => Area::Token,
            (GITLAB, _) => Area::Api,
            _ => Area::Registry,
        }
    }

    async fn answer(front: &Front<Self>, asked: &Asked) -> Result<Response, Broken> {
        match Self::area(asked) {
            Area::Storage => front.storage(asked).await,
            Area::Token => Ok(token::answer(front, asked)),
            Area::Api => Ok(rest::answer(front, asked).await),
            Area::Registry if asked.path().starts_with("/gitlab/") => {
                Ok(bulk::answer(front, asked))
            }
            Area::Registry if asked.path().starts_with("/v2") => {
                registry::answer(front, asked).await
            }
            Area::Registry => Ok(no_such_page()),
        }
    }

    fn exhausted(_: &Front<Self>, _: &Asked) -> Response {
        let reset = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(30);
        let reset = reset.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        Response::new(429)
            .header("content-type", "text/plain")
            .header("retry-after", "30")
            .header("ratelimit-limit", "2000")
            .header("ratelimit-remaining", "0")
            .header("ratelimit-resettime", reset)
            .body("Retry later\n")
    }
}
