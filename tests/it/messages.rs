//! What people read when something is wrong with a registry: one cause, one message, once.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};

use crate::mirror_setup::Mirror;
use crate::support::pki::{Authority, Identity};
use crate::support::process::{Finished, Running};
use crate::support::scripted::Login;
use crate::support::{
    DockerRegistry, Family, Fault, Image, Kind, LayoutRegistry, Place, Scripted, Tranship,
};

/// A server that does nothing but greet, and counts who connects. It ends when dropped.
struct Greeter {
    address: SocketAddr,
    greeted: Arc<AtomicUsize>,
    ends: Arc<AtomicBool>,
}

impl Greeter {
    fn start(greet: impl Fn(TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (greeted, ends) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, end) = (greeted.clone(), ends.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                count.fetch_add(1, Ordering::SeqCst);
                greet(stream.unwrap());
            }
        });
        Self { address, greeted, ends }
    }

    /// With TLS and this certificate.
    fn tls(identity: &Identity) -> Self {
        let chain = CertificateDer::pem_slice_iter(identity.certificate.as_bytes());
        let chain: Vec<_> = chain.map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let config = Arc::new(config);
        Self::start(move |mut stream| {
            let mut connection = ServerConnection::new(config.clone()).unwrap();
            // The client ends it.
            while connection.is_handshaking() && connection.complete_io(&mut stream).is_ok() {}
        })
    }

    /// That answers everything with this.
    fn answering(answer: &'static str) -> Self {
        Self::start(move |mut stream| {
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
                request.push(byte[0]);
            }
            let _ = stream.write_all(answer.as_bytes());
        })
    }

    fn count(&self) -> usize {
        self.greeted.load(Ordering::SeqCst)
    }
}

impl Drop for Greeter {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

/// Where nothing listens.
fn closed() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn image(name: &str) -> Image {
    Image::single(Family::Oci, name, &[10])
}

async fn tags(tranship: &Tranship, host: &str, more: &[&str]) -> Finished {
    tranship.run(["list-tags", &format!("{host}/acme/app")].iter().chain(more)).await
}

fn assert_told(finished: &Finished, lines: &[&str]) {
    let expected: String = lines.iter().map(|line| format!("{line}\n")).collect();
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(1), expected.as_str()));
}

const CA_HINT: &str = "hint: set ca_file for this registry, or put the authority into its certs.d folder (docs/credentials.md), or name a folder that has it with --cert-dir";
const CLOCK_HINT: &str =
    "hint: check the clock of this machine; if it is right, renew the certificate of the server";

#[tokio::test]
async fn each_kind_of_bad_certificate_has_words_of_its_own() {
    let (authority, other) = (Authority::new(), Authority::of_name("another authority"));
    let valid = ((2020, 1, 1), (2040, 1, 1));
    let cases = [
        (
            other.server_of("127.0.0.1", valid.0, valid.1),
            "is from an authority that is not trusted here",
            CA_HINT,
        ),
        (Identity::self_signed(), "is self-signed, and not trusted here", CA_HINT),
        (
            authority.server_of("127.0.0.1", (2020, 1, 1), (2021, 2, 3)),
            "expired at 2021-02-03 00:00 UTC, and it is 20",
            CLOCK_HINT,
        ),
        (
            authority.server_of("127.0.0.1", (2039, 1, 1), (2040, 1, 1)),
            "is not valid before 2039-01-01 00:00 UTC, and it is 20",
            CLOCK_HINT,
        ),
        (
            authority.server_of("other.example", valid.0, valid.1),
            "is for another host: other.example",
            "hint: use a name that the certificate has, or have a certificate issued for this one",
        ),
    ];
    let tranship = Tranship::new();
    tranship.write("ca.pem", &authority.pem);
    for (identity, words, hint) in cases {
        let server = Greeter::tls(&identity);
        let host = server.address.to_string();
        tranship.write("tranship.toml", format!("[registry.\"{host}\"]\nca_file = \"ca.pem\"\n"));
        let finished = tags(&tranship, &host, &[]).await;
        let expected = format!(
            "error: failed to list tags of {host}/acme/app: the certificate of {host} {words}"
        );
        let lines: Vec<_> = finished.stderr.lines().collect();
        assert!(lines[0].starts_with(&expected), "{finished:?}");
        assert_eq!((finished.code, &lines[1..]), (Some(1), &[hint][..]), "{finished:?}");
        assert_eq!(server.count(), 1, "what cannot succeed is not tried again: {finished:?}");
    }
}

