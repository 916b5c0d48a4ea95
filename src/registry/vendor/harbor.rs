//! Harbor, as its host is usually called.

use super::Vendor;
use crate::oci::RegistryHost;

#[derive(Debug)]
pub(super) struct Harbor;

impl Vendor for Harbor {
    fn is_at(&self, host: &RegistryHost) -> bool {
        host.name().contains("harbor")
    }

    fn follow_up(&self, _: &RegistryHost) -> Option<&'static str> {
        Some("Harbor frees it when garbage collection runs: Administration, Clean Up")
    }
}
