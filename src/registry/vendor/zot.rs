//! zot, as its host is usually called.

use super::Vendor;
use crate::oci::RegistryHost;

#[derive(Debug)]
pub(super) struct Zot;

impl Vendor for Zot {
    fn name(&self) -> &'static str {
        "zot"
    }

    fn is_at(&self, host: &RegistryHost) -> bool {
        host.name().contains("zot")
    }

    fn follow_up(&self, _: &RegistryHost) -> Option<&'static str> {
        Some("zot frees it by its own garbage collection, if `gc` is set")
    }
}
