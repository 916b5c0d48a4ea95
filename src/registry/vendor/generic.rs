//! Registries that follow distribution: `_catalog` lists what there is.

use async_trait::async_trait;

use super::Vendor;
use crate::fair::Flow;
use crate::oci::RepositoryName;
use crate::registry::Registry;
use crate::repository::Result;

pub(super) struct Generic;

#[async_trait]
impl Vendor for Generic {
    async fn repositories(&self, registry: &Registry, flow: Flow) -> Result<Vec<RepositoryName>> {
        registry.catalog(flow).await
    }
}
