//! Docker Hub. Its API lists the repositories of a namespace ("List repositories in a namespace") and
//! tells what tags point at ("List repository tags"). For what is private it wants a token of its own, which it gives for the same user name and password.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use http::HeaderMap;
use serde::Deserialize;

use super::{Vendor, owners, tag_lists};
use crate::fair::Flow;
use crate::oci::{Digest, RegistryHost, RepositoryName};
use crate::registry::Registry;
use crate::registry::auth::Authentication;
use crate::registry::dialect::{Dialect, Quota};
use crate::registry::remote::RemoteRepository;
use crate::repository::{ListedTag, Repository, Result};

/// The largest page.
const PAGE: usize = 100;

#[derive(Debug)]
pub(super) struct DockerHub;

impl Dialect for DockerHub {
    fn address<'a>(&self, host: &'a RegistryHost) -> &'a str {
        // The API has this dialect, too.
        if host.is_docker_hub() { "registry-1.docker.io" } else { host.as_str() }
    }

    /// `X-Retry-After` is the time when the limit ends, in seconds since 1970.
    fn wait(&self, headers: &HeaderMap, _: &str, now: SystemTime) -> Option<Duration> {
        let seconds = headers.get("x-retry-after")?.to_str().ok()?.trim().parse().ok()?;
        let end = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))?;
        Some(end.duration_since(now).unwrap_or_default())
    }

    /// `ratelimit-limit: 100;w=21600`, and `ratelimit-remaining` in the same form.
    fn quota(&self, headers: &HeaderMap) -> Option<Quota> {
        let number = |name: &str| -> Option<u64> {
            headers.get(name)?.to_str().ok()?.split(';').next()?.trim().parse().ok()
        };
        Some(Quota { limit: number("ratelimit-limit")?, remaining: number("ratelimit-remaining")? })
    }
}

/// A page of a list of repositories or tags.
#[derive(Deserialize)]
struct Page {
    results: Vec<Entry>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    /// What a tag points at. The published description of the API does not have it.
    digest: Option<Digest>,
}

#[async_trait]
impl Vendor for DockerHub {
    fn name(&self) -> &'static str {
        "Docker Hub"
    }

    fn assumed(&self) -> &'static [&'static str] {
        &["its API tells the digests of tags, which its published description leaves out"]
    }

    fn is_at(&self, host: &RegistryHost) -> bool {
        host.is_docker_hub()
    }

    fn dialect(&self) -> &'static dyn Dialect {
        &DockerHub
    }

    fn api(&self, _: &RegistryHost) -> Option<(RegistryHost, Authentication)> {
        Some(("hub.docker.com".parse().ok()?, Authentication::LogIn("/v2/auth/token")))
    }

    async fn repositories(
        &self,
        registry: &Registry,
        below: &[&str],
        flow: Flow,
    ) -> Result<Vec<RepositoryName>> {
        let mut all = Vec::new();
        for owner in owners::of(registry, below, "Docker Hub lists the repositories")? {
            let path = format!("/v2/namespaces/{owner}/repositories");
            let list = (&*path, "page_size=100");
            all.extend(owners::read_numbered(registry, &owner, list, Page::names, flow).await?);
        }
        Ok(all)
    }

    async fn listed_tags(&self, repository: &RemoteRepository) -> Result<Option<Vec<ListedTag>>> {
        tag_lists::own(repository, with_digests(repository)).await
    }
}

impl Page {
    fn entries(self) -> (Vec<tag_lists::Named>, bool) {
        let entries = self.results.into_iter().map(|it| (it.name, it.digest)).collect();
        (entries, self.next.is_some())
    }

    fn names(self) -> (Vec<String>, bool) {
        (self.results.into_iter().map(|it| it.name).collect(), self.next.is_some())
    }
}

/// `None`: there is no such repository, or whoever asks may not see it.
async fn with_digests(repository: &RemoteRepository) -> Result<Option<Vec<ListedTag>>> {
    let Some((namespace, name)) = repository.path().split_once('/') else { return Ok(None) };
    let api = repository.registry.api()?;
    let mut url = api.base.clone();
    url.set_path(&format!("/v2/namespaces/{namespace}/repositories/{name}/tags"));
    url.set_query(Some(&format!("page_size={PAGE}")));
    tag_lists::read_numbered(repository, api, url, Page::entries).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_and_quotas_are_read() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let mut headers = HeaderMap::new();
        assert_eq!(DockerHub.wait(&headers, "", now), None);
        headers.insert("x-retry-after", "1700000045".parse().unwrap());
        assert_eq!(DockerHub.wait(&headers, "", now), Some(Duration::from_secs(45)));
        // No registry means this; it must not bring the program down.
        for endless in [u64::MAX.to_string(), "99999999999999999999".to_owned()] {
            headers.insert("x-retry-after", endless.parse().unwrap());
            assert_eq!(DockerHub.wait(&headers, "", now), None);
        }
        headers.insert("ratelimit-limit", "100;w=21600".parse().unwrap());
        assert_eq!(DockerHub.quota(&headers), None);
        headers.insert("ratelimit-remaining", "76;w=21600".parse().unwrap());
        assert_eq!(DockerHub.quota(&headers), Some(Quota { limit: 100, remaining: 76 }));
    }
}
