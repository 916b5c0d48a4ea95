//! Harbor, as its host is usually called. Its API (v2.0) lists repositories, which the registry does for
//! administrators only, and tells what tags point at ("List artifacts"). It wants the user name and the
//! password itself, where the registry has tokens.

use std::collections::{BTreeSet, HashMap};

use async_trait::async_trait;
use futures_util::FutureExt;
use http::Method;
use serde::Deserialize;

use super::{Vendor, tag_lists};
use crate::fair::Flow;
use crate::oci::{Digest, RegistryHost, RepositoryName};
use crate::registry::Registry;
use crate::registry::auth::{Authentication, Scope};
use crate::registry::call::What;
use crate::registry::listing::{MAX_PAGE_BYTES, Pages};
use crate::registry::operation::Operation;
use crate::registry::remote::RemoteRepository;
use crate::repository::{ListedTag, Repository, Result};

/// For so few tags, the API is not asked what they point at.
const FEW: usize = 10;
/// The largest page.
const PAGE: usize = 100;

#[derive(Debug)]
pub(super) struct Harbor;

/// An entry of a list of artifacts.
#[derive(Deserialize)]
struct Artifact {
    digest: String,
    tags: Option<Vec<Named>>,
}

/// A tag, or a repository with its project.
#[derive(Deserialize)]
struct Named {
    name: String,
}

#[async_trait]
impl Vendor for Harbor {
    fn name(&self) -> &'static str {
        "Harbor"
    }

    fn assumed(&self) -> &'static [&'static str] {
        &["slashes in names of repositories are escaped twice in its API"]
    }

    fn is_at(&self, host: &RegistryHost) -> bool {
        host.name().contains("harbor")
    }

    fn api(&self, host: &RegistryHost) -> Option<(RegistryHost, Authentication)> {
        Some((host.clone(), Authentication::Password))
    }

    async fn repositories(
        &self,
        registry: &Registry,
        below: &[&str],
        flow: Flow,
    ) -> Result<Vec<RepositoryName>> {
        let error = match of_api(registry, below, flow).await {
            Ok(names) => return Ok(names),
            Err(error) => error,
        };
        let Ok(names) = registry.catalog(flow).await else { return Err(error) };
        let host = registry.host();
        tracing::warn!(registry = %host, %error, "Harbor's API does not list the repositories, so the registry's catalog was read");
        Ok(names)
    }

    async fn listed_tags(&self, repository: &RemoteRepository) -> Result<Option<Vec<ListedTag>>> {
        tag_lists::with_digests(repository, FEW, |it, _| digests(it).boxed()).await
    }

    fn follow_up(&self, _: &RegistryHost) -> Option<&'static str> {
        Some("Harbor frees it when garbage collection runs: Administration, Clean Up")
    }
}

/// The repositories of the projects that these paths begin with, or of all projects that the credentials
/// may see.
async fn of_api(registry: &Registry, below: &[&str], flow: Flow) -> Result<Vec<RepositoryName>> {
    let project = |path: &&str| path.split('/').next().unwrap_or_default().to_owned();
    let projects: BTreeSet<String> = below.iter().map(project).collect();
    if projects.contains("") {
        return list_of_api(registry, "repositories", registry.host().as_str(), flow).await;
    }
    let mut all = Vec::new();
    for project in projects {
        let shown = format!("{}/{project}", registry.host());
        let path = format!("projects/{project}/repositories");
        all.extend(list_of_api(registry, &path, &shown, flow).await?);
    }
    Ok(all)
}

async fn list_of_api(
    registry: &Registry,
    path: &str,
    shown: &str,
    flow: Flow,
) -> Result<Vec<RepositoryName>> {
    let api = registry.api()?;
    let mut url = api.base.clone();
    url.set_path(&format!("/api/v2.0/{path}"));
    url.set_query(Some(&format!("page=1&page_size={PAGE}&sort=name")));
    let (what, scope) = (What::Name(shown), Scope::base());
    let call = api.request(Operation::ListRepositories, what, Method::GET, url, &scope, flow);
    let pages = Pages::new(api, call, MAX_PAGE_BYTES);
    let names = |page: Vec<Named>| page.into_iter().map(|it| Some(it.name)).collect();
    match pages.names_in(names, |name| name.parse().ok()).await? {
        Ok(names) => Ok(names),
        Err(answer) => Err(pages.first.refused(&answer)),
    }
}

/// What the tags of a repository point at. Signatures are accessories there, not artifacts.
async fn digests(repository: &RemoteRepository) -> Result<HashMap<String, Digest>> {
    let Some((project, name)) = repository.path().split_once('/') else {
        return Ok(HashMap::new());
    };
    let api = repository.registry.api()?;
    let mut url = api.base.clone();
    // Slashes of the name are escaped twice: the path is taken apart twice.
    let name = name.replace('/', "%252F");
    url.set_path(&format!("/api/v2.0/projects/{project}/repositories/{name}/artifacts"));
    let query = format!("page=1&page_size={PAGE}&with_tag=true&q=tags%3D*");
    url.set_query(Some(&query));
    let (what, scope) = (What::Name(repository.name()), Scope::base());
    let call = api.request(Operation::ListTags, what, Method::GET, url, &scope, repository.flow);
    let pages = Pages::new(api, call, MAX_PAGE_BYTES);
    let mut digests = HashMap::new();
    let take = |page: Vec<Artifact>| {
        for Artifact { digest, tags } in page {
            let Ok(digest) = digest.parse::<Digest>() else { continue };
            let tags = tags.unwrap_or_default().into_iter();
            digests.extend(tags.map(|tag| (tag.name, digest.clone())));
        }
    };
    match pages.each(|page: Vec<Artifact>| page, |_| None, take).await? {
        Ok(()) => Ok(digests),
        Err(answer) => Err(pages.first.refused(&answer)),
    }
}
