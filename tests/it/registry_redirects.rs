//! Where a registry may lead the client: by redirects, and by the addresses of uploads.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::TryStreamExt;
use secrecy::SecretString;
use tranship::config::{Insecure, RegistryConfig};
use tranship::oci::{Digest, Manifest, RegistryHost, media_type};
use tranship::registry::auth::Credential;
use tranship::registry::{Registries, Registry};
use tranship::repository::{ErrorKind, Placement, Reference, Repository, Result, UploadStart};

use crate::registry_suspicion::{LARGE, body, configured, open, repository, takes_chunks, upload};
use crate::support::bench::Bench;
use crate::support::scripted::Login;
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

/// A server on a public address that a private registry has led to is not in the private network
/// either.
#[tokio::test]
async fn nobody_in_between_leads_into_the_private_network() {
    let (server, between) = leading();
    let inside = Scripted::start();
    between.quirks(|quirks| {
        quirks.blob_redirect = Some(inside.url());
        quirks.upload_base = Some(inside.url());
    });
    server.quirks(|quirks| quirks.upload_base = None);
    let digest = Digest::of(CONTENT).to_string();
    inside.insert_blob("acme/app", &digest, CONTENT.into());
    let open = |public: Vec<RegistryHost>| {
        let registries = configured(BTreeMap::new(), Insecure::Http).with_public(public);
        repository(&registries.open(&host(&server)).unwrap(), "acme/app")
    };
    assert_eq!(read(&open(Vec::new())).await.unwrap(), CONTENT);
    let mark = inside.mark();
    let app = open(vec![host(&between)]);
    let error = read(&app).await.unwrap_err();
    assert!(error.to_string().contains("leads to 127.0.0.1"), "{error}");
    server.on("POST", Kind::Upload).once().fail(Fault::Redirect(between.url()));
    let error = upload(&app, b"more").await.unwrap_err();
    assert!(error.to_string().contains("leads to 127.0.0.1"), "{error}");
    assert!(inside.requests_since(mark).is_empty());
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

fn manifest() -> Manifest {
    Manifest::parse(
        "{\"schemaVersion\":2,\"manifests\":[]}".into(),
        Some(media_type::OCI_INDEX),
        None,
    )
    .unwrap()
}

fn tag(name: &str) -> Placement {
    Placement::Tag(name.parse().unwrap())
}

/// A registry that lets nobody in without a password, and a client that has it and knows that.
async fn with_password() -> (Scripted, Arc<dyn Repository>) {
    let mut server = Scripted::start();
    server.require(Login::Basic { user: "alice".to_owned(), password: "hers".to_owned() });
    let credential =
        Credential::Password { username: "alice".to_owned(), password: SecretString::from("hers") };
    let registries = configured(BTreeMap::new(), Insecure::Http);
    let app = repository(&registries.open_as(&host(&server), credential).unwrap(), "acme/app");
    app.tags().await.unwrap();
    (server, app)
}

/// 307 and 308 send what is written elsewhere, without credentials; others are no answer to it.
#[tokio::test]
async fn writes_are_redirected_without_credentials() {
    let (server, app) = with_password().await;
    let elsewhere = Scripted::start();
    let manifest = manifest();
    server.on("PUT", Kind::Manifest).once().fail(Fault::Redirect(elsewhere.url()));
    app.put_manifest(&tag("v1"), &manifest).await.unwrap();
    assert_eq!(elsewhere.tag("acme/app", "v1"), Some(manifest.digest.to_string()));

    let digest = manifest.digest.clone();
    server.on("DELETE", Kind::Manifest).once().fail(Fault::Redirect(elsewhere.url()));
    assert!(app.delete(&Reference::Digest(digest)).await.unwrap());
    assert_eq!(elsewhere.tag("acme/app", "v1"), None);

    server.on("POST", Kind::Upload).once().fail(Fault::Redirect(elsewhere.url()));
    upload(&app, CONTENT).await.unwrap();
    assert_eq!(elsewhere.blob_count("acme/app"), 1);
    elsewhere.assert_no_credentials();

    let moved = Fault::status(302).header("location", &format!("{}/v2/x", elsewhere.url()));
    let mark = elsewhere.mark();
    server.on("PUT", Kind::Manifest).once().fail(moved);
    let error = app.put_manifest(&tag("v1"), &manifest).await.unwrap_err();
    assert!(error.to_string().contains("302 Found"), "{error}");
    assert!(elsewhere.requests_since(mark).is_empty());
}

#[tokio::test]
async fn redirects_within_the_registry_carry_its_credentials() {
    let (server, app) = with_password().await;
    server.on("PUT", Kind::Manifest).once().fail(Fault::Redirect(server.url()));
    app.put_manifest(&tag("v1"), &manifest()).await.unwrap();
    assert!(server.tag("acme/app", "v1").is_some());
    server.on("PUT", Kind::Manifest).fail(Fault::Redirect(server.url()));
    let error = app.put_manifest(&tag("v1"), &manifest()).await.unwrap_err();
    assert!(error.to_string().contains("redirects more than 5 times"), "{error}");
}

/// Another host must not choose which address of the registry gets its credentials.
#[tokio::test]
async fn another_host_does_not_send_uploads_back() {
    let (server, app) = with_password().await;
    let elsewhere = Scripted::start();
    let back = format!("{}/v2/acme/other/blobs/uploads/theirs?_state=1", server.url());
    let accepted = Fault::status(202).header("location", &back);
    let mark = server.mark();
    // It answers the request that opens the upload …
    elsewhere.on("POST", Kind::Upload).fail(accepted.clone());
    server.on("POST", Kind::Upload).once().fail(Fault::Redirect(elsewhere.url()));
    let error = upload(&app, CONTENT).await.unwrap_err();
    assert!(error.to_string().contains("another host"), "{error}");
    // … or redirects the bytes, …
    server.quirks(|quirks| quirks.upload_base = Some(elsewhere.url()));
    let redirect = Fault::status(307).header("location", &back);
    elsewhere.on("PUT", Kind::Upload).once().fail(redirect);
    let error = upload(&app, CONTENT).await.unwrap_err();
    assert!(error.to_string().contains("redirects to an address that is not allowed"), "{error}");
    // … or the question where the upload stands.
    elsewhere.on("PUT", Kind::Upload).once().fail(Fault::status(411));
    upload(&app, CONTENT).await.unwrap_err();
    elsewhere.on("PATCH", Kind::Upload).once().fail(accepted);
    let error = upload(&app, CONTENT).await.unwrap_err();
    assert!(error.to_string().contains("another host"), "{error}");
    let traffic = server.requests_since(mark);
    assert!(traffic.iter().all(|seen| !seen.path.contains("acme/other")), "{traffic}");
    elsewhere.assert_no_credentials();
}

/// A redirect that comes back from elsewhere is followed as anybody could follow it, also where the
/// chain began elsewhere.
#[tokio::test]
async fn a_chain_that_began_elsewhere_carries_no_credentials_back() {
    let (server, app) = with_password().await;
    let elsewhere = Scripted::start();
    server.quirks(|quirks| quirks.upload_base = Some(elsewhere.url()));
    let mark = server.mark();
    let opened = app.start_upload(&Digest::of(CONTENT), None).await.unwrap();
    let UploadStart::Session(session) = opened else { panic!("the blob is not there") };
    elsewhere.on("GET", Kind::Upload).once().fail(Fault::Redirect(server.url()));
    assert_eq!(app.upload_status(&session).await.unwrap(), None);
    let traffic = server.requests_since(mark);
    let asked: Vec<_> = traffic.of("GET", Kind::Upload).collect();
    assert_eq!(asked.len(), 1, "{traffic}");
    assert_eq!(asked[0].header("authorization"), None);
}

/// The bytes of a blob go by a stream that is gone when the redirect comes: they are read again, and
/// go to where it has led.
#[tokio::test]
async fn bytes_that_are_redirected_are_read_again() {
    let bench = Bench::new();
    let layer = bench.layer("v2").to_owned();
    let rule = bench.target.on("PUT", Kind::Upload).containing(&layer);
    let fired = rule.once().fail(Fault::Redirect(bench.target.url()));
    assert_eq!(bench.sync().await.success(), 6);
    assert_eq!(fired.count(), 1);
    let read = bench.source.traffic();
    let read = read.of("GET", Kind::Blob).filter(|seen| seen.path.contains(&layer)).count();
    assert_eq!(read, 2);
    let traffic = bench.target.traffic();
    let puts: Vec<_> =
        traffic.of("PUT", Kind::Upload).filter(|seen| seen.query.contains(&layer)).collect();
    assert_eq!(puts.len(), 2, "{traffic}");
    assert_eq!(puts[0].body_length, puts[1].body_length);
    assert_eq!((&puts[0].path, &puts[0].query), (&puts[1].path, &puts[1].query));
    // Where the upload stands was not asked.
    assert_eq!(traffic.count("GET", Kind::Upload), 0, "{traffic}");
    bench.assert_arrived().await;
}

/// The same, to another host: exactly where the redirect has led, and without credentials.
#[tokio::test]
async fn bytes_are_redirected_to_another_host() {
    let (server, app) = with_password().await;
    let elsewhere = Scripted::start();
    elsewhere.on("PUT", Kind::Upload).fail(Fault::status(201));
    server.on("PUT", Kind::Upload).fail(Fault::Redirect(elsewhere.url()));
    let digest = Digest::of(CONTENT);
    let UploadStart::Session(session) = app.start_upload(&digest, None).await.unwrap() else {
        panic!("the blob is not there");
    };
    let send = async || app.finish_upload(&session, &digest, body(CONTENT)).await;
    let error = send().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connection, "{error}");
    assert_eq!(app.upload_status(&session).await.unwrap(), Some(session.clone()));
    send().await.unwrap();
    let traffic = elsewhere.traffic();
    let puts: Vec<_> = traffic.iter().collect();
    assert_eq!(puts.len(), 1, "{traffic}");
    assert_eq!(puts[0].body_length, CONTENT.len() as u64);
    assert_eq!(puts[0].query.matches("digest=").count(), 1, "{}", puts[0].query);
    elsewhere.assert_no_credentials();
    assert_eq!(server.traffic().count("GET", Kind::Upload), 0);
}

