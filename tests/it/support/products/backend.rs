//! The registry behind a product's front, which stores.

use std::fs;

use crate::support::docker_registry::DockerRegistry;
use crate::support::endpoint::Place;
use crate::support::scripted::Scripted;

pub enum Backend {
    /// In memory, with faults.
    Scripted(Scripted),
    /// On disk, and as strict as distribution is: for large rehearsals.
    Real(Box<DockerRegistry>),
}

impl Backend {
    /// One in memory that takes subjects of manifests without noting them.
    pub fn without_referrers() -> Self {
        let registry = Scripted::start();
        registry.quirks(|quirks| {
            quirks.referrers_api = false;
            quirks.oci_subject = false;
        });
        Self::Scripted(registry)
    }

    pub fn host(&self) -> &str {
        match self {
            Self::Scripted(registry) => registry.host(),
            Self::Real(registry) => registry.host(),
        }
    }

    /// The scripted registry. Panics before a real one, which knows no faults.
    pub fn scripted(&self) -> &Scripted {
        match self {
            Self::Scripted(registry) => registry,
            Self::Real(_) => panic!("this product stores in a real docker-registry"),
        }
    }

    pub async fn remove_tag(&self, repository: &str, tag: &str) {
        match self {
            Self::Scripted(registry) => registry.remove_tag(repository, tag),
            Self::Real(registry) => {
                // distribution 2.8 deletes by digest only, which would take other tags along.
                let repositories = registry.storage().join("docker/registry/v2/repositories");
                let tags = repositories.join(repository).join("_manifests/tags");
                fs::remove_dir_all(tags.join(tag)).unwrap();
            }
        }
    }

    pub async fn remove_manifest(&self, repository: &str, digest: &str) {
        match self {
            Self::Scripted(registry) => registry.remove_manifest(repository, digest),
            Self::Real(registry) => {
                let status = registry.endpoint().delete(repository, digest).await;
                assert_eq!(status, 202, "DELETE {repository}@{digest}");
            }
        }
    }
}
