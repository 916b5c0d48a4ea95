//! Azure Container Registry. Its API tells what tags point at ("Container Registry, Tag, Get List"), for
//! tokens with a right of its own.

use async_trait::async_trait;
use serde::Deserialize;

use super::{Vendor, is_within, tag_lists};
use crate::oci::{Digest, RegistryHost};
use crate::registry::auth::Scope;
use crate::registry::remote::RemoteRepository;
use crate::repository::{ListedTag, Repository, Result};

/// The largest page that other clients ask for.
const PAGE: usize = 100;

#[derive(Debug)]
pub(super) struct Azure;

/// A page of a list of tags.
#[derive(Deserialize)]
struct Page {
    tags: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    digest: Option<Digest>,
}

impl Page {
    fn entries(self) -> Vec<tag_lists::Named> {
        self.tags.unwrap_or_default().into_iter().map(|it| (it.name, it.digest)).collect()
    }
}

#[async_trait]
impl Vendor for Azure {
    fn name(&self) -> &'static str {
        "Azure Container Registry"
    }

    fn assumed(&self) -> &'static [&'static str] {
        &["its list of tags has pages of 100, and wants a token with the right `metadata_read`"]
    }

    fn is_at(&self, host: &RegistryHost) -> bool {
        is_within(host, "azurecr.io")
    }

    async fn listed_tags(&self, repository: &RemoteRepository) -> Result<Option<Vec<ListedTag>>> {
        tag_lists::own(repository, with_digests(repository)).await
    }
}

/// `None`: there is no such repository.
async fn with_digests(repository: &RemoteRepository) -> Result<Option<Vec<ListedTag>>> {
    let mut url = repository.registry.origin.base.clone();
    url.set_path(&format!("/acr/v1/{}/_tags", repository.path()));
    url.set_query(Some(&format!("n={PAGE}")));
    let scope = Scope::metadata(repository.path.clone());
    tag_lists::read(repository, url, &scope, Page::entries).await
}
