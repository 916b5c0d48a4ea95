//! The registry over layouts, endpoint by endpoint, as an HTTP client sees it.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tranship::layout::Layouts;
use tranship::oci::{Digest, Manifest, media_type};
use tranship::server::{self, Bounds, Options};

use crate::conformance::{bytes, image, index};

/// A served folder; the server stops with it.
pub struct Server {
    pub address: String,
    root: Arc<TempDir>,
    seen: Arc<Mutex<Vec<String>>>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<std::io::Result<()>>,
}

impl Server {
    pub async fn writable() -> Self {
        let root = Arc::new(tempfile::tempdir().unwrap());
        Self::start(root, Options { writable: true, ..Options::default() }).await
    }

    pub async fn start(root: Arc<TempDir>, mut options: Options) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        options.on_request = Some(Arc::new({
            let seen = Arc::clone(&seen);
            move |line| {
                let line = format!("{} {} {}", line.method, line.uri, line.status.as_u16());
                seen.lock().unwrap().push(line);
            }
        }));
        let layouts = Layouts::open(root.path()).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (stop, stopped) = oneshot::channel::<()>();
        let router = server::registry(layouts, options);
        let task = tokio::spawn(server::serve(listener, router, Bounds::default(), async {
            let _ = stopped.await;
        }));
        Self { address, root, seen, stop: Some(stop), task }
    }

    pub async fn stop(mut self) -> Arc<TempDir> {
        drop(self.stop.take());
        tokio::time::timeout(Duration::from_secs(5), self.task).await.unwrap().unwrap().unwrap();
        self.root
    }

    /// The folder that is served.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Response {
        let method: Method = method.parse().unwrap();
        let mut request = client().request(method, self.url(path)).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Response {
        self.send("GET", path, &[], "").await
    }

    async fn json(&self, path: &str) -> Value {
        let response = self.get(path).await;
        assert_eq!(response.status(), 200, "{path}");
        serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
    }

    /// Begins an upload; the path to go on with.
    pub async fn begin(&self, name: &str) -> String {
        let response = self.send("POST", &format!("/v2/{name}/blobs/uploads/"), &[], "").await;
        assert_eq!(response.status(), 202);
        assert!(!header(&response, "docker-upload-uuid").is_empty());
        header(&response, "location")
    }

    pub async fn push(&self, name: &str, content: &[u8]) -> Digest {
        let digest = Digest::of(content);
        let path = format!("/v2/{name}/blobs/uploads/?digest={digest}");
        let response = self.send("POST", &path, &[], content.to_vec()).await;
        assert_eq!(response.status(), 201);
        digest
    }

    pub async fn put(&self, name: &str, reference: &str, manifest: &Manifest) -> Response {
        let path = format!("/v2/{name}/manifests/{reference}");
        let content_type = [("content-type", manifest.media_type.as_str())];
        self.send("PUT", &path, &content_type, manifest.raw.clone()).await
    }

    /// Pushes an index, which needs nothing else.
    pub async fn put_index(&self, name: &str, tag: &str) -> Manifest {
        let manifest = index(&[]);
        assert_eq!(self.put(name, tag, &manifest).await.status(), 201);
        manifest
    }
}

fn client() -> reqwest::Client {
    // A second installation is refused, and the first serves.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().unwrap()
}

pub fn header(response: &Response, name: &str) -> String {
    response.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
}

/// Checks the status and that the body has this code, in the specification's form.
pub async fn refused(response: Response, status: u16, code: &str) {
    assert_eq!(header(&response, "content-type"), "application/json");
    let found = response.status();
    let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    assert_eq!((found.as_u16(), body["errors"][0]["code"].as_str()), (status, Some(code)));
    assert!(!body["errors"][0]["message"].as_str().unwrap().is_empty());
}

#[tokio::test]
async fn it_says_that_it_is_a_registry() {
    let server = Server::writable().await;
    for path in ["/v2/", "/v2"] {
        let response = server.get(path).await;
        assert_eq!(response.status(), 200);
        assert_eq!(header(&response, "docker-distribution-api-version"), "registry/2.0");
    }
    refused(server.get("/").await, 404, "UNSUPPORTED").await;
    refused(server.send("POST", "/v2/", &[], "").await, 405, "UNSUPPORTED").await;
    refused(server.send("PUT", "/v2/a/tags/list", &[], "").await, 405, "UNSUPPORTED").await;
    let seen = server.seen.lock().unwrap().clone();
    let expected =
        ["GET /v2/ 200", "GET /v2 200", "GET / 404", "POST /v2/ 405", "PUT /v2/a/tags/list 405"];
    assert_eq!(seen, expected);
    server.stop().await;
}

