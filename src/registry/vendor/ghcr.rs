//! GitHub Container Registry. Its packages are listed by GitHub's REST API ("List packages for an
//! organization" and "for a user"), one owner at a time, and so are their versions, which tell what tags
//! point at.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::Deserialize;

use super::{Vendor, owners, tag_lists};
use crate::fair::Flow;
use crate::oci::{Digest, RegistryHost, RepositoryName};
use crate::registry::Registry;
use crate::registry::answer::Answer;
use crate::registry::auth::{Authentication, Scope};
use crate::registry::call::What;
use crate::registry::dialect::Dialect;
use crate::registry::listing::{MAX_PAGE_BYTES, Pages};
use crate::registry::operation::Operation;
use crate::registry::remote::RemoteRepository;
use crate::repository::{ErrorKind, ListedTag, Repository, Result};

/// For so few tags, the API is not asked what they point at.
const FEW: usize = 10;
/// A page of versions is worth its request if it saves the look-ups of a tenth of its entries.
const TAGS_FOR_A_PAGE: usize = 10;

#[derive(Debug)]
pub(super) struct Ghcr;

impl Dialect for Ghcr {
    fn advice(&self, kind: ErrorKind) -> Option<&'static str> {
        (kind == ErrorKind::Denied).then_some(
            "GitHub wants a personal access token (classic) with the scope read:packages, or \
             write:packages to push, whose owner may do so with this package",
        )
    }

    /// `TOOMANYREQUESTS: retry-after: 880.092µs, allowed: 44000/minute`, without a header.
    fn wait(&self, _: &HeaderMap, message: &str, _: SystemTime) -> Option<Duration> {
        let (_, rest) = message.split_once("retry-after: ")?;
        go_duration(rest.split([',', ' ', '"']).next()?)
    }
}

/// An entry of a list of packages.
#[derive(Deserialize)]
struct Package {
    name: String,
}

/// An entry of a list of versions.
#[derive(Deserialize)]
struct Version {
    /// The digest of the manifest.
    name: String,
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
struct Metadata {
    container: Option<Container>,
}

#[derive(Default, Deserialize)]
struct Container {
    #[serde(default)]
    tags: Vec<String>,
}

#[async_trait]
impl Vendor for Ghcr {
    fn name(&self) -> &'static str {
        "GitHub Container Registry"
    }

    fn is_at(&self, host: &RegistryHost) -> bool {
        host.name() == "ghcr.io"
    }

    fn dialect(&self) -> &'static dyn Dialect {
        &Ghcr
    }

    fn api(&self, _: &RegistryHost) -> Option<(RegistryHost, Authentication)> {
        Some(("api.github.com".parse().ok()?, Authentication::Secret))
    }

    async fn listed_tags(&self, repository: &RemoteRepository) -> Result<Option<Vec<ListedTag>>> {
        tag_lists::with_digests(repository, FEW, |it, tags| digests(it, tags).boxed()).await
    }

    async fn repositories(
        &self,
        registry: &Registry,
        below: &[&str],
        flow: Flow,
    ) -> Result<Vec<RepositoryName>> {
        let mut all = Vec::new();
        for owner in owners::of(registry, below, "GitHub lists the packages")? {
            all.extend(packages(registry, &owner, flow).await?);
        }
        Ok(all)
    }
}

/// The repositories of an owner whose packages the credentials may see.
async fn packages(registry: &Registry, owner: &str, flow: Flow) -> Result<Vec<RepositoryName>> {
    let shown = format!("{}/{owner}", registry.host());
    let list = ApiList {
        registry,
        owner,
        path: "packages",
        query: "package_type=container&per_page=100",
        operation: Operation::ListRepositories,
        what: What::Name(&shown),
        flow,
        most: usize::MAX,
        scope: Scope::base(),
    };
    let name = |page: Vec<Package>| page.into_iter().map(|package| Some(package.name)).collect();
    let repository = |name: &str| format!("{owner}/{name}").parse().ok();
    for kind in list.kinds() {
        let pages = list.pages(kind)?;
        match pages.names_in(name, repository).await? {
            Ok(names) => {
                list.found(kind);
                return Ok(names);
            }
            Err(answer) => list.go_on(kind, &pages, &answer)?,
        }
    }
    Ok(Vec::new())
}

