//! The client asks a registry that answers oddly: what it believes, and what it concludes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use secrecy::SecretString;
use tranship::config::{Insecure, RegistryConfig};
use tranship::fair::Flow;
use tranship::http::{Backoff, RetryPolicy};
use tranship::oci::{Digest, RegistryHost, media_type};
use tranship::registry::auth::Credential;
use tranship::registry::{Registries, Registry};
use tranship::repository::{
    BlobBody, Cause, ErrorKind, Reference, Repository, Result, UploadStart,
};
use tranship::secret::Environment;

use crate::support::scripted::Login;
use crate::support::{DockerRegistry, Fault, Kind, Place, Scripted, eventually};

/// Registries without credentials; two tries of everything.
fn registries(insecure: Insecure) -> Registries {
    configured(BTreeMap::new(), insecure)
}

/// The same with these settings of some of them.
pub fn configured(
    configs: BTreeMap<RegistryHost, RegistryConfig>,
    insecure: Insecure,
) -> Registries {
    let default = RegistryConfig {
        insecure,
        idle_timeout: Some(Duration::from_millis(500)),
        ..RegistryConfig::default()
    };
    let backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(15));
    let policy = RetryPolicy { attempts: 2, backoff, ..RetryPolicy::default() };
    Registries::new(configs, default, Environment::new(|_| None), || 0.1).with_policy(policy)
}

/// The registry, spoken to over plain http.
pub fn open(server: &impl Place) -> Arc<Registry> {
    registries(Insecure::Http).open(&server.host().parse().unwrap()).unwrap()
}

