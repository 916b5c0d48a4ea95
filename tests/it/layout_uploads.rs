//! Uploads to the registry over layouts, as an HTTP client sees them.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tranship::oci::{Digest, Manifest, media_type};
use tranship::server::Options;

use crate::conformance::bytes;
use crate::layout_server::{Server, header, refused};

#[tokio::test]
async fn blobs_are_pushed_in_one_request_or_in_chunks() {
    let server = Server::writable().await;
    let content = bytes("chunks", 500_000);
    let digest = Digest::of(&content);
    let location = server.begin("app").await;
    let fresh = server.get(&location).await;
    assert_eq!((fresh.status().as_u16(), header(&fresh, "range").as_str()), (204, "0-0"));
    let first = server
        .send("PATCH", &location, &[("content-range", "0-199999")], content[..200_000].to_vec())
        .await;
    assert_eq!((first.status().as_u16(), header(&first, "range").as_str()), (202, "0-199999"));
    // A chunk from anywhere else is refused, and the answer says where to go on.
    for range in ["0-9", "200001-200010", "100000-100009"] {
        let range = [("content-range", range)];
        let wrong = server.send("PATCH", &location, &range, "x".repeat(10)).await;
        assert_eq!(header(&wrong, "range"), "0-199999");
        assert_eq!(header(&wrong, "location"), location);
        refused(wrong, 416, "BLOB_UPLOAD_INVALID").await;
    }
    let lying = [("content-range", "200000-200099")];
    refused(server.send("PATCH", &location, &lying, "x").await, 400, "SIZE_INVALID").await;
    let senseless = [("content-range", "some")];
    let senseless = server.send("PATCH", &location, &senseless, "x").await;
    refused(senseless, 400, "BLOB_UPLOAD_INVALID").await;
    // Without a range a chunk is appended.
    let second = server.send("PATCH", &location, &[], content[200_000..400_000].to_vec()).await;
    assert_eq!(header(&second, "range"), "0-399999");
    refused(server.send("PUT", &location, &[], "").await, 400, "DIGEST_INVALID").await;
    let close = format!("{location}?digest={digest}");
    let closed = server.send("PUT", &close, &[], content[400_000..].to_vec()).await;
    assert_eq!(closed.status(), 201);
    assert_eq!(header(&closed, "docker-content-digest"), digest.to_string());
    let blob = header(&closed, "location");
    assert!(server.get(&blob).await.bytes().await.unwrap() == content);
    refused(server.get(&location).await, 404, "BLOB_UPLOAD_UNKNOWN").await;
    let whole = server.begin("app").await;
    let close = format!("{whole}?digest={}", Digest::of(b"whole"));
    assert_eq!(server.send("PUT", &close, &[], "whole").await.status(), 201);
}

#[tokio::test]
async fn what_has_another_digest_is_not_kept() {
    let server = Server::writable().await;
    let digest = Digest::of(b"announced");
    let location = server.begin("app").await;
    let close = format!("{location}?digest={digest}");
    refused(server.send("PUT", &close, &[], "other").await, 400, "DIGEST_INVALID").await;
    refused(server.get(&location).await, 404, "BLOB_UPLOAD_UNKNOWN").await;
    let single = format!("/v2/app/blobs/uploads/?digest={digest}");
    refused(server.send("POST", &single, &[], "other").await, 400, "DIGEST_INVALID").await;
    refused(server.get(&format!("/v2/app/blobs/{digest}")).await, 404, "BLOB_UNKNOWN").await;
}

#[tokio::test]
async fn an_upload_belongs_to_its_repository_and_can_be_cancelled() {
    let server = Server::writable().await;
    server.put_index("other", "1").await;
    let location = server.begin("app").await;
    let elsewhere = location.replace("/v2/app/", "/v2/other/");
    for method in ["GET", "PATCH", "DELETE"] {
        let response = server.send(method, &elsewhere, &[], "").await;
        refused(response, 404, "BLOB_UPLOAD_UNKNOWN").await;
    }
    assert_eq!(server.send("DELETE", &location, &[], "").await.status(), 204);
    for method in ["GET", "PATCH", "DELETE"] {
        let response = server.send(method, &location, &[], "").await;
        refused(response, 404, "BLOB_UPLOAD_UNKNOWN").await;
    }
}

#[tokio::test]
async fn blobs_are_mounted() {
    let server = Server::writable().await;
    let digest = server.push("base", b"a layer").await;
    let mount = |query: String| {
        let path = format!("/v2/app/blobs/uploads/?mount={digest}{query}");
        let server = &server;
        async move { server.send("POST", &path, &[], "").await }
    };
    for query in ["", "&from=no/such", "&from=../base"] {
        let opened = mount(query.to_owned()).await;
        assert_eq!(opened.status(), 202, "{query}");
        assert_eq!(server.get(&header(&opened, "location")).await.status(), 204);
    }
    let mounted = mount("&from=base".to_owned()).await;
    assert_eq!(mounted.status(), 201);
    assert_eq!(header(&mounted, "docker-content-digest"), digest.to_string());
    assert_eq!(server.get(&header(&mounted, "location")).await.bytes().await.unwrap(), "a layer");
    // It has the blob now, whatever is asked to be mounted from.
    assert_eq!(mount(String::new()).await.status(), 201);
}

