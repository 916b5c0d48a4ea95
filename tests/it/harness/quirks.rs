//! The scripted registry behaves like a registry, in each of its natures.

use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::{Method, Response};

use crate::support::endpoint::client_builder;
use crate::support::images::Blob;
use crate::support::scripted::Login;
use crate::support::witness::{OciClient, Skopeo};
use crate::support::{
    Family, Fault, Image, Kind, Mount, Place, Scripted, TokenServer, assert_same, eventually,
};

async fn send(registry: &Scripted, method: Method, location: &str) -> Response {
    registry.endpoint().request(method, "r", location).send().await.unwrap()
}

fn header<'a>(answer: &'a Response, name: &str) -> &'a str {
    answer.headers()[name].to_str().unwrap()
}

/// Opens an upload; gives its path.
async fn open(registry: &Scripted) -> String {
    let opened = send(registry, Method::POST, "/v2/r/blobs/uploads/").await;
    assert_eq!(opened.status(), 202);
    header(&opened, "location").to_owned()
}

async fn patch(registry: &Scripted, location: &str, from: usize, bytes: Bytes) -> Response {
    let range = format!("{from}-{}", from + bytes.len() - 1);
    let request = registry.endpoint().request(Method::PATCH, "r", location);
    request.header("content-range", range).body(bytes).send().await.unwrap()
}

#[tokio::test]
async fn others_take_it_for_a_registry() {
    let (source, target) = (Scripted::start(), Scripted::start());
    let image = Image::platforms(Family::Docker, "app", &["amd64", "arm64"]);
    image.push(&source, "acme/app", "v1").await;
    let docker = |place: &Scripted| format!("docker://{}", place.reference("acme/app", "v1"));
    let skopeo = Skopeo::new();
    skopeo.copy(&docker(&source), &docker(&target)).await;
    assert_same(&source, &target, "acme/app", "v1").await;
    target.assert_tags_complete();
    assert_eq!(target.open_uploads(), 0);
    assert_eq!(skopeo.list_tags(&target, "acme/app").await, ["v1"]);
    let (bytes, digest) = OciClient::new(&target).manifest("acme/app", "v1").await;
    assert_eq!((bytes, digest), (image.bytes.to_vec(), image.digest));
}

#[tokio::test]
async fn chunks_are_checked_and_can_be_resumed() {
    let registry = Scripted::start();
    let blob = Blob::noise("x", "chunks", 9_000);
    let location = open(&registry).await;
    let first = patch(&registry, &location, 0, blob.bytes.slice(..4_000)).await;
    assert_eq!((first.status().as_u16(), header(&first, "range")), (202, "0-3999"));
    let location = header(&first, "location").to_owned();
    let again = patch(&registry, &location, 0, blob.bytes.slice(..4_000)).await;
    assert_eq!(again.status(), 416);
    let status = send(&registry, Method::GET, &location).await;
    assert_eq!((status.status().as_u16(), header(&status, "range")), (204, "0-3999"));

    registry.on("PATCH", Kind::Upload).once().fail(Fault::CutRequestAfter(1_000));
    let broken = registry.endpoint().request(Method::PATCH, "r", &location);
    assert!(broken.body(blob.bytes.slice(4_000..)).send().await.is_err());
    let status = send(&registry, Method::GET, &location).await;
    assert_eq!(header(&status, "range"), "0-4999", "what arrived is kept");
    let location = format!("{location}&digest={}", blob.digest);
    let closing = registry.endpoint().request(Method::PUT, "r", &location);
    let closed = closing.body(blob.bytes.slice(5_000..)).send().await.unwrap();
    assert_eq!(closed.status(), 201);
    assert_eq!(registry.endpoint().blob("r", &blob.digest).await.unwrap(), blob.bytes);
    assert_eq!(registry.open_uploads(), 0);
}

