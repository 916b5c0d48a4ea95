//! A registry at a host that tells nothing of its product: any known product may stand behind it,
//! or behind a proxy, so the peculiarities of all of them are understood.

use std::time::{Duration, SystemTime};

use http::HeaderMap;

use super::{DIALECTS, Vendor};
use crate::oci::RegistryHost;
use crate::registry::dialect::{Dialect, Quota};
use crate::repository::ErrorKind;

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

impl Vendor for Generic {
    fn is_at(&self, _: &RegistryHost) -> bool {
        true
    }

    fn follow_up(&self, _: &RegistryHost) -> Option<&'static str> {
        Some(
            "it is freed by the registry's garbage collection; for docker-registry, run `registry garbage-collect CONFIG` while no images are pushed",
        )
    }
}
