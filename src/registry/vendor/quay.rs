//! Quay. Its API tells what tags point at ("List repository tags"): of public repositories to anybody,
//! of others for an OAuth token. Passwords and robots are good for the registry only.

use async_trait::async_trait;
use http::{Method, StatusCode};
use serde::Deserialize;

use super::{Vendor, is_within, tag_lists};
use crate::oci::{Digest, RegistryHost};
use crate::registry::auth::{Authentication, Scope};
use crate::registry::call::What;
use crate::registry::listing::NumberedPages;
use crate::registry::operation::Operation;
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

#[async_trait]
impl Vendor for Quay {
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
    let (what, scope) = (What::Name(repository.name()), Scope::base());
    let call = api.request(Operation::ListTags, what, Method::GET, url, &scope, repository.flow);
    let pages = NumberedPages::new(api, call);
    let mut listed = Vec::new();
    let take = |page: Page| {
        let more = page.has_additional && !page.tags.is_empty();
        listed.extend(page.tags.into_iter().map(|it| (it.name, it.manifest_digest)));
        more
    };
    match pages.each(take).await? {
        Ok(()) => Ok(Some(tag_lists::named_once(listed))),
        Err(answer) if answer.status == StatusCode::NOT_FOUND => Ok(None),
        Err(answer) => Err(pages.first.refused(&answer)),
    }
}
