//! `tranship serve-layout`: layouts on disk as a registry for other people's clients.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tranship::oci::{Digest, media_type};

use crate::support::witness::Skopeo;
use crate::support::{Endpoint, Family, Image, Tranship, assert_same};

/// A server on its way; dropping it kills it.
struct Served {
    child: Child,
    address: SocketAddr,
    announced: String,
}

impl Served {
    /// Starts it, and waits for the line that says where it listens.
    async fn start(tranship: &Tranship, arguments: &[&str]) -> Self {
        let mut command = tranship.command();
        command.arg("serve-layout").args(arguments).args(["--listen", "127.0.0.1:0"]);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
        command.kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut announced = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let line = stdout.read_line(&mut announced);
        tokio::time::timeout(Duration::from_secs(20), line).await.unwrap().unwrap();
        let address = announced.strip_prefix("listening on ").unwrap().split(',').next().unwrap();
        let address = address.parse().unwrap();
        Self { child, address, announced }
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::plain(self.address.to_string())
    }

    async fn stop(mut self, signal: &str) {
        let pid = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().await.unwrap().success());
        let ended = tokio::time::timeout(Duration::from_secs(20), self.child.wait()).await;
        assert_eq!(ended.unwrap().unwrap().code(), Some(0));
    }
}

#[tokio::test]
async fn skopeo_pushes_pulls_and_finds_it_again() {
    let (tranship, skopeo) = (Tranship::new(), Skopeo::new());
    let served = Served::start(&tranship, &["images", "--writable"]).await;
    assert!(served.announced.contains("(writable, 0 repositories)"), "{}", served.announced);
    let image = Image::platforms(Family::Oci, "app", &["amd64", "arm64"]);
    image.push(&served.endpoint(), "acme/app", "1.0").await;
    let docker = |tag: &str| format!("docker://{}/acme/app:{tag}", served.address);
    let layout = format!("oci:{}:x", tranship.home().join("out").display());
    skopeo.copy(&docker("1.0"), &layout).await;
    skopeo.copy(&layout, &docker("2.0")).await;
    assert_eq!(skopeo.inspect_raw(&docker("2.0")).await.as_bytes(), image.bytes);
    served.stop("-TERM").await;
    // What was pushed is on disk, for the next server, which only reads.
    let served = Served::start(&tranship, &["images"]).await;
    assert!(served.announced.contains("(read-only, 1 repository)"), "{}", served.announced);
    assert_eq!(skopeo.list_tags(&served.endpoint(), "acme/app").await, ["1.0", "2.0"]);
    let put = served.endpoint().delete("acme/app", "2.0").await;
    assert_eq!(put.as_u16(), 405);
    served.stop("-INT").await;
}

#[tokio::test]
async fn a_single_layout_gets_the_name_that_is_asked_for() {
    let (tranship, skopeo) = (Tranship::new(), Skopeo::new());
    let writable = Served::start(&tranship, &["images", "--writable"]).await;
    let image = Image::single(Family::Docker, "app", &[1_000]);
    image.push(&writable.endpoint(), "app", "1.0").await;
    let served = Served::start(&tranship, &["images/app", "--name", "acme/web"]).await;
    let reference = format!("docker://{}/acme/web:1.0", served.address);
    assert_eq!(skopeo.inspect_raw(&reference).await.as_bytes(), image.bytes);
    assert_same(&writable.endpoint(), &writable.endpoint(), "app", "1.0").await;
    let finished = tranship.run(["serve-layout", "images", "--name", "acme/web"]).await;
    assert_eq!(finished.code, Some(2));
    assert!(finished.stderr.contains("--name is for a single layout"), "{finished:?}");
}

#[tokio::test]
async fn what_cannot_be_served_is_said_before_listening() {
    let tranship = Tranship::new();
    let refused = async |arguments: &[&str], code: i32, words: &str| {
        let finished = tranship.run([&["serve-layout"], arguments].concat()).await;
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(code), ""), "{finished:?}");
        assert!(finished.stderr.contains(words), "{finished:?}");
    };
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:5000"] {
        let arguments = ["images", "--writable", "--listen", address];
        refused(&arguments, 2, "--allow-remote-writes").await;
    }
    assert!(!tranship.home().join("images").exists());
    refused(&["images", "--allow-remote-writes"], 2, "--writable").await;
    refused(&["images"], 1, "images").await;
    refused(&["images", "--listen", "5000"], 2, "invalid socket address").await;
    std::fs::create_dir(tranship.home().join("images")).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    refused(&["images", "--listen", &address], 1, &format!("failed to listen on {address}")).await;
    // The flag lifts the refusal: the address is what fails then, because it is not ours.
    let remote = ["images", "--writable", "--allow-remote-writes", "--listen", "192.0.2.1:5000"];
    refused(&remote, 1, "failed to listen on 192.0.2.1:5000").await;
}

