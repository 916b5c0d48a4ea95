//! Harbor, as its host is usually called. Its API (v2.0, "List artifacts") tells what tags point at. It
//! wants the user name and the password itself, where the registry has tokens.

use std::collections::HashMap;

use async_trait::async_trait;
use futures_util::FutureExt;
use http::Method;
use serde::Deserialize;

use super::{Vendor, tag_lists};
use crate::oci::{Digest, RegistryHost};
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

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[async_trait]
impl Vendor for Harbor {
    fn is_at(&self, host: &RegistryHost) -> bool {
        host.name().contains("harbor")
    }

    fn api(&self, host: &RegistryHost) -> Option<(RegistryHost, Authentication)> {
        Some((host.clone(), Authentication::Password))
    }

    async fn listed_tags(&self, repository: &RemoteRepository) -> Result<Option<Vec<ListedTag>>> {
        tag_lists::with_digests(repository, FEW, |it, _| digests(it).boxed()).await
    }

    fn follow_up(&self, _: &RegistryHost) -> Option<&'static str> {
        Some("Harbor frees it when garbage collection runs: Administration, Clean Up")
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
