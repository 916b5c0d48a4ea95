//! Google Artifact Registry and the older gcr.io. Their lists of tags have all manifests with their
//! tags, too.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use serde::Deserialize;

use super::{Vendor, is_within, tag_lists};
use crate::oci::{Digest, RegistryHost};
use crate::registry::dialect::Dialect;
use crate::registry::remote::RemoteRepository;
use crate::repository::{ErrorKind, ListedTag, Result};

/// Lists come whole, whatever is asked for; other servers that know the parameter do not send less.
const PAGE: usize = 10_000;

#[derive(Debug)]
pub(super) struct Google;

impl Dialect for Google {
    /// A manifest is deleted after its tags; distribution-spec takes the tags with it.
    fn kind(&self, codes: &[String]) -> Option<ErrorKind> {
        let tagged = codes.iter().any(|code| code == "GOOGLE_MANIFEST_DANGLING_TAG");
        tagged.then_some(ErrorKind::Tagged)
    }
}

/// A list of tags.
#[derive(Deserialize)]
struct Page {
    tags: Option<Vec<String>>,
    /// The manifests by their digests. Proxies leave it out.
    #[serde(default)]
    manifest: BTreeMap<String, Listed>,
}

#[derive(Deserialize)]
struct Listed {
    #[serde(default)]
    tag: Vec<String>,
}

impl Page {
    fn entries(self) -> Vec<tag_lists::Named> {
        let mut digests: HashMap<String, Digest> = HashMap::new();
        for (digest, Listed { tag }) in self.manifest {
            let Ok(digest) = digest.parse::<Digest>() else { continue };
            digests.extend(tag.into_iter().map(|tag| (tag, digest.clone())));
        }
        let tags = self.tags.unwrap_or_default().into_iter();
        tags.map(|tag| {
            let digest = digests.remove(&tag);
            (tag, digest)
        })
        .collect()
    }
}

#[async_trait]
impl Vendor for Google {
    fn name(&self) -> &'static str {
        "Google Artifact Registry"
    }

    fn assumed(&self) -> &'static [&'static str] {
        &["a list of tags has all manifests, however many there are"]
    }

    async fn listed_tags(&self, repository: &RemoteRepository) -> Result<Option<Vec<ListedTag>>> {
        let mut url = repository.url("tags/list");
        url.set_query(Some(&format!("n={PAGE}")));
        tag_lists::read(repository, url, &repository.reads, Page::entries).await
    }

    fn is_at(&self, host: &RegistryHost) -> bool {
        is_within(host, "gcr.io") || is_within(host, "pkg.dev")
    }

    fn dialect(&self) -> &'static dyn Dialect {
        &Google
    }
}