#[tokio::test]
async fn hosts_that_cannot_be_spoken_to_are_told_apart() {
    let tranship = Tranship::new();
    let reach = "hint: check the host and the port, and that the registry runs and can be reached from this machine";
    let host = closed().to_string();
    assert_told(
        &tags(&tranship, &host, &[]).await,
        &[
            &format!(
                "error: failed to list tags of {host}/acme/app: nothing accepts connections at {host} (connection refused) (tried 5 times)"
            ),
            reach,
        ],
    );

    // It ends the connection where TLS begins, and Go's server answers.
    let plain = Scripted::start();
    let told = tags(&tranship, plain.host(), &[]).await;
    let words = "ended the connection while TLS was set up; it may not speak TLS (tried 5 times)";
    assert!(told.stderr.contains(words), "{told:?}");
    let plain = DockerRegistry::start().await;
    let host = plain.host();
    assert_told(
        &tags(&tranship, host, &[]).await,
        &[
            &format!(
                "error: failed to list tags of {host}/acme/app: {host} does not speak TLS; it may speak plain http"
            ),
            "hint: if the registry has no TLS, set insecure = \"http\" for it, or use --insecure http or --tls-verify=false",
        ],
    );

    let tls = DockerRegistry::new().tls().run().await;
    let host = tls.host();
    assert_told(
        &tags(&tranship, host, &["--insecure", "http"]).await,
        &[
            &format!(
                "error: failed to list tags of {host}/acme/app: the registry answered 400 Bad Request: Client sent an HTTP request to an HTTPS server."
            ),
            "hint: leave out insecure = \"http\" or --insecure http for this registry",
        ],
    );
    // Another server that speaks TLS only: it answers with an alert.
    let tls = Greeter::answering("\u{15}\u{3}\u{1}\0\u{2}\u{2}\u{a}");
    let host = tls.address.to_string();
    let told = tags(&tranship, &host, &["--insecure", "http"]).await;
    let words = format!("{host} does not speak http; it may speak https");
    assert!(told.stderr.contains(&words), "{told:?}");

    let host = "no-such-host.invalid";
    let told = tags(&tranship, host, &[]).await;
    let words = format!(
        "error: failed to list tags of {host}/acme/app: the name {host} cannot be resolved: "
    );
    assert!(told.stderr.starts_with(&words), "{told:?}");
}

