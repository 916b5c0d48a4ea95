//! Hosted registries that need nothing of their own so far: Amazon's.

use super::{Vendor, is_within};
use crate::oci::RegistryHost;

#[derive(Debug)]
pub(super) struct Hosted;

impl Vendor for Hosted {
    fn name(&self) -> &'static str {
        "Amazon ECR"
    }

    fn is_at(&self, host: &RegistryHost) -> bool {
        let domains = ["amazonaws.com", "public.ecr.aws"];
        domains.iter().any(|domain| is_within(host, domain))
    }
}