#[tokio::test]
async fn the_announcement_can_be_read_by_programs() {
    let tranship = Tranship::new();
    let mut command = tranship.command();
    command.args(["serve-layout", "images", "--writable", "--listen", "127.0.0.1:0"]);
    command.args(["--output", "json"]).stdout(std::process::Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut text = String::new();
    let document: Value = loop {
        let line = tokio::time::timeout(Duration::from_secs(20), lines.next_line()).await;
        text.push_str(&line.unwrap().unwrap().unwrap());
        if let Ok(document) = serde_json::from_str(&text) {
            break document;
        }
    };
    let address: SocketAddr = document["address"].as_str().unwrap().parse().unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_ok());
    assert_eq!(
        (&document["writable"], &document["repositories"]),
        (&true.into(), &Value::Array(Vec::new()))
    );
    child.kill().await.unwrap();
}

/// A page in a browser on this machine must not push, read or delete.
#[tokio::test]
async fn web_pages_are_not_served() {
    let tranship = Tranship::new();
    let served = Served::start(&tranship, &["images", "--writable"]).await;
    Image::single(Family::Oci, "app", &[100]).push(&served.endpoint(), "acme/app", "1.0").await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let status = async |method: &str, header: (&str, &str)| {
        let url = format!("http://{}/v2/acme/app/manifests/1.0", served.address);
        let method = method.parse::<http::Method>().unwrap();
        let request = client.request(method, url).header(header.0, header.1);
        request.send().await.unwrap().status().as_u16()
    };
    let pages = [
        ("origin", "https://evil.example"),
        ("sec-fetch-site", "cross-site"),
        ("host", "evil.example"),
    ];
    for header in pages {
        for method in ["GET", "DELETE", "PUT"] {
            assert_eq!(status(method, header).await, 403, "{method} {header:?}");
        }
    }
    assert_eq!(status("GET", ("sec-fetch-site", "none")).await, 200);
    assert_eq!(served.endpoint().tags("acme/app").await, ["1.0"]);
    served.stop("-TERM").await;
}

/// A manifest is served, listed and deleted by the digest that it was pushed with, whatever its
/// algorithm. `OCI-Tag` names the tags that it got.
#[tokio::test]
async fn manifests_are_pushed_by_any_digest_with_their_tags() {
    let tranship = Tranship::new();
    let served = Served::start(&tranship, &["images", "--writable"]).await;
    let base = format!("http://{}/v2/app/manifests", served.address);
    let client = reqwest::Client::new();
    for algorithm in ["sha256", "sha512"] {
        let body = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[],"annotations":{{"a":"{algorithm}"}}}}"#,
            media_type::OCI_INDEX
        );
        let zero: Digest = match algorithm {
            "sha256" => Digest::of(b""),
            _ => format!("sha512:{}", "0".repeat(128)).parse().unwrap(),
        };
        let digest = zero.same_of(body.as_bytes()).to_string();
        let put = client
            .put(format!("{base}/{digest}?tag={algorithm}-1&tag={algorithm}-2"))
            .header("content-type", media_type::OCI_INDEX)
            .body(body.clone());
        let answer = put.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 201);
        assert_eq!(answer.headers()["docker-content-digest"], digest);
        let tags: Vec<_> = answer.headers().get_all("oci-tag").iter().collect();
        assert_eq!(tags, [&format!("{algorithm}-1"), &format!("{algorithm}-2")]);
        let references = [digest.clone(), format!("{algorithm}-1"), format!("{algorithm}-2")];
        for reference in &references {
            let answer = client.get(format!("{base}/{reference}")).send().await.unwrap();
            assert_eq!(answer.headers()["docker-content-digest"], digest, "{reference}");
            assert_eq!(answer.text().await.unwrap(), body, "{reference}");
        }
        let deleted = client.delete(format!("{base}/{digest}")).send().await.unwrap();
        assert_eq!(deleted.status().as_u16(), 202);
        for reference in &references {
            let answer = client.get(format!("{base}/{reference}")).send().await.unwrap();
            assert_eq!(answer.status().as_u16(), 404, "{reference}");
        }
    }
    let digest = Digest::of(b"{}");
    let put = client.put(format!("{base}/{digest}?tag=no%20tag")).body("{}").send().await.unwrap();
    assert_eq!(put.status().as_u16(), 400);
}