/// Sends a request whose body ends before its announced end, and closes the connection.
async fn send_half(server: &Server, head: &str, length: usize, half: &[u8]) {
    let mut stream = TcpStream::connect(&server.address).await.unwrap();
    let head = format!("{head} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(half).await.unwrap();
    stream.shutdown().await.unwrap();
    // What is answered, if anything, comes when the server has seen the end.
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
}

#[tokio::test]
async fn a_body_cut_in_the_middle_is_kept_also_by_the_next_process() {
    let content = bytes("cut", 900_000);
    let digest = Digest::of(&content);
    let mut server = Server::writable().await;
    let location = server.begin("app").await;
    send_half(&server, &format!("PATCH {location}"), 900_000, &content[..300_001]).await;
    let status = server.get(&location).await;
    assert_eq!((status.status().as_u16(), header(&status, "range").as_str()), (204, "0-300000"));
    let options = Options { writable: true, ..Options::default() };
    server = Server::start(server.stop().await, options).await;
    let put = format!("PUT {location}?digest={digest}");
    send_half(&server, &put, 599_999, &content[300_001..500_000]).await;
    let status = server.get(&location).await;
    assert_eq!(header(&status, "range"), "0-499999");
    let rest = [("content-range", "500000-899999")];
    let rest = server.send("PATCH", &location, &rest, content[500_000..].to_vec()).await;
    assert_eq!(rest.status(), 202);
    let close = format!("{location}?digest={digest}");
    assert_eq!(server.send("PUT", &close, &[], "").await.status(), 201);
    let blob = server.get(&format!("/v2/app/blobs/{digest}")).await;
    assert!(blob.bytes().await.unwrap() == content);
}

#[tokio::test]
async fn a_silent_sender_is_not_waited_for() {
    let root = Arc::new(tempfile::tempdir().unwrap());
    let idle_timeout = Duration::from_millis(200);
    let options = Options { writable: true, idle_timeout, ..Options::default() };
    let server = Server::start(root, options).await;
    let location = server.begin("app").await;
    let mut stream = TcpStream::connect(&server.address).await.unwrap();
    let head = format!("PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    let read = stream.read_exact(&mut answer);
    tokio::time::timeout(Duration::from_secs(10), read).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 400");
    assert_eq!(header(&server.get(&location).await, "range"), "0-2");
}

/// Links and pipes in the served folder: what is behind them is neither read nor written, and nobody
/// waits for them.
#[tokio::test]
async fn nothing_outside_of_the_folder_is_served() {
    use std::os::unix::fs::symlink;

    let server = Server::writable().await;
    server.push("app", b"a layer").await;
    let root = server.root();
    let outside = tempfile::tempdir().unwrap();
    let other = tranship::layout::Layout::open_or_create(outside.path().join("secret")).await;
    drop(other.unwrap());
    let secret = Digest::of(b"a secret");
    let stored = outside.path().join("secret/blobs/sha256").join(secret.hex());
    std::fs::create_dir_all(stored.parent().unwrap()).unwrap();
    std::fs::write(&stored, "a secret").unwrap();
    symlink(outside.path().join("secret"), root.join("linked")).unwrap();
    let (linked, pipe) = (Digest::of(b"linked"), Digest::of(b"pipe"));
    let blobs = root.join("app/blobs/sha256");
    symlink("/etc/passwd", blobs.join(linked.hex())).unwrap();
    let made = std::process::Command::new("mkfifo").arg(blobs.join(pipe.hex())).status();
    assert!(made.unwrap().success());

    for digest in [&linked, &pipe] {
        refused(server.get(&format!("/v2/app/blobs/{digest}")).await, 404, "BLOB_UNKNOWN").await;
        let manifest = server.get(&format!("/v2/app/manifests/{digest}")).await;
        refused(manifest, 404, "MANIFEST_UNKNOWN").await;
    }
    refused(server.get(&format!("/v2/linked/blobs/{secret}")).await, 404, "NAME_UNKNOWN").await;
    let mount = format!("/v2/app/blobs/uploads/?mount={secret}&from=linked");
    assert_eq!(server.send("POST", &mount, &[], "").await.status(), 202);
    for name in ["linked", "linked/new"] {
        let digest = Digest::of(b"written");
        let path = format!("/v2/{name}/blobs/uploads/?digest={digest}");
        let status = server.send("POST", &path, &[], "written").await.status();
        assert!(!status.is_success(), "{name}: {status}");
    }
    assert_eq!(std::fs::read_dir(stored.parent().unwrap()).unwrap().count(), 1);
    assert!(!outside.path().join("secret/new").exists());
    // What is in the way of a blob is replaced.
    server.push("app", b"linked").await;
    server.push("app", b"pipe").await;
    let got = server.get(&format!("/v2/app/blobs/{linked}")).await;
    assert_eq!(got.bytes().await.unwrap(), "linked");
}

/// A client that finds a damaged blob, and is told so when it puts the manifest, can send it again.
#[tokio::test]
async fn a_damaged_blob_can_be_pushed_again() {
    let server = Server::writable().await;
    let config = server.push("app", b"a config").await;
    let file = server.root().join("app/blobs/sha256").join(config.hex());
    std::fs::write(&file, "a conf").unwrap();
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "layers": [],
        "config": { "mediaType": "application/x", "digest": config, "size": 8 },
    });
    let manifest = Manifest::parse(manifest.to_string().into(), None, None).unwrap();
    refused(server.put("app", "t", &manifest).await, 404, "MANIFEST_BLOB_UNKNOWN").await;
    let path = format!("/v2/app/blobs/{config}");
    assert_eq!(server.send("HEAD", &path, &[], "").await.status(), 404);
    server.push("app", b"a config").await;
    assert_eq!(server.put("app", "t", &manifest).await.status(), 201);
}
