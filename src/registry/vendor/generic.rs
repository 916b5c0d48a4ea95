//! A registry at a host that tells nothing of its product: any known product may stand behind it,
//! or behind a proxy, so the peculiarities of all of them are understood.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use http::HeaderMap;

use super::{DIALECTS, Vendor, tag_lists};
use crate::oci::RegistryHost;
use crate::registry::dialect::{Dialect, Quota};
use crate::registry::remote::RemoteRepository;
use crate::repository::{ErrorKind, ListedTag, Result};

#[derive(Debug)]
pub(super) struct Generic;

impl Dialect for Generic {
    fn kind(&self, codes: &[String]) -> Option<ErrorKind> {
        DIALECTS.iter().find_map(|dialect| dialect.kind(codes))
    }

    fn wait(&self, headers: &HeaderMap, message: &str, now: SystemTime) -> Option<Duration> {
        DIALECTS.iter().find_map(|dialect| dialect.wait(headers, message, now))
    }

    fn quota(&self, headers: &HeaderMap) -> Option<Quota> {
        DIALECTS.iter().find_map(|dialect| dialect.quota(headers))
    }
}

/// From so many tags on, it is worth a request to find out whether the product lists them with their
/// digests.
const MANY: usize = 100;

const FOLLOW_UP: &str = "it is freed by the registry's garbage collection; for docker-registry, run `registry garbage-collect CONFIG` while no images are pushed";

#[async_trait]
impl Vendor for Generic {
    fn name(&self) -> &'static str {
        "unknown"
    }

    fn is_at(&self, _: &RegistryHost) -> bool {
        true
    }

    async fn listed_tags(&self, repository: &RemoteRepository) -> Result<Option<Vec<ListedTag>>> {
        let listed = tag_lists::plain(repository).await?;
        if listed.as_ref().is_none_or(|tags| tags.len() <= MANY) {
            return Ok(listed);
        }
        match repository.registry.introduced(repository.flow).await {
            Some(product) => product.listed_tags(repository).await,
            None => Ok(listed),
        }
    }

    fn follow_up(&self, _: &RegistryHost) -> Option<&'static str> {
        Some(FOLLOW_UP)
    }
}

/// A registry of which only what the specification has is to be used, as the configuration says.
#[derive(Debug)]
pub(super) struct Standard;

impl Vendor for Standard {
    fn name(&self) -> &'static str {
        "any registry with the standard interface"
    }

    fn is_at(&self, _: &RegistryHost) -> bool {
        false
    }

    fn follow_up(&self, _: &RegistryHost) -> Option<&'static str> {
        Some(FOLLOW_UP)
    }
}