/// What the tags of a repository point at, by as much of the list of its versions as is worth it for so
/// many tags. Every manifest is a version, with tags or without.
async fn digests(repository: &RemoteRepository, tags: usize) -> Result<HashMap<String, Digest>> {
    let Some((owner, package)) = repository.path().split_once('/') else {
        return Ok(HashMap::new());
    };
    let list = ApiList {
        registry: &repository.registry,
        owner,
        path: &format!("packages/container/{}/versions", package.replace('/', "%2F")),
        query: "state=active&per_page=100",
        operation: Operation::ListTags,
        what: What::Name(repository.name()),
        flow: repository.flow,
        most: tags.div_ceil(TAGS_FOR_A_PAGE),
        scope: Scope::base(),
    };
    let mut digests = HashMap::new();
    let mut take = |page: Vec<Version>| {
        for Version { name, metadata } in page {
            let Ok(digest) = name.parse::<Digest>() else { continue };
            let tags = metadata.and_then(|it| it.container).unwrap_or_default().tags;
            digests.extend(tags.into_iter().map(|tag| (tag, digest.clone())));
        }
    };
    for kind in list.kinds() {
        let pages = list.pages(kind)?;
        match pages.each(|page: Vec<Version>| page, |_| None, &mut take).await? {
            Ok(()) => {
                list.found(kind);
                return Ok(digests);
            }
            Err(answer) => list.go_on(kind, &pages, &answer)?,
        }
    }
    Ok(digests)
}

/// A list of GitHub's API about something that an owner has.
struct ApiList<'a> {
    registry: &'a Registry,
    owner: &'a str,
    /// Below the owner.
    path: &'a str,
    query: &'a str,
    operation: Operation,
    what: What<'a>,
    flow: Flow,
    /// So many pages are read.
    most: usize,
    scope: Scope,
}

impl ApiList<'_> {
    /// What the owner may be.
    fn kinds(&self) -> &'static [&'static str] {
        match self.registry.facts.users.lock().contains(self.owner) {
            true => &["users"],
            false => &["orgs", "users"],
        }
    }

    /// The pages of the list, if the owner is of this kind.
    fn pages(&self, kind: &str) -> Result<Pages<'_>> {
        let api = self.registry.api()?;
        let mut url = api.base.clone();
        url.set_path(&format!("/{kind}/{}/{}", self.owner, self.path));
        url.set_query(Some(self.query));
        let accept = HeaderValue::from_static("application/vnd.github+json");
        let call = api.request(self.operation, self.what, Method::GET, url, &self.scope, self.flow);
        let mut pages = Pages::new(api, call.header(header::ACCEPT, accept), MAX_PAGE_BYTES);
        pages.most = self.most;
        Ok(pages)
    }

    fn found(&self, kind: &str) {
        if kind == "users" {
            self.registry.facts.users.lock().insert(self.owner.to_owned());
        }
    }

    /// Whether there may be such a list of an owner of another kind, if there is none of this kind.
    fn go_on(&self, kind: &str, pages: &Pages<'_>, answer: &Answer) -> Result<()> {
        match (kind, answer.status) {
            ("orgs", StatusCode::NOT_FOUND) => Ok(()),
            _ => Err(pages.first.refused(answer)),
        }
    }
}

/// A duration as Go prints it: `1m30.5s`, `880.092µs`.
fn go_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        seconds += number
            * match &rest[..unit] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "µs" | "μs" | "us" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = &rest[unit..];
    }
    (!text.is_empty()).then(|| Duration::try_from_secs_f64(seconds).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wait(message: &str) -> Option<Duration> {
        Ghcr.wait(&HeaderMap::new(), message, SystemTime::now())
    }

    #[test]
    fn waits_are_read_from_messages() {
        assert_eq!(
            wait("TOOMANYREQUESTS: retry-after: 880.092µs, allowed: 44000/minute"),
            Some(Duration::from_nanos(880_092))
        );
        assert_eq!(wait("retry-after: 1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(wait("no"), None);
    }

    proptest! {
        #[test]
        fn no_message_panics(message in "\\PC{0,30}") {
            let _ = wait(&message);
            let _ = wait(&format!("retry-after: {message}"));
        }
    }
}
