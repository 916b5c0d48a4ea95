//! GitLab's registry: gitlab.com's, and others as their hosts are usually called. With the metadata
//! database, it lists tags with their digests ("GitLab container registry HTTP API, List repository
//! tags").

use async_trait::async_trait;
use http::HeaderMap;
use serde::Deserialize;

use super::{Vendor, tag_lists};
use crate::oci::{Digest, RegistryHost};
use crate::registry::dialect::Dialect;
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
    fn name(&self) -> &'static str {
        "GitLab"
    }

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
    let mut url = repository.registry.origin.base.clone();
    url.set_path(&format!("/gitlab/v1/repositories/{}/tags/list/", repository.path()));
    url.set_query(Some(&format!("n={PAGE}")));
    let entries = |page: Vec<Entry>| page.into_iter().map(|it| (it.name, it.digest)).collect();
    tag_lists::read(repository, url, &repository.reads, entries).await
}
