//! GitLab's registry: gitlab.com's, and others as their hosts are usually called.

use super::Vendor;
use crate::oci::RegistryHost;

#[derive(Debug)]
pub(super) struct GitLab;

impl Vendor for GitLab {
    fn is_at(&self, host: &RegistryHost) -> bool {
        host.name().contains("gitlab")
    }

    fn follow_up(&self, host: &RegistryHost) -> Option<&'static str> {
        (host.name() != "registry.gitlab.com").then_some(
            "GitLab frees it by online garbage collection where the metadata database is in use, else when `gitlab-ctl registry-garbage-collect` runs",
        )
    }
}