#[tokio::test]
async fn a_repository_that_is_not_there_has_no_name() {
    let server = Server::writable().await;
    let digest = Digest::of(b"x");
    for path in ["tags/list", "manifests/latest", &format!("blobs/{digest}")] {
        refused(server.get(&format!("/v2/no/such/{path}")).await, 404, "NAME_UNKNOWN").await;
    }
    refused(server.get("/v2/No/tags/list").await, 400, "NAME_INVALID").await;
    let reserved = server.send("POST", "/v2/a/blobs/b/blobs/uploads/", &[], "").await;
    refused(reserved, 400, "NAME_INVALID").await;
    // 404 would say that there is no referrers API.
    let list = server.json(&format!("/v2/no/such/referrers/{digest}")).await;
    assert_eq!(list["manifests"], json!([]));
}

#[tokio::test]
async fn a_read_only_registry_takes_nothing() {
    let writable = Server::writable().await;
    let manifest = writable.put_index("app", "1").await;
    let location = writable.begin("app").await;
    let server = Server::start(writable.stop().await, Options::default()).await;
    assert_eq!(server.get("/v2/app/manifests/1").await.status(), 200);
    let manifest_path = format!("/v2/app/manifests/{}", manifest.digest);
    for (method, path) in [
        ("POST", "/v2/app/blobs/uploads/"),
        ("PATCH", &location),
        ("PUT", &location),
        ("DELETE", &location),
        ("PUT", "/v2/app/manifests/2"),
        ("DELETE", "/v2/app/manifests/1"),
        ("DELETE", &manifest_path),
    ] {
        refused(server.send(method, path, &[], "").await, 405, "UNSUPPORTED").await;
    }
    assert_eq!(server.json("/v2/app/tags/list").await["tags"], json!(["1"]));
}

#[tokio::test]
async fn manifests_come_back_bit_for_bit() {
    let server = Server::writable().await;
    let manifest = server.put_index("acme/app", "1.0").await;
    let digest = manifest.digest.to_string();
    for reference in ["1.0", &digest, &digest.replace(':', "%3A")] {
        let path = format!("/v2/acme/app/manifests/{reference}");
        for method in ["GET", "HEAD"] {
            let response = server.send(method, &path, &[], "").await;
            assert_eq!(response.status(), 200);
            assert_eq!(header(&response, "docker-content-digest"), digest);
            assert_eq!(header(&response, "content-type"), media_type::OCI_INDEX);
            assert_eq!(header(&response, "etag"), format!("\"{digest}\""));
            assert_eq!(header(&response, "content-length"), manifest.raw.len().to_string());
            let body = response.bytes().await.unwrap();
            assert_eq!(body, if method == "GET" { manifest.raw.clone() } else { "".into() });
        }
        let known = [("if-none-match", format!("\"other\", \"{digest}\""))];
        let known = known.each_ref().map(|(name, value)| (*name, value.as_str()));
        assert_eq!(server.send("GET", &path, &known, "").await.status(), 304);
    }
    refused(server.get("/v2/acme/app/manifests/2.0").await, 404, "MANIFEST_UNKNOWN").await;
    refused(server.get("/v2/acme/app/manifests/.INVALID").await, 404, "MANIFEST_UNKNOWN").await;
    let blob = server.push("acme/app", b"a layer").await;
    let path = format!("/v2/acme/app/manifests/{blob}");
    refused(server.get(&path).await, 404, "MANIFEST_UNKNOWN").await;
}

#[tokio::test]
async fn manifests_that_cannot_be_right_are_refused() {
    let server = Server::writable().await;
    let manifest = index(&[]);
    let put = |reference: String, content_type: &'static str, body: Vec<u8>| {
        let path = format!("/v2/app/manifests/{reference}");
        let server = &server;
        async move { server.send("PUT", &path, &[("content-type", content_type)], body).await }
    };
    let raw = manifest.raw.to_vec();
    let other = Digest::of(b"other").to_string();
    refused(put(other, media_type::OCI_INDEX, raw.clone()).await, 400, "DIGEST_INVALID").await;
    let contradiction = put("1".into(), media_type::OCI_MANIFEST, raw.clone()).await;
    refused(contradiction, 400, "MANIFEST_INVALID").await;
    refused(put("1".into(), "text/html", raw).await, 400, "MANIFEST_INVALID").await;
    refused(put("1".into(), "", b"{".to_vec()).await, 400, "MANIFEST_INVALID").await;
    let large = vec![b' '; (4 << 20) + 1];
    refused(put("1".into(), "", large).await, 413, "MANIFEST_INVALID").await;
    let incomplete = server.put("app", "1", &image("incomplete", None)).await;
    refused(incomplete, 404, "MANIFEST_BLOB_UNKNOWN").await;
    refused(server.get("/v2/app/manifests/1").await, 404, "MANIFEST_UNKNOWN").await;
    // One of exactly the largest size is taken.
    let mut exact = manifest.raw.to_vec();
    exact.resize(4 << 20, b' ');
    assert_eq!(put("1".into(), media_type::OCI_INDEX, exact).await.status(), 201);
}