#[tokio::test]
async fn uploads_get_lost_and_are_refused() {
    let registry = Scripted::start();
    let chunk = Bytes::from_static(&[7; 1_000]);
    registry.quirks(|quirks| {
        quirks.max_patch = Some(999);
        quirks.chunk_min_length = Some(64);
        quirks.keeps_partial = false;
    });
    let opened = send(&registry, Method::POST, "/v2/r/blobs/uploads/").await;
    assert_eq!(header(&opened, "oci-chunk-min-length"), "64");
    let location = header(&opened, "location").to_owned();
    assert_eq!(patch(&registry, &location, 0, chunk.clone()).await.status(), 416);
    registry.quirks(|quirks| quirks.max_patch = None);
    let wrong = format!("{location}&digest=sha256:{}", "0".repeat(64));
    let request = registry.endpoint().request(Method::PUT, "r", &wrong).body(chunk.clone());
    assert_eq!(request.send().await.unwrap().status(), 400);

    let location = open(&registry).await;
    registry.on("PATCH", Kind::Upload).once().fail(Fault::SessionLost);
    assert_eq!(patch(&registry, &location, 0, chunk.clone()).await.status(), 404);
    assert_eq!(send(&registry, Method::GET, &location).await.status(), 404);

    let location = open(&registry).await;
    registry.on("PATCH", Kind::Upload).once().fail(Fault::CutRequestAfter(10));
    let request = registry.endpoint().request(Method::PATCH, "r", &location);
    assert!(request.body(chunk).send().await.is_err());
    let (path, _) = location.split_once('?').unwrap();
    assert_eq!(send(&registry, Method::GET, path).await.status(), 404, "the query is needed");
    assert_eq!(send(&registry, Method::GET, &location).await.status(), 404, "lost by the cut");

    registry.quirks(|quirks| quirks.upload_base = Some("http://127.0.0.1:9".to_owned()));
    assert!(open(&registry).await.starts_with("http://127.0.0.1:9/v2/r/blobs/uploads/"));
}

#[tokio::test]
async fn a_client_that_dies_leaves_what_it_sent() {
    use tokio::io::AsyncWriteExt;
    let registry = Scripted::start();
    let location = open(&registry).await;
    let mut socket = tokio::net::TcpStream::connect(registry.host()).await.unwrap();
    let request = format!("PATCH {location} HTTP/1.1\r\ncontent-length: 1000\r\n\r\nhalf");
    socket.write_all(request.as_bytes()).await.unwrap();
    drop(socket);
    eventually("the rest of the upload", Duration::from_secs(5), || async {
        let status = send(&registry, Method::GET, &location).await;
        (header(&status, "range") == "0-3").then_some(())
    })
    .await;
}

#[tokio::test]
async fn mounts_work_open_or_are_refused() {
    let registry = Scripted::start();
    let blob = Blob::noise("x", "mount", 100);
    registry.insert_blob("other", &blob.digest, blob.bytes.clone());
    let mount = async || {
        let path = format!("/v2/r/blobs/uploads/?mount={}&from=other", blob.digest);
        send(&registry, Method::POST, &path).await.status().as_u16()
    };
    for status in [401, 404, 405, 500] {
        registry.quirks(|quirks| quirks.mount = Mount::Refused(status));
        assert_eq!(mount().await, status);
    }
    registry.quirks(|quirks| quirks.mount = Mount::Opens);
    assert_eq!((mount().await, registry.open_uploads()), (202, 1));
    assert_eq!(registry.blob_count("r"), 0);
    registry.quirks(|quirks| quirks.mount = Mount::Works);
    assert_eq!((mount().await, registry.blob_count("r")), (201, 1));
}

#[tokio::test]
async fn ranges_redirects_and_deletes() {
    let registry = Scripted::start();
    let image = Image::single(Family::Oci, "a", &[1_000]);
    image.load(&registry, "r", "v1");
    let path = format!("/v2/r/blobs/{}", image.blobs[1].digest);
    let range = async || {
        let request = registry.endpoint().request(Method::GET, "r", &path);
        request.header("range", "bytes=900-").send().await.unwrap()
    };
    let partial = range().await;
    assert_eq!(partial.status(), 206);
    assert_eq!(header(&partial, "content-range"), "bytes 900-999/1000");
    assert_eq!(partial.bytes().await.unwrap(), image.blobs[1].bytes.slice(900..));
    registry.quirks(|quirks| quirks.no_range = true);
    assert_eq!(range().await.status(), 200);
    let storage = Scripted::start();
    image.load(&storage, "r", "v1");
    registry.quirks(|quirks| quirks.blob_redirect = Some(storage.url()));
    assert_eq!(range().await.bytes().await.unwrap().len(), 100);
    assert_eq!(storage.traffic().len(), 1);
    registry.quirks(|quirks| quirks.no_delete = true);
    assert_eq!(registry.endpoint().delete("r", &image.digest).await, 405);
    registry.quirks(|quirks| quirks.no_delete = false);
    assert_eq!(registry.endpoint().delete("r", &image.digest).await, 202);
    assert_eq!(registry.tag("r", "v1"), None);
}

