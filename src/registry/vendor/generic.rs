//! A registry at a host that tells nothing of its product: any known product may stand behind it,
//! or behind a proxy, so the peculiarities of all of them are understood.

use std::time::{Duration, SystemTime};

use http::HeaderMap;

use super::Vendor;
use crate::oci::RegistryHost;
use crate::registry::dialect::{Dialect, Quota};
use crate::repository::ErrorKind;

#[derive(Debug)]
pub(super) struct Generic {
    pub known: &'static [&'static dyn Vendor],
}

impl Dialect for Generic {
    fn kind(&self, codes: &[String]) -> Option<ErrorKind> {
        self.known.iter().find_map(|vendor| vendor.kind(codes))
    }

    fn wait(&self, headers: &HeaderMap, message: &str, now: SystemTime) -> Option<Duration> {
        self.known.iter().find_map(|vendor| vendor.wait(headers, message, now))
    }

    fn quota(&self, headers: &HeaderMap) -> Option<Quota> {
        self.known.iter().find_map(|vendor| vendor.quota(headers))
    }
}

impl Vendor for Generic {
    fn is_at(&self, _: &RegistryHost) -> bool {
        true
    }
}
