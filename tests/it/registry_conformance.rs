//! The conformance suite over the HTTP client, against a registry of ours and one of others.

use std::collections::BTreeMap;
use std::sync::Arc;

use tranship::config::{Insecure, RegistryConfig};
use tranship::fair::Flow;
use tranship::oci::RegistryHost;
use tranship::registry::Registries;
use tranship::repository::Repository;
use tranship::secret::Environment;

use crate::conformance::{self, Abilities};
use crate::layout_server::Server;
use crate::support::{DockerRegistry, Place, Scripted};

/// Two repositories of the registry at `host`, over plain http and without any credentials.
fn repositories(host: &str) -> (Arc<dyn Repository>, Arc<dyn Repository>) {
    let plain = RegistryConfig { insecure: Insecure::Http, ..RegistryConfig::default() };
    let host: RegistryHost = host.parse().unwrap();
    let nothing = Environment::new(|_| None);
    let registries = Registries::new(BTreeMap::new(), plain, nothing, || 0.1);
    let registry = registries.open(&host).unwrap();
    let repository = |name: &str| registry.repository(Flow::ALONE, name.parse().unwrap(), true);
    (repository("acme/app"), repository("acme/base"))
}

#[tokio::test]
async fn the_client_conforms_with_the_embedded_registry() {
    let server = Server::writable().await;
    let (one, other) = repositories(&server.address.to_string());
    conformance::check(one, other, Abilities::ALL).await;
}

#[tokio::test]
async fn the_client_conforms_with_the_scripted_registry() {
    let server = Scripted::start();
    let (one, other) = repositories(server.host());
    conformance::check(one, other, Abilities::ALL).await;
}

#[tokio::test]
async fn the_client_conforms_with_docker_registry() {
    let server = DockerRegistry::start().await;
    let (one, other) = repositories(server.host());
    conformance::check(one, other, Abilities::OF_DISTRIBUTION_2).await;
}