#[tokio::test]
async fn manifests_are_refused_for_many_reasons() {
    let registry = Scripted::start();
    let image = Image::single(Family::Oci, "a", &[10]);
    let put = async |tag: &str, image: &Image| {
        let request =
            registry.endpoint().request(Method::PUT, "r", &format!("/v2/r/manifests/{tag}"));
        let request = request.header("content-type", &image.media_type);
        let answer = request.body(image.bytes.clone()).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let (status, text) = put("v1", &image).await;
    assert_eq!(status, 400);
    assert!(text.contains("MANIFEST_BLOB_UNKNOWN"), "{text}");
    image.push_content(&registry, "r").await;
    registry.quirks(|quirks| quirks.immutable_tags = true);
    assert_eq!(put("v1", &image).await.0, 201);
    assert_eq!(put("v1", &image).await.0, 201, "the same again moves nothing");
    let (status, text) = put("v1", &Image::empty_index()).await;
    assert_eq!(status, 409);
    assert!(text.contains("TAG_IMMUTABLE"), "{text}");
    registry.quirks(|quirks| quirks.media_types = Some(vec!["other".to_owned()]));
    assert_eq!(put("v2", &image).await.0, 400);
    registry.quirks(|quirks| quirks.read_only = true);
    assert_eq!(put("v2", &image).await.0, 405);
    registry.quirks(|quirks| {
        quirks.read_only = false;
        quirks.create_first = true;
    });
    let uploads = "/v2/r/blobs/uploads/";
    assert_eq!(send(&registry, Method::POST, uploads).await.status(), 404);
    registry.create_repository("r");
    assert_eq!(send(&registry, Method::POST, uploads).await.status(), 202);
}

#[tokio::test]
async fn tags_come_in_pages() {
    let registry = Scripted::start();
    let image = Image::empty_index();
    for tag in ["a", "b", "c"] {
        image.load(&registry, "r", tag);
    }
    registry.quirks(|quirks| quirks.page_cap = Some(2));
    let page = send(&registry, Method::GET, "/v2/r/tags/list?n=100").await;
    let link = header(&page, "link").to_owned();
    assert_eq!(link, "</v2/r/tags/list?last=b&n=2>; rel=\"next\"");
    let next = link.trim_start_matches('<').split('>').next().unwrap();
    let page = send(&registry, Method::GET, next).await;
    assert!(!page.headers().contains_key("link"));
    assert!(page.text().await.unwrap().contains(r#"["c"]"#));
    registry.quirks(|quirks| quirks.link_on_last_page = true);
    let page = send(&registry, Method::GET, next).await;
    assert!(page.headers().contains_key("link"));
    registry.create_repository("none");
    registry.quirks(|quirks| quirks.tags_null = true);
    let none = send(&registry, Method::GET, "/v2/none/tags/list").await;
    assert!(none.text().await.unwrap().contains("null"));
    assert_eq!(send(&registry, Method::GET, "/v2/unknown/tags/list").await.status(), 404);
    let names = send(&registry, Method::GET, "/v2/_catalog?n=1").await;
    assert_eq!(header(&names, "link"), "</v2/_catalog?last=none&n=1>; rel=\"next\"");
}

#[tokio::test]
async fn referrers_are_listed_or_not() {
    let registry = Scripted::start();
    let image = Image::single(Family::Oci, "a", &[10]);
    let image = image.refer("sbom", "application/spdx+json").refer("signature", "application/x");
    image.push(&registry, "r", "v1").await;
    let path = format!("/v2/r/referrers/{}", image.digest);
    let list = async |path: &str| -> serde_json::Value {
        let answer = send(&registry, Method::GET, path).await;
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default()
    };
    let all = list(&path).await["manifests"].as_array().unwrap().clone();
    assert_eq!(all.len(), 2);
    assert!(image.referrers.iter().all(|one| all.contains(&one.referrer_descriptor())));
    let filtered = list(&format!("{path}?artifactType=application/x")).await;
    assert_eq!(filtered["manifests"].as_array().unwrap().len(), 1);
    registry.quirks(|quirks| quirks.referrers_api = false);
    assert_eq!(send(&registry, Method::GET, &path).await.status(), 404);
    image.push(&registry, "r", "v1").await;
    assert_eq!(registry.endpoint().tags("r").await.len(), 2, "the fallback tag is there");
}

#[tokio::test]
async fn logins_are_asked_for() {
    let mut registry = Scripted::start();
    let image = Image::single(Family::Oci, "a", &[10]);
    let stranger = client_builder().build().unwrap();
    let url = format!("{}/v2/r/manifests/v1", registry.url());
    registry.require(Login::Basic { user: "alice".to_owned(), password: "secret".to_owned() });
    image.push(&registry, "r", "v1").await;
    let answer = stranger.get(&url).send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), header(&answer, "www-authenticate")),
        (401, "Basic realm=\"harness\"")
    );

    let tokens = TokenServer::start();
    tokens.policy(|policy| policy.requests_per_token = Some(2));
    registry.require(Login::Bearer { server: tokens.clone(), realm: None });
    image.push(&registry, "r", "v2").await;
    let answer = stranger.get(&url).send().await.unwrap();
    let challenge = header(&answer, "www-authenticate");
    assert!(challenge.contains(&format!("realm=\"{}\"", tokens.realm())), "{challenge}");
    assert!(challenge.contains("scope=\"repository:r:pull\""), "{challenge}");
    let token = tokens.mint("r");
    let mut statuses = Vec::new();
    for _ in 0..3 {
        let answer = stranger.get(&url).bearer_auth(&token).send().await.unwrap();
        statuses.push(answer.status().as_u16());
    }
    assert_eq!(statuses, [200, 200, 401], "two requests a token");
    let realm = Some("http://elsewhere.example/token".to_owned());
    registry.require(Login::Bearer { server: tokens, realm });
    let mount = format!("{}/v2/r/blobs/uploads/?mount=sha256:1&from=base", registry.url());
    let answer = stranger.post(mount).send().await.unwrap();
    let challenge = header(&answer, "www-authenticate");
    assert!(challenge.contains("realm=\"http://elsewhere.example/token\""), "{challenge}");
    assert!(
        challenge.contains("scope=\"repository:r:pull,push repository:base:pull\""),
        "{challenge}"
    );
}