#[tokio::test]
async fn an_upload_that_is_redirected_for_ever_is_given_up() {
    let bench = Bench::new();
    let layer = bench.layer("v2").to_owned();
    let rule = bench.target.on("PUT", Kind::Upload).containing(&layer);
    let fired = rule.fail(Fault::Redirect(bench.target.url()));
    let report = bench.sync().await;
    let failure = report.only_failure("v2");
    assert!(failure.message.contains("redirects the upload to 127.0.0.1"), "{failure:?}");
    assert_eq!(fired.count(), 5);
    bench.assert_no_upload_left();
    bench.assert_heals().await;
}

/// A chunk is in memory, so it is sent again at once.
#[tokio::test]
async fn chunks_are_redirected_at_once() {
    let (server, app) = takes_chunks().await;
    let mark = server.mark();
    server.on("PATCH", Kind::Upload).after(1).once().fail(Fault::Redirect(server.url()));
    upload(&app, &LARGE).await.unwrap();
    let traffic = server.requests_since(mark);
    assert_eq!(traffic.count("PATCH", Kind::Upload), 2 + 1, "{traffic}");
    assert_eq!(traffic.count("POST", Kind::Upload), 1, "{traffic}");
}

/// The address of an upload is relative to where the answer came from.
#[tokio::test]
async fn an_upload_goes_on_where_it_was_opened() {
    let (server, elsewhere) = (Scripted::start(), Scripted::start());
    server.on("POST", Kind::Upload).fail(Fault::Redirect(elsewhere.url()));
    let app = repository(&open(&server), "acme/app");
    upload(&app, CONTENT).await.unwrap();
    assert_eq!(elsewhere.traffic().count_status("PUT", Kind::Upload, 201), 1);
    assert_eq!(server.traffic().count("PUT", Kind::Upload), 0);
}