#[tokio::test]
async fn proxies_are_named_with_their_variable() {
    let wants = Greeter::answering(
        "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    );
    let refuses = Greeter::answering(
        "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    );
    let closed = closed();
    let password = "wants a user name and a password, or does not accept those that it got";
    let down =
        format!("cannot be used: nothing accepts connections at {closed} (connection refused)");
    let cases = [
        ("HTTPS_PROXY", wants.address, "https", password),
        ("http_proxy", wants.address, "http", password),
        ("https_proxy", refuses.address, "https", "refuses to connect to registry.test:443"),
        ("ALL_PROXY", closed, "https", &down),
        ("HTTP_PROXY", closed, "http", &down),
    ];
    let tranship = Tranship::new();
    for (variable, address, scheme, words) in cases {
        let mut command = tranship.command();
        command.args(["list-tags", "registry.test/acme/app"]).env_remove("NO_PROXY");
        if scheme == "http" {
            command.args(["--insecure", "http"]);
        }
        command.env(variable, format!("http://bot:s3cret@{address}"));
        let finished = Running::new(&mut command).finish().await;
        assert_eq!(finished.code, Some(1), "{finished:?}");
        let expected = format!(
            "error: failed to list tags of registry.test/acme/app: the proxy http://{address} (from {variable}) {words}"
        );
        assert!(finished.stderr.starts_with(&expected), "{expected}\n{finished:?}");
        let hint = "hint: correct the proxy, or exclude the registry from it with NO_PROXY (docs/operations.md)\n";
        assert!(finished.stderr.ends_with(hint), "{finished:?}");
        assert!(!finished.stderr.contains("s3cret"), "{finished:?}");
    }
}

/// A login page of a network, or a wrong address.
#[tokio::test]
async fn a_web_page_is_not_taken_for_a_registry() {
    let page = Greeter::answering(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: 50\r\nConnection: close\r\n\r\n<html><head><title>Welcome to WiFi</title></head/>",
    );
    let (tranship, host) = (Tranship::new(), page.address.to_string());
    let expected = |step: &str, name: &str, title: &str| {
        [
            format!(
                "error: failed to {step} {name}: 127.0.0.1 answered with a web page{title} and not as a registry"
            ),
            "hint: check the host and the port: a web server, a login page of the network or a proxy has answered".to_owned(),
        ]
    };
    let [error, hint] =
        expected("list tags of", &format!("{host}/acme/app"), " (\"Welcome to WiFi\")");
    assert_told(&tags(&tranship, &host, &["--insecure", "http"]).await, &[&error, &hint]);
}

#[tokio::test]
async fn what_a_registry_refuses_has_a_hint() {
    let registry = Scripted::start();
    let host = registry.host();
    let tranship = Tranship::new();
    tranship.write("tranship.toml", format!("[registry.\"{host}\"]\ninsecure = \"http\"\n"));
    let source = Scripted::start();
    image("app").load(&source, "acme/app", "1");
    let cases = [
        (
            Fault::status(412).error(
                "PRECONDITION",
                "Failed to process request due to '1' configured as immutable.",
            ),
            "the registry answered 412 Precondition Failed: PRECONDITION: Failed to process request due to '1' configured as immutable.",
            "the registry does not allow this tag to be changed: exclude it, or set on_conflict = \"keep\"",
        ),
        (
            Fault::status(412).error(
                "PROJECTPOLICYVIOLATION",
                "current image with 3 vulnerabilities cannot be pulled",
            ),
            "the registry answered 412 Precondition Failed: PROJECTPOLICYVIOLATION: current image with 3 vulnerabilities cannot be pulled",
            "the policy is set in the registry, such as one about vulnerabilities or signatures: change it there, or exclude the image",
        ),
        (
            Fault::status(507),
            "the registry answered 507 Insufficient Storage",
            "free space in the storage of the registry, or raise its quota",
        ),
        (
            Fault::status(500).error("UNKNOWN", "filesystem: write /x: no space left on device"),
            "the registry answered 500 Internal Server Error: UNKNOWN: filesystem: write /x: no space left on device",
            "free space in the storage of the registry, or raise its quota",
        ),
    ];
    let target = format!("{host}/acme/app:1");
    for (fault, words, hint) in cases {
        let refused = registry.on("PUT", Kind::Manifest).fail(fault);
        let from = source.reference("acme/app", "1");
        let insecure = format!("{}=http", source.host());
        let finished = tranship.run(["copy", &from, &target, "--insecure", &insecure]).await;
        assert_eq!(finished.code, Some(1), "{finished:?}");
        let expected = format!("  failed to put manifest {target}: {words}\n  hint: {hint}\n");
        assert!(finished.stderr.ends_with(&expected), "{expected}\n{finished:?}");
        assert_eq!(refused.count(), 1, "{finished:?}");
        registry.clear_rules();
    }
}

#[tokio::test]
async fn not_found_says_whether_it_is_the_repository_or_the_tag() {
    let registry = Scripted::start();
    image("app").load(&registry, "acme/app", "1");
    let (tranship, host) = (Tranship::new(), registry.host());
    let digest = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let tags = "hint: `tranship list-tags REPOSITORY` shows the tags that are there\n";
    let name = "hint: check the name, and that these credentials may see the repository\n";
    let cases = [
        ("acme/app:2".to_owned(), "the repository has no such tag", tags),
        ("acme/none:1".to_owned(), "there is no such repository", name),
        (format!("acme/app@{digest}"), "the repository has no manifest with this digest", ""),
    ];
    for (image, words, hint) in cases {
        let image = format!("{host}/{image}");
        for (command, step) in
            [("inspect", "inspect"), ("manifest-digest", "look up"), ("delete", "delete")]
        {
            let finished = tranship.run([command, &image, "--insecure", "http"]).await;
            let expected = format!("error: failed to {step} {image}: {words}\n{hint}");
            assert_eq!((finished.code, finished.stderr), (Some(1), expected));
        }
        let finished = tranship.run(["copy", &image, "oci:layout", "--insecure", "http"]).await;
        let expected = format!("  failed to read {image}: {words}\n");
        assert!(finished.stderr.contains(&expected), "{finished:?}");
    }
}

/// Each command names the options that it has, and the ones of the side that is meant.
#[tokio::test]
async fn hints_name_the_options_of_the_command() {
    let source = Scripted::start();
    image("app").load(&source, "acme/app", "1");
    let from = source.reference("acme/app", "1");
    let (plain, untrusted) =
        (DockerRegistry::start().await, Greeter::tls(&Authority::new().server()));
    let (plain, untrusted) = (plain.host(), untrusted.address.to_string());
    let tranship = Tranship::new();
    tranship
        .write("tranship.toml", format!("[registry.\"{}\"]\ninsecure = \"http\"\n", source.host()));
    let ca = CA_HINT.trim_end_matches(", or name a folder that has it with --cert-dir");
    let folder = |options: &str| format!("{ca}, or name a folder that has it with {options}\n");
    let http = |options: &str| {
        format!(
            "hint: if the registry has no TLS, set insecure = \"http\" for it, or use --insecure http or {options}\n"
        )
    };
    for (line, hint) in [
        (format!("list-repos {untrusted}"), folder("--cert-dir")),
        (format!("list-repos {plain}"), http("--tls-verify=false")),
        (format!("manifest-digest {untrusted}/app:1"), folder("--cert-dir")),
        (format!("delete {plain}/app:1"), http("--tls-verify=false")),
        (format!("copy {from} {untrusted}/app:1"), folder("--dest-cert-dir")),
        (format!("copy {from} {plain}/app:1"), http("--dest-tls-verify=false")),
        (format!("copy {untrusted}/app:1 {from}"), folder("--src-cert-dir")),
        (
            format!("sync --src docker --dest docker {from} {untrusted}/app"),
            folder("--dest-cert-dir"),
        ),
        (format!("verify {from} {untrusted}/app:1"), folder("--dest-cert-dir")),
        (format!("verify --no-referrers {plain}/app:1 {from}"), http("--src-tls-verify=false")),
    ] {
        let told = tranship.run(line.split(' ')).await;
        assert_eq!(told.code, Some(1), "{line}\n{told:?}");
        let all = format!("{}{}", told.stderr, told.stdout);
        assert!(all.contains(&hint), "{line}\n{hint}\n{told:?}");
    }
    // A rule has its settings from the configuration.
    let mirror = Mirror::new().http(&source).rule("r", &rule(&source, &untrusted));
    let told = mirror.run(&[]).await;
    assert!(told.stderr.contains(&format!("{ca}\n")), "{told:?}");
    assert!(!told.stderr.contains("--"), "{told:?}");
}

/// Thirty tags, and a mirror of them.
fn thirty(source: &Scripted) {
    for at in 0..30 {
        image(&format!("app{at}")).load(source, "acme/app", &format!("v{at:02}"));
    }
}

fn rule(source: &impl Place, target: &str) -> String {
    format!("source = \"{}/acme/app\"\ntarget = \"{target}/acme/app\"", source.host())
}

/// The lines that begin with `FAILED`, and all that follow until the summary.
fn told(finished: &Finished) -> Vec<&str> {
    finished.stderr.lines().collect()
}

#[tokio::test]
async fn a_registry_that_cannot_be_used_is_told_once_and_not_asked_again_and_again() {
    let source = Scripted::start();
    thirty(&source);
    let untrusted = Greeter::tls(&Authority::new().server());
    let host = untrusted.address.to_string();
    let mirror = Mirror::new().http(&source).rule("r", &rule(&source, &host));
    let finished = mirror.run(&[]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    let lines = told(&finished);
    assert_eq!(finished.stderr.matches("certificate").count(), 1, "{finished:?}");
    assert!(lines.len() <= 3, "{finished:?}");
    assert!(untrusted.count() <= 16, "{}", untrusted.count());
    // Scripts are told of each image.
    let report = mirror.fail().await;
    let all: Vec<_> = report.images().collect();
    for image in all {
        assert_eq!(image["errors"][0]["registry"], host, "{image}");
    }

    let closed = closed().to_string();
    let mirror = Mirror::new().http(&source).rule("r", &rule(&source, &closed));
    let begin = std::time::Instant::now();
    let finished = mirror.run(&[]).await;
    assert_eq!(finished.stderr.matches("nothing accepts connections").count(), 1, "{finished:?}");
    // The retries of one request, not of thirty.
    assert!(begin.elapsed().as_secs() < 20, "{finished:?}");
}

/// Nothing is sent to a registry with such a file, whichever repository is meant.
#[tokio::test]
async fn a_certificate_file_that_cannot_be_used_is_told_once() {
    let source = Scripted::start();
    for at in 0..30 {
        image(&format!("app{at}")).load(&source, &format!("acme/app{at:02}"), "1");
    }
    let target = Greeter::tls(&Authority::new().server());
    let host = target.address.to_string();
    let lines =
        format!("source = \"{}/acme/**\"\ntarget = \"{host}/{{repository}}\"", source.host());
    let mirror = Mirror::new().http(&source).rule("r", &lines);
    let folder = mirror.tranship.home().join(".config/containers/certs.d").join(&host);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("ca.crt"), "junk").unwrap();
    let finished = mirror.run(&[]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    let lines = told(&finished);
    assert_eq!(lines.len(), 3, "{finished:?}");
    assert!(
        lines[0].starts_with(&format!("FAILED 30 repositories: {host}/acme/app")),
        "{finished:?}"
    );
    assert!(lines[0].ends_with(" and 27 more"), "{finished:?}");
    let why = "there is no certificate in it, which begins with `-----BEGIN CERTIFICATE-----`; it is not a PEM file";
    let ca = folder.join("ca.crt");
    assert_eq!(lines[1], format!("  {host}: {} cannot be used: {why}", ca.display()));
    assert!(
        lines[2].starts_with("  hint: `tranship config check` checks these files"),
        "{finished:?}"
    );
    assert_eq!(target.count(), 0);

    // The same of a pair of client certificate and key.
    std::fs::remove_file(ca).unwrap();
    let (one, other) = (Authority::new().client(), Authority::new().client());
    std::fs::write(folder.join("c.cert"), one.certificate).unwrap();
    std::fs::write(folder.join("c.key"), other.key).unwrap();
    let finished = mirror.run(&[]).await;
    let why = "c.key cannot be used: its private key does not belong to the client certificate";
    assert_eq!(finished.stderr.matches(why).count(), 1, "{finished:?}");
    assert_eq!((told(&finished).len(), target.count()), (3, 0), "{finished:?}");
}

#[tokio::test]
async fn a_wrong_password_is_told_once_and_not_tried_for_each_image() {
    let mut source = Scripted::start();
    thirty(&source);
    let (user, password) = ("alice".to_owned(), "right".to_owned());
    source.require(Login::Basic { user, password });
    let target = LayoutRegistry::start().await;
    let tags: Vec<_> = (0..30).map(|at| format!("\"v{at:02}\"")).collect();
    let lines =
        format!("{}\ntags = {{ include = [{}] }}", rule(&source, target.host()), tags.join(", "));
    let settings = "insecure = \"http\"\nusername = \"bob\"\npassword = { file = \"password\" }";
    let mirror = Mirror::new().registry(&source, settings).http(&target).rule("r", &lines);
    mirror.tranship.write("password", "wr0ng");
    let mark = source.mark();
    let finished = mirror.run(&[]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    let lines = told(&finished);
    assert_eq!(finished.stderr.matches("user `bob`, password from").count(), 1, "{finished:?}");
    assert!(lines.len() <= 3, "{finished:?}");
    let asked = source.requests_since(mark);
    assert!(asked.len() <= 40, "{}", asked.len());
}

#[tokio::test]
async fn nothing_is_different_that_could_not_be_compared() {
    let source = Scripted::start();
    image("app").load(&source, "acme/app", "1");
    let closed = closed().to_string();
    let tranship = Tranship::new();
    let (from, to) = (source.reference("acme/app", "1"), format!("{closed}/acme/app:1"));
    let finished =
        tranship.run(["verify", &from, &to, "--insecure", "http", "--no-referrers"]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    let all = format!("{}{}", finished.stdout, finished.stderr);
    assert!(!all.contains("DIFFERENT") && !all.contains("different"), "{all}");
    assert!(all.contains(&format!("could not compare {from} -> {to}\n")), "{all}");
    assert!(all.contains("0 of 1 image equal, 1 could not be compared"), "{all}");
}
