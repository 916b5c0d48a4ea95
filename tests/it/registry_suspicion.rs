//! The client asks a registry that answers oddly: what it believes, and what it concludes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tranship::config::{Insecure, RegistryConfig};
use tranship::oci::{Digest, media_type};
use tranship::registry::auth::Environment;
use tranship::registry::{Policy, Registries, Registry};
use tranship::repository::{Cause, Reference, Repository};

use crate::support::{Fault, Kind, Place, Scripted};

/// The registry, spoken to over plain http; two tries of everything.
fn open(server: &Scripted) -> Arc<Registry> {
    let plain = RegistryConfig {
        insecure: Insecure::Http,
        idle_timeout: Some(Duration::from_millis(500)),
        ..RegistryConfig::default()
    };
    let policy = Policy { attempts: 2, base: Duration::from_millis(10), ..Policy::default() };
    let registries = Registries::new(BTreeMap::new(), plain, Environment::new(|_| None), || 0.1)
        .with_policy(policy);
    registries.open(&server.host().parse().unwrap()).unwrap()
}

fn repository(registry: &Arc<Registry>, name: &str) -> Arc<dyn Repository> {
    registry.repository(name.parse().unwrap(), true)
}

/// A manifest that is pinned by digest is that one, whatever a header says.
#[tokio::test]
async fn a_header_replaces_no_digest_that_was_asked_for() {
    let server = Scripted::start();
    let digest = server.insert_manifest("acme/app", None, media_type::OCI_INDEX, "{}".into());
    let digest: Digest = digest.parse().unwrap();
    let app = repository(&open(&server), "acme/app");
    let resolve = async || app.resolve(&Reference::Digest(digest.clone())).await;
    let other = format!("sha512:{}", "0".repeat(128));
    for header in [Fault::wrong_content_digest(&other), Fault::no_content_digest()] {
        server.on("HEAD", Kind::Manifest).once().fail(header);
        assert_eq!(resolve().await.unwrap().unwrap().digest, digest);
    }
    let other = Digest::of(b"other").to_string();
    server.on("HEAD", Kind::Manifest).fail(Fault::wrong_content_digest(&other));
    let error = resolve().await.unwrap_err();
    assert!(matches!(error.cause(), Cause::Corrupt(_)), "{error}");
    assert!(error.to_string().contains(&other), "{error}");
}