pub fn repository(registry: &Arc<Registry>, name: &str) -> Arc<dyn Repository> {
    registry.repository(Flow::ALONE, name.parse().unwrap(), true)
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

/// Uploads these bytes, in one try.
pub async fn upload(to: &Arc<dyn Repository>, bytes: &[u8]) -> Result<()> {
    let digest = Digest::of(bytes);
    match to.start_upload(&digest, None).await? {
        UploadStart::Present => Ok(()),
        UploadStart::Session(session) => to.finish_upload(&session, &digest, body(bytes)).await,
    }
}

pub fn body(bytes: &[u8]) -> BlobBody {
    let chunks = futures_util::stream::iter([Ok(Bytes::copy_from_slice(bytes))]);
    BlobBody { length: bytes.len() as u64, chunks: chunks.boxed() }
}

/// Front ends such as Google's answer 411 to a write that does not say how long its body is.
#[tokio::test]
async fn writes_with_an_empty_body_say_so() {
    let server = Scripted::start();
    let app = repository(&open(&server), "acme/app");
    upload(&app, b"").await.unwrap();
    upload(&app, b"content").await.unwrap();
    let traffic = server.traffic();
    let writes: Vec<_> =
        traffic.iter().filter(|seen| ["POST", "PUT", "PATCH"].contains(&&*seen.method)).collect();
    assert!(writes.len() >= 4, "{traffic}");
    for seen in writes {
        let length = seen.body_length.to_string();
        assert_eq!(seen.header("content-length"), Some(&*length), "{} {}", seen.method, seen.path);
    }
}

/// Where uploads lead to another host, its wish for a password is no wish of the registry.
#[tokio::test]
async fn another_host_does_not_change_how_the_registry_is_asked() {
    let (server, mut elsewhere) = (Scripted::start(), Scripted::start());
    elsewhere.require(Login::Basic { user: "bob".to_owned(), password: "his".to_owned() });
    server.quirks(|quirks| quirks.upload_base = Some(elsewhere.url()));
    let credential =
        Credential::Password { username: "alice".to_owned(), password: SecretString::from("hers") };
    let host = server.host().parse().unwrap();
    let registry = registries(Insecure::Http).open_as(&host, credential).unwrap();
    let app = repository(&registry, "acme/app");
    for _ in 0..2 {
        let error = upload(&app, b"content").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    }
    assert_eq!(elsewhere.traffic().count("PUT", Kind::Upload), 2);
    elsewhere.assert_no_credentials();
    server.assert_no_credentials();
}

/// What is configured for one host, such as not to check its certificate, holds for that one.
#[tokio::test]
async fn another_host_is_not_trusted_as_the_registry_is() {
    let elsewhere = DockerRegistry::new().tls().run().await;
    let url = format!("https://{}", elsewhere.host());
    let server = DockerRegistry::new().tls().calls_itself(&url).run().await;
    let mark = elsewhere.mark().await;
    let registry = registries(Insecure::NoVerify).open(&server.host().parse().unwrap()).unwrap();
    let error = upload(&repository(&registry, "acme/app"), b"content").await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    assert_eq!(elsewhere.requests_since(mark).await.iter().count(), 0);
}

/// One repository or subject that is unknown says nothing about the others.
#[tokio::test]
async fn only_a_path_that_nobody_knows_means_no_referrers_api() {
    let server = Scripted::start();
    let app = repository(&open(&server), "acme/app");
    let subject = Digest::of(b"subject");
    let answers = [
        Fault::status(404).error("NAME_UNKNOWN", "repository name not known to registry"),
        Fault::status(404).error("MANIFEST_UNKNOWN", "manifest unknown"),
        Fault::status(400).error("MANIFEST_INVALID", "no such manifest"),
        Fault::status(400).body("bad request"),
        Fault::status(405),
        Fault::status(406),
        Fault::status(410),
        Fault::status(422),
        Fault::status(501),
        Fault::status(200).body("<html>welcome</html>"),
    ];
    for answer in answers {
        server.on("GET", Kind::Referrers).once().fail(answer.clone());
        assert_eq!(app.referrers(&subject).await.unwrap(), None, "{answer:?}");
    }
    assert_eq!(app.referrers(&subject).await.unwrap(), Some(Vec::new()));

    let server = Scripted::start();
    server.quirks(|quirks| quirks.referrers_api = false);
    let registry = open(&server);
    let all = (0..20).map(|at| {
        let (registry, subject) = (registry.clone(), subject.clone());
        async move { repository(&registry, &format!("acme/{at}")).referrers(&subject).await }
    });
    for answer in join_all(all).await {
        assert_eq!(answer.unwrap(), None);
    }
    assert_eq!(server.traffic().count("GET", Kind::Referrers), 1);
}

/// Who waited for somebody else's time-out does not wait for that of everybody.
#[tokio::test]
async fn time_outs_of_referrers_do_not_add_up() {
    let server = Scripted::start();
    server.on("GET", Kind::Referrers).fail(Fault::Hang);
    let app = repository(&open(&server), "acme/app");
    // So that it is known that nobody has to log in.
    app.tags().await.unwrap();
    let subject = Digest::of(b"subject");
    let began = Instant::now();
    for answer in join_all((0..16).map(|_| app.referrers(&subject))).await {
        assert!(matches!(answer.unwrap_err().cause(), Cause::TimedOut(_)));
    }
    // One by one, that would be sixteen seconds.
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

/// A registry that takes chunks only, as the client has learnt.
pub async fn takes_chunks() -> (Scripted, Arc<dyn Repository>) {
    let server = Scripted::start();
    server.quirks(|quirks| quirks.max_body = Some(4 << 20));
    let app = repository(&open(&server), "acme/app");
    let error = upload(&app, &LARGE).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    (server, app)
}

pub static LARGE: [u8; 5 << 20] = [7; 5 << 20];

/// The registry needs time for all the bytes it has got, not for the empty request at the end.
#[tokio::test]
async fn closing_a_large_upload_may_take_long() {
    let (server, app) = takes_chunks().await;
    server.on("PUT", Kind::Upload).fail(Fault::Delay(Duration::from_millis(1500)));
    upload(&app, &LARGE).await.unwrap();
    assert_eq!(server.traffic().count("PATCH", Kind::Upload), 2);
}

/// A chunk that went wrong may have arrived: it is not sent again blindly.
#[tokio::test]
async fn chunks_are_not_repeated() {
    let (server, app) = takes_chunks().await;
    let mark = server.mark();
    server.on("PATCH", Kind::Upload).fail(Fault::CutAfterwards);
    upload(&app, &LARGE).await.unwrap_err();
    assert_eq!(server.requests_since(mark).count("PATCH", Kind::Upload), 1);
}

#[tokio::test]
async fn chunks_that_no_memory_holds_are_refused() {
    let (server, app) = takes_chunks().await;
    server.quirks(|quirks| quirks.chunk_min_length = Some(1 << 40));
    let error = upload(&app, &LARGE).await.unwrap_err();
    assert!(error.to_string().contains("chunks of 1099511627776 bytes"), "{error}");
}

/// Bytes that did not fit, a name that is not known: no reason to send the next blob otherwise.
#[tokio::test]
async fn only_refusals_of_the_form_change_the_form() {
    let server = Scripted::start();
    let app = repository(&open(&server), "acme/app");
    let refusals = [
        Fault::status(400).error("DIGEST_INVALID", "provided digest did not match"),
        Fault::status(400).error("SIZE_INVALID", "provided length did not match"),
        Fault::status(404).error("NAME_UNKNOWN", "repository name not known"),
        Fault::status(404).error("BLOB_UPLOAD_UNKNOWN", "blob upload unknown"),
        Fault::status(400).error("BLOB_UPLOAD_INVALID", "blob upload invalid"),
        Fault::status(404).body("404 page not found"),
    ];
    for refusal in refusals {
        server.on("PUT", Kind::Upload).once().fail(refusal.clone());
        upload(&app, b"content").await.unwrap_err();
        upload(&app, b"content").await.unwrap();
        assert_eq!(server.traffic().count("PATCH", Kind::Upload), 0, "{refusal:?}");
    }
    server.on("PUT", Kind::Upload).once().fail(Fault::status(411));
    upload(&app, b"content").await.unwrap_err();
    upload(&app, b"content").await.unwrap();
    assert_eq!(server.traffic().count("PATCH", Kind::Upload), 1);
}

/// Proxies take what they were told to, 1 MiB if nobody told them: the size that passes is found,
/// and kept for the next blob.
#[tokio::test]
async fn chunks_shrink_to_what_a_proxy_takes() {
    for (limit, refusals) in [(1 << 20, 2), (300_000, 3), (64 << 10, 4)] {
        let server = Scripted::start();
        server.quirks(|quirks| quirks.max_body = Some(limit));
        let app = repository(&open(&server), "acme/app");
        for _ in 0..refusals {
            let error = upload(&app, &LARGE).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
        }
        upload(&app, &LARGE).await.unwrap();
        let mark = server.mark();
        upload(&app, &LARGE[1..]).await.unwrap();
        let traffic = server.requests_since(mark);
        assert_eq!(traffic.iter().filter(|seen| seen.status == Some(413)).count(), 0, "{traffic}");
        let largest = traffic.iter().map(|seen| seen.body_length).max().unwrap();
        assert!(largest <= limit as u64 && 4 * largest >= limit as u64, "{largest} of {limit}");
    }
}

/// A form whose bytes are refused, for whatever reason, is not the only one.
#[tokio::test]
async fn another_form_is_tried_before_giving_up() {
    let server = Scripted::start();
    server.quirks(|quirks| quirks.loses_put_bodies = true);
    let app = repository(&open(&server), "acme/app");
    for _ in 0..2 {
        let error = upload(&app, b"content").await.unwrap_err();
        assert!(error.to_string().contains("DIGEST_INVALID"), "{error}");
    }
    upload(&app, b"content").await.unwrap();
    // What works is kept for the next blob.
    let mark = server.mark();
    upload(&app, b"more content").await.unwrap();
    let traffic = server.requests_since(mark);
    assert_eq!(traffic.count("PATCH", Kind::Upload), 1, "{traffic}");

    // Where the same would get the same answer, it is not repeated.
    let server = Scripted::start();
    server.on("PUT", Kind::Upload).once().fail(Fault::status(422));
    let app = repository(&open(&server), "acme/app");
    let error = upload(&app, b"content").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    upload(&app, b"content").await.unwrap();
    assert_eq!(server.traffic().count("PATCH", Kind::Upload), 1);
}

/// A quota that is used up for hours, for one repository: who asks next is told so without one more
/// request, and everybody else goes on.
#[tokio::test]
async fn a_refusal_for_hours_is_remembered() {
    let server = Scripted::start();
    let day = Fault::too_many_requests(Some("86400"));
    let fired = server.on("GET", Kind::Tags).containing("acme/app").fail(day);
    let registry = open(&server);
    let (app, other) = (repository(&registry, "acme/app"), repository(&registry, "acme/other"));
    for error in [app.tags().await.unwrap_err(), app.referrers(&Digest::of(b"")).await.unwrap_err()]
    {
        assert!(error.to_string().contains("429 Too Many Requests: TOOMANYREQUESTS"), "{error}");
    }
    assert_eq!((fired.count(), server.traffic().len()), (1, 1));
    assert_eq!(other.tags().await.unwrap(), None);
    // Another kind of request is another limit.
    upload(&app, b"content").await.unwrap();
    assert!(registry.limits().closed().is_none());
}

/// The same for the whole registry: a second repository finds it out, for all of them.
#[tokio::test]
async fn a_refusal_of_two_repositories_is_one_of_the_registry() {
    let server = Scripted::start();
    server.on_any().fail(Fault::too_many_requests(Some("7200")));
    let registry = open(&server);
    for (name, reads, writes) in [("acme/one", 1, 1), ("acme/two", 2, 2), ("acme/three", 2, 2)] {
        let repository = repository(&registry, name);
        let (read, written) = (repository.tags().await, upload(&repository, b"content").await);
        for error in [read.unwrap_err(), written.unwrap_err()] {
            assert!(error.to_string().contains("TOOMANYREQUESTS"), "{error}");
        }
        let traffic = server.traffic();
        assert_eq!(traffic.count("GET", Kind::Tags), reads, "{name}: {traffic}");
        assert_eq!(traffic.count("POST", Kind::Upload), writes, "{name}: {traffic}");
    }
    assert!(registry.limits().closed().is_some());
}

/// A wait of some seconds or minutes is waited for, and only by those whom it is about.
#[tokio::test]
async fn a_wait_holds_for_its_repository() {
    let server = Scripted::start();
    let wait = Duration::from_secs(6);
    let rule = server.on("GET", Kind::Tags).containing("acme/app").once();
    let fired = rule.fail(Fault::too_many_requests(Some("6")));
    let registry = open(&server);
    let (app, other) = (repository(&registry, "acme/app"), repository(&registry, "acme/other"));
    let began = Instant::now();
    let of_app = async {
        let asked = app.tags().await;
        (asked, began.elapsed())
    };
    let of_others = async {
        eventually("the refusal", wait, || async { (fired.count() == 1).then_some(()) }).await;
        other.tags().await.unwrap();
        began.elapsed()
    };
    let ((asked, waited), others) = tokio::join!(of_app, of_others);
    assert_eq!(asked.unwrap(), None);
    assert!(waited >= wait, "{waited:?}");
    assert!(others < wait, "{others:?}");
}
