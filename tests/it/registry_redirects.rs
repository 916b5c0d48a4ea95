//! Where a registry may lead the client: by redirects, and by the addresses of uploads.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::TryStreamExt;
use tranship::config::{Insecure, RegistryConfig};
use tranship::oci::{Digest, RegistryHost, media_type};
use tranship::registry::{Registries, Registry};
use tranship::repository::{ErrorKind, Reference, Repository, Result};

use crate::registry_suspicion::{configured, repository, upload};
use crate::support::{Fault, Kind, Place, Scripted};

const CONTENT: &[u8] = b"content";

fn host(place: &impl Place) -> RegistryHost {
    place.host().parse().unwrap()
}

fn plain() -> RegistryConfig {
    RegistryConfig { insecure: Insecure::Http, ..RegistryConfig::default() }
}

/// A registry with a blob, and a server elsewhere that it leads to in every way.
fn leading() -> (Scripted, Scripted) {
    let (server, elsewhere) = (Scripted::start(), Scripted::start());
    for place in [&server, &elsewhere] {
        let digest = Digest::of(CONTENT).to_string();
        place.insert_blob("acme/app", &digest, CONTENT.into());
        place.insert_manifest("acme/app", Some("v1"), media_type::OCI_INDEX, "{}".into());
    }
    server.quirks(|quirks| {
        quirks.blob_redirect = Some(elsewhere.url());
        quirks.upload_base = Some(elsewhere.url());
    });
    server.on("HEAD", Kind::Manifest).fail(Fault::Redirect(elsewhere.url()));
    (server, elsewhere)
}

/// The registry counts as one on a public address.
fn public(registries: Registries, server: &Scripted) -> Arc<Registry> {
    registries.with_public(vec![host(server)]).open(&host(server)).unwrap()
}

async fn read(app: &Arc<dyn Repository>) -> Result<Vec<u8>> {
    let reader = app.blob(&Digest::of(CONTENT), 0).await?;
    let chunks: Vec<_> = reader.chunks.try_collect().await?;
    Ok(chunks.concat())
}

#[tokio::test]
async fn a_public_registry_does_not_lead_into_the_private_network() {
    let (server, elsewhere) = leading();
    let registry = public(configured(BTreeMap::new(), Insecure::Http), &server);
    let app = repository(&registry, "acme/app");
    let tag = Reference::Tag("v1".parse().unwrap());
    for error in [
        read(&app).await.unwrap_err(),
        app.resolve(&tag).await.unwrap_err(),
        upload(&app, b"more").await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
        let text = error.to_string();
        assert!(text.contains("leads to 127.0.0.1, an address of a private network"), "{text}");
        assert!(text.contains("[registry] entry"), "{text}");
        assert_eq!(error.attempts(), 1, "{text}");
    }
    // By a name of this machine, too.
    let (_, port) = elsewhere.host().rsplit_once(':').unwrap();
    server.quirks(|quirks| quirks.blob_redirect = Some(format!("http://localhost:{port}")));
    assert!(read(&app).await.unwrap_err().to_string().contains("leads to localhost"));
    assert!(elsewhere.traffic().is_empty(), "{}", elsewhere.traffic());
}

#[tokio::test]
async fn hosts_that_the_configuration_names_may_be_led_to() {
    let (server, elsewhere) = leading();
    let entry = BTreeMap::from([(host(&elsewhere), plain())]);
    let realm = RegistryConfig { auth_realms: vec![elsewhere.url()], ..plain() };
    let realm = BTreeMap::from([(host(&server), realm)]);
    for configs in [entry, realm] {
        let app = repository(&public(configured(configs, Insecure::Http), &server), "acme/app");
        assert_eq!(read(&app).await.unwrap(), CONTENT);
    }
    assert_eq!(elsewhere.traffic().count("GET", Kind::Blob), 2);
}

/// Storage beside a registry of the private network needs no configuration.
#[tokio::test]
async fn a_private_registry_leads_to_private_storage() {
    let (server, elsewhere) = leading();
    let registry = configured(BTreeMap::new(), Insecure::Http).open(&host(&server)).unwrap();
    assert_eq!(read(&repository(&registry, "acme/app")).await.unwrap(), CONTENT);
    assert_eq!(elsewhere.traffic().count("GET", Kind::Blob), 1);
    elsewhere.assert_no_credentials();
}