#[tokio::test]
async fn tags_and_manifests_are_deleted() {
    let server = Server::writable().await;
    let manifest = server.put_index("app", "1").await;
    server.put_index("app", "2").await;
    let delete = |reference: String| {
        let path = format!("/v2/app/manifests/{reference}");
        let server = &server;
        async move { server.send("DELETE", &path, &[], "").await }
    };
    assert_eq!(delete("1".into()).await.status(), 202);
    refused(delete("1".into()).await, 404, "MANIFEST_UNKNOWN").await;
    assert_eq!(server.json("/v2/app/tags/list").await["tags"], json!(["2"]));
    assert_eq!(delete(manifest.digest.to_string()).await.status(), 202);
    refused(delete(manifest.digest.to_string()).await, 404, "MANIFEST_UNKNOWN").await;
    assert_eq!(server.json("/v2/app/tags/list").await["tags"], json!([]));
    let blob = server.push("app", b"a layer").await;
    let path = format!("/v2/app/blobs/{blob}");
    refused(server.send("DELETE", &path, &[], "").await, 405, "UNSUPPORTED").await;
}

#[tokio::test]
async fn blobs_come_whole_and_in_part() {
    let server = Server::writable().await;
    let content = bytes("ranges", 600_000);
    let digest = server.push("app", &content).await;
    let path = format!("/v2/app/blobs/{digest}");
    for method in ["GET", "HEAD"] {
        let response = server.send(method, &path, &[], "").await;
        assert_eq!(response.status(), 200);
        assert_eq!(header(&response, "content-length"), "600000");
        assert_eq!(header(&response, "docker-content-digest"), digest.to_string());
        assert_eq!(header(&response, "accept-ranges"), "bytes");
        let body = response.bytes().await.unwrap();
        assert!(if method == "GET" { body == content } else { body.is_empty() });
    }
    for (range, expected) in
        [("bytes=0-0", 0..1), ("bytes=299999-", 299_999..600_000), ("bytes=-5", 599_995..600_000)]
    {
        let response = server.send("GET", &path, &[("range", range)], "").await;
        assert_eq!(response.status(), 206, "{range}");
        let described = format!("bytes {}-{}/600000", expected.start, expected.end - 1);
        assert_eq!(header(&response, "content-range"), described);
        assert!(response.bytes().await.unwrap() == content[expected], "{range}");
    }
    let several = server.send("GET", &path, &[("range", "bytes=0-1,4-5")], "").await;
    assert_eq!((several.status(), several.bytes().await.unwrap().len()), (StatusCode::OK, 600_000));
    let beyond = server.send("GET", &path, &[("range", "bytes=600000-")], "").await;
    assert_eq!(header(&beyond, "content-range"), "bytes */600000");
    refused(beyond, 416, "RANGE_INVALID").await;
    let absent = format!("/v2/app/blobs/{}", Digest::of(b"absent"));
    refused(server.get(&absent).await, 404, "BLOB_UNKNOWN").await;
    refused(server.get("/v2/app/blobs/sha256:1").await, 400, "DIGEST_INVALID").await;
}

#[tokio::test]
async fn lists_come_in_pages() {
    let server = Server::writable().await;
    for tag in ["b", "a", "C", "10", "9"] {
        server.put_index("app", tag).await;
    }
    for name in ["z", "app/x"] {
        server.put_index(name, "1").await;
    }
    for (path, key, expected) in [
        ("/v2/app/tags/list", "tags", json!(["10", "9", "C", "a", "b"])),
        ("/v2/_catalog", "repositories", json!(["app", "app/x", "z"])),
    ] {
        assert_eq!(server.json(path).await[key], expected);
        let mut found = Vec::new();
        let mut next = Some(format!("{path}?n=2"));
        while let Some(path) = next {
            let response = server.get(&path).await;
            let link = header(&response, "link");
            next = link.strip_prefix('<').map(|link| {
                link.strip_suffix(">; rel=\"next\"").expect("it is a next link").to_owned()
            });
            let page: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
            let page = page[key].as_array().unwrap().clone();
            assert!(page.len() == 2 || next.is_none());
            found.extend(page);
        }
        assert_eq!(json!(found), expected);
        let none = server.get(&format!("{path}?n=0")).await;
        assert_eq!(header(&none, "link"), "");
        assert_eq!(server.json(&format!("{path}?n=0")).await[key], json!([]));
        let all = server.get(&format!("{path}?n=100")).await;
        assert_eq!(header(&all, "link"), "");
        let wrong = server.get(&format!("{path}?n=-1")).await;
        refused(wrong, 400, "PAGINATION_NUMBER_INVALID").await;
    }
    assert_eq!(server.json("/v2/app/tags/list?last=C").await["tags"], json!(["a", "b"]));
    assert_eq!(server.json("/v2/app/tags/list").await["name"], "app");
}

