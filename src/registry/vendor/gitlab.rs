//! GitLab's registry: gitlab.com's, and others as their hosts are usually called. With the metadata
//! database, it lists tags with their digests ("GitLab container registry HTTP API, List repository
//! tags").

use async_trait::async_trait;
use http::{HeaderMap, Method, StatusCode};
use serde::Deserialize;

use super::{Vendor, tag_lists};
use crate::oci::{Digest, RegistryHost};
use crate::registry::call::What;
use crate::registry::dialect::Dialect;
use crate::registry::listing::{MAX_PAGE_BYTES, Pages};
use crate::registry::operation::Operation;
use crate::registry::remote::RemoteRepository;
use crate::repository::{ErrorKind, ListedTag, Repository, Result};

/// The largest page.
const PAGE: usize = 1000;

#[derive(Debug)]
pub(super) struct GitLab;

impl Dialect for GitLab {
    fn advice(&self, kind: ErrorKind) -> Option<&'static str> {
        (kind == ErrorKind::Denied).then_some(
            "GitLab answers so if the project does not exist, if the repository is more than two \
             levels below its project, or if the token lacks the scope read_registry, or \
             write_registry to push",
        )
    }
}

/// An entry of a list of tags.
#[derive(Deserialize)]
struct Entry {
    name: String,
    digest: Option<Digest>,
}

#[async_trait]
impl Vendor for GitLab {
    fn is_at(&self, host: &RegistryHost) -> bool {
        host.name().contains("gitlab")
    }

    fn dialect(&self) -> &'static dyn Dialect {
        &GitLab
    }

    fn introduces_itself(&self, headers: &HeaderMap) -> bool {
        headers.contains_key("gitlab-container-registry-version")
    }

    async fn listed_tags(&self, repository: &RemoteRepository) -> Result<Option<Vec<ListedTag>>> {
        tag_lists::own(repository, with_digests(repository)).await
    }

    fn follow_up(&self, host: &RegistryHost) -> Option<&'static str> {
        (host.name() != "registry.gitlab.com").then_some(
            "GitLab frees it by online garbage collection where the metadata database is in use, else when `gitlab-ctl registry-garbage-collect` runs",
        )
    }
}

/// `None`: there is no metadata database, or no such repository in it.
async fn with_digests(repository: &RemoteRepository) -> Result<Option<Vec<ListedTag>>> {
    let origin = &repository.registry.origin;
    let mut url = origin.base.clone();
    url.set_path(&format!("/gitlab/v1/repositories/{}/tags/list/", repository.path()));
    url.set_query(Some(&format!("n={PAGE}")));
    let what = What::Name(repository.name());
    let call = repository.call(Operation::ListTags, what, Method::GET, url, &repository.reads);
    let pages = Pages::new(origin, call, MAX_PAGE_BYTES);
    let mut listed = Vec::new();
    let take = |page: Vec<Entry>| {
        // What is no tag's name by the specification cannot be asked for.
        let named = |entry: Entry| Some((entry.name.parse().ok()?, entry.digest));
        listed.extend(page.into_iter().filter_map(named));
    };
    match pages.each(|page: Vec<Entry>| page, |entry| Some(&entry.name), take).await? {
        Ok(()) => Ok(Some(tag_lists::each_once(listed))),
        Err(answer) if answer.status == StatusCode::NOT_FOUND => Ok(None),
        Err(answer) => Err(pages.first.refused(&answer)),
    }
}
