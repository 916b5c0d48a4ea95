//! Google Artifact Registry and the older gcr.io.

use super::{Vendor, is_within};
use crate::oci::RegistryHost;
use crate::registry::dialect::Dialect;
use crate::repository::ErrorKind;

#[derive(Debug)]
pub(super) struct Google;

impl Dialect for Google {
    /// A manifest is deleted after its tags; distribution-spec takes the tags with it.
    fn kind(&self, codes: &[String]) -> Option<ErrorKind> {
        let tagged = codes.iter().any(|code| code == "GOOGLE_MANIFEST_DANGLING_TAG");
        tagged.then_some(ErrorKind::Tagged)
    }
}

impl Vendor for Google {
    fn is_at(&self, host: &RegistryHost) -> bool {
        is_within(host, "gcr.io") || is_within(host, "pkg.dev")
    }

    fn dialect(&self) -> &'static dyn Dialect {
        &Google
    }
}
