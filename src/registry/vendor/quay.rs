//! Quay. Its API tells what tags point at ("List repository tags"): of public repositories to anybody,
//! of others for an OAuth token. Passwords and robots are good for the registry only.

use async_trait::async_trait;
use serde::Deserialize;

use super::{Vendor, is_within, tag_lists};
use crate::oci::{Digest, RegistryHost};
use crate::registry::auth::Authentication;
use crate::registry::remote::RemoteRepository;
use crate::repository::{ListedTag, Repository, Result};

/// The largest page.
const PAGE: usize = 100;

#[derive(Debug)]
pub(super) struct Quay;

/// A page of a list of tags.
#[derive(Deserialize)]
struct Page {
    tags: Vec<Entry>,
    #[serde(default)]
    has_additional: bool,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    manifest_digest: Option<Digest>,
}

impl Page {
    fn entries(self) -> (Vec<tag_lists::Named>, bool) {
        let entries = self.tags.into_iter().map(|it| (it.name, it.manifest_digest)).collect();
        (entries, self.has_additional)
    }
}

#[async_trait]
impl Vendor for Quay {
    fn name(&self) -> &'static str {
        "Quay"
    }

    fn is_at(&self, host: &RegistryHost) -> bool {
        is_within(host, "quay.io")
    }

    fn api(&self, host: &RegistryHost) -> Option<(RegistryHost, Authentication)> {
        Some((host.clone(), Authentication::OAuth))
    }

    async fn listed_tags(&self, repository: &RemoteRepository) -> Result<Option<Vec<ListedTag>>> {
        tag_lists::own(repository, with_digests(repository)).await
    }
}

/// `None`: there is no such repository.
async fn with_digests(repository: &RemoteRepository) -> Result<Option<Vec<ListedTag>>> {
    let api = repository.registry.api()?;
    let mut url = api.base.clone();
    url.set_path(&format!("/api/v1/repository/{}/tag/", repository.path()));
    // Without the last one, it lists what tags pointed at in the past, too.
    url.set_query(Some(&format!("limit={PAGE}&onlyActiveTags=true")));
    tag_lists::read_numbered(repository, api, url, Page::entries).await
}