#[tokio::test]
async fn referrers_are_listed_filtered_and_paged() {
    let server = Server::writable().await;
    let subject = image("subject", None);
    let mut referrers = Vec::new();
    for at in 0..3 {
        let mut json: Value = serde_json::from_slice(&index(&[]).raw).unwrap();
        json["subject"] = json!(subject.descriptor());
        json["artifactType"] = json!(format!("application/x+{}", at % 2));
        json["annotations"] = json!({ "large": "x".repeat(900_000), "at": at.to_string() });
        let referrer = Manifest::parse(json.to_string().into(), None, None).unwrap();
        let response = server.put("app", &referrer.digest.to_string(), &referrer).await;
        assert_eq!(response.status(), 201);
        assert_eq!(header(&response, "oci-subject"), subject.digest.to_string());
        referrers.push(json!(referrer.referrer_descriptor()));
    }
    referrers.sort_by_key(|referrer| referrer["digest"].to_string());
    let path = format!("/v2/app/referrers/{}", subject.digest);
    let first = server.get(&path).await;
    assert_eq!(header(&first, "content-type"), media_type::OCI_INDEX);
    assert_eq!(header(&first, "oci-filters-applied"), "");
    let link = header(&first, "link");
    let next = link.strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\""));
    let first: Value = serde_json::from_slice(&first.bytes().await.unwrap()).unwrap();
    let second = server.json(next.expect("there is more")).await;
    let listed = [first["manifests"].clone(), second["manifests"].clone()];
    let listed: Vec<Value> =
        listed.iter().flat_map(|list| list.as_array().unwrap().clone()).collect();
    assert_eq!(listed, referrers);
    assert_eq!(first["schemaVersion"], 2);
    let filtered = server.get(&format!("{path}?artifactType=application/x%2B1")).await;
    assert_eq!(header(&filtered, "oci-filters-applied"), "artifactType");
    let filtered: Value = serde_json::from_slice(&filtered.bytes().await.unwrap()).unwrap();
    assert_eq!(filtered["manifests"].as_array().unwrap().len(), 1);
    refused(server.get("/v2/app/referrers/x").await, 400, "DIGEST_INVALID").await;
}

#[tokio::test]
async fn one_layout_is_served_under_its_name() {
    let root = Arc::new(tempfile::tempdir().unwrap());
    let folder = root.path().join("app");
    tranship::layout::Layout::open_or_create(&folder).await.unwrap();
    let layouts = Layouts::open(&folder).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = server::registry(layouts, Options { writable: true, ..Options::default() });
    let task =
        tokio::spawn(server::serve(listener, router, Bounds::default(), std::future::pending()));
    let post = |name: &str| client().post(format!("http://{address}/v2/{name}/blobs/uploads/"));
    assert_eq!(post("app").send().await.unwrap().status(), 202);
    refused(post("other").send().await.unwrap(), 400, "NAME_INVALID").await;
    task.abort();
}

#[tokio::test]
async fn oci_client_pulls_from_it() {
    use oci_client::client::{Client, ClientConfig, ClientProtocol};
    let server = Server::writable().await;
    let manifest = server.put_index("acme/app", "1.0").await;
    let _ = client();
    let config = ClientConfig { protocol: ClientProtocol::Http, ..ClientConfig::default() };
    let theirs = Client::new(config);
    let reference = format!("{}/acme/app:1.0", server.address).parse().unwrap();
    let auth = oci_client::secrets::RegistryAuth::Anonymous;
    let (raw, digest) =
        theirs.pull_manifest_raw(&reference, &auth, &[media_type::OCI_INDEX]).await.unwrap();
    assert_eq!(raw, manifest.raw);
    assert_eq!(digest, manifest.digest.to_string());
}