#[tokio::test]
async fn rates_are_limited() {
    let registry = Scripted::start();
    registry.quirks(|quirks| quirks.requests_per_second = Some(5));
    let began = Instant::now();
    for _ in 0..12 {
        let answer = send(&registry, Method::GET, "/v2/").await;
        if answer.status() == 429 {
            assert_eq!(header(&answer, "retry-after"), "1");
        }
    }
    let accepted = registry.traffic().count_status("GET", Kind::Ping, 200);
    let windows = 1 + began.elapsed().as_secs() as usize;
    assert!((5..=5 * windows).contains(&accepted), "{accepted} in {windows} windows");
}

#[tokio::test]
async fn a_hundred_thousand_tags_cost_next_to_nothing() {
    let registry = Scripted::with_generated_tags("r", 100_000);
    let endpoint = registry.endpoint();
    let page = send(&registry, Method::GET, "/v2/r/tags/list?n=1000&last=tag-0098999").await;
    assert!(!page.headers().contains_key("link"), "the last page");
    let tags: serde_json::Value = serde_json::from_slice(&page.bytes().await.unwrap()).unwrap();
    assert_eq!(tags["tags"].as_array().unwrap().len(), 1_000);
    assert_eq!(tags["tags"][999], "tag-0099999");
    let head = send(&registry, Method::HEAD, "/v2/r/manifests/tag-0099999").await;
    let digest = header(&head, "docker-content-digest");
    assert_eq!(endpoint.digest("r", digest).await.unwrap(), digest);
    assert_eq!(endpoint.manifest("r", "tag-0100000").await, None);
    assert_ne!(endpoint.digest("r", "tag-0000000").await.unwrap(), digest);
    assert_same(&registry, &Scripted::with_generated_tags("r", 10), "r", "tag-0000009").await;
}
