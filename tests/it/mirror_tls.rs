//! TLS with an authority of one's own, client certificates, none of it, and proxies.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::mirror_setup::{Mirror, Report};
use crate::support::process::Running;
use crate::support::{
    DockerRegistry, Family, Image, LayoutRegistry, Place, TokenServer, assert_same,
};

fn image() -> Image {
    Image::single(Family::Oci, "app", &[1_000, 200_000])
}

fn rule(source: &impl Place, target: &impl Place) -> String {
    format!("source = \"{}/app\"\ntarget = \"{}/app\"", source.host(), target.host())
}

#[tokio::test]
async fn an_authority_of_ones_own_is_trusted_where_it_is_named() {
    let run = || DockerRegistry::new().tls().htpasswd("bot", "s3cret").run();
    let (source, target) = tokio::join!(run(), run());
    image().push(&source, "app", "v1").await;
    let login = "username = \"bot\"\npassword = { file = \"password\" }";
    let trusting =
        |place: &DockerRegistry| format!("{login}\nca_file = \"{}\"", place.ca_file().display());
    let mirror = Mirror::new();
    mirror.tranship.write("password", "s3cret");
    let mirror = mirror
        .registry(&source, &trusting(&source))
        .registry(&target, &trusting(&target))
        .rule("r", &rule(&source, &target));
    mirror.sync().await.assert_copied(1, 0);
    assert_same(&source, &target, "app", "v1").await;

    // Each registry's authority is trusted for that registry only, and no credentials go to one
    // that is not trusted.
    let mark = target.mark().await;
    let mirror = mirror.registry(&target, &trusting(&source));
    std::fs::remove_dir_all(mirror.state()).unwrap();
    let report = mirror.fail().await;
    let words = report.words();
    assert!(words.contains("certificate") && words.contains("set ca_file"), "{words}");
    assert!(words.contains(target.host()), "{words}");
    assert!(target.requests_since(mark).await.is_empty());
}

/// As curl, docker and skopeo accept it.
#[tokio::test]
async fn a_certificate_that_signs_itself_is_trusted_where_it_is_listed() {
    let run = || DockerRegistry::new().self_signed().run();
    let (source, target) = tokio::join!(run(), run());
    image().push(&source, "app", "v1").await;
    let trusting = |place: &DockerRegistry| format!("ca_file = \"{}\"", place.ca_file().display());
    let mirror = Mirror::new()
        .registry(&source, &trusting(&source))
        .registry(&target, &trusting(&target))
        .rule("r", &rule(&source, &target));
    mirror.sync().await.assert_copied(1, 0);
    assert_same(&source, &target, "app", "v1").await;

    let mirror = mirror.registry(&target, &trusting(&source));
    std::fs::remove_dir_all(mirror.state()).unwrap();
    let words = mirror.fail().await.words();
    assert!(words.contains("certificate") && words.contains(target.host()), "{words}");
}

/// A registry that sends clients for their tokens to another host, and the name of that host: another
/// name is another host, at the same address too.
async fn guarded_by(server: &DockerRegistry) -> (DockerRegistry, String) {
    let other = server.host().replace("127.0.0.1", "localhost");
    let realm = format!("https://{other}/v2/token");
    let source =
        DockerRegistry::new().tls().tokens(&TokenServer::start()).realm(&realm).run().await;
    (source, other)
}

/// Who may be spoken to without a look at its certificate is the registry, not its token server: that
/// one would get the password.
#[tokio::test]
async fn a_token_server_has_tls_settings_of_its_own() {
    let server = DockerRegistry::new().tls().run().await;
    let (source, other) = guarded_by(&server).await;
    let target = LayoutRegistry::start().await;
    let unchecked = "insecure = \"no-verify\"";
    let login = "username = \"bot\"\npassword = { file = \"password\" }";
    let mirror = Mirror::new();
    mirror.tranship.write("password", "s3cret");
    let mirror = mirror
        .registry(&source, &format!("{unchecked}\n{login}\nauth_realms = [\"https://{other}\"]"))
        .http(&target)
        .rule("r", &rule(&source, &target));
    let mark = server.mark().await;
    let words = mirror.fail().await.words();
    assert!(words.contains("certificate") && words.contains(&other), "{words}");
    assert!(server.requests_since(mark).await.is_empty());
    // Where it is configured so, it is asked.
    let mirror = mirror.settings(&other, unchecked);
    let mark = server.mark().await;
    mirror.fail().await;
    assert!(!server.requests_since(mark).await.is_empty());
}

/// The client certificate of a registry is not shown to a token server on another host, although that
/// one would accept it.
#[tokio::test]
async fn a_token_server_is_not_shown_the_certificate_for_its_registry() {
    let server = DockerRegistry::new().client_certificates().run().await;
    let (source, other) = guarded_by(&server).await;
    let target = LayoutRegistry::start().await;
    let trusted = |place: &DockerRegistry| format!("ca_file = \"{}\"", place.ca_file().display());
    let certificate = format!(
        "client_cert = \"{}\"\nclient_key = \"{}\"",
        server.client_cert_file().display(),
        server.client_key_file().display()
    );
    let own = format!("{}\n{certificate}\nauth_realms = [\"https://{other}\"]", trusted(&source));
    let mirror = Mirror::new()
        .registry(&source, &own)
        .settings(&other, &trusted(&server))
        .http(&target)
        .rule("r", &rule(&source, &target));
    let mark = server.mark().await;
    let words = mirror.fail().await.words();
    assert!(words.contains(&other), "{words}");
    assert!(server.requests_since(mark).await.is_empty());
    // Where it is configured for that host, it is.
    let mirror = mirror.settings(&other, &format!("{}\n{certificate}", trusted(&server)));
    let mark = server.mark().await;
    mirror.fail().await;
    assert!(!server.requests_since(mark).await.is_empty());
}

/// A proxy that ends TLS and does not say so to the registry behind it.
#[tokio::test]
async fn an_upload_that_is_sent_to_http_is_refused_with_the_reason() {
    let plain = LayoutRegistry::start().await;
    let elsewhere = format!("http://{}", plain.host());
    let target = DockerRegistry::new().tls().calls_itself(&elsewhere).run().await;
    let source = LayoutRegistry::start().await;
    image().push(&source, "app", "v1").await;
    let mark = plain.mark();
    let mirror = Mirror::new()
        .http(&source)
        .registry(&target, &format!("ca_file = \"{}\"", target.ca_file().display()))
        .rule("r", &rule(&source, &target));
    let words = mirror.fail().await.words();
    assert!(words.contains("X-Forwarded-Proto: https"), "{words}");
    assert!(plain.requests_since(mark).is_empty());
}

#[tokio::test]
async fn certificates_can_be_left_unchecked() {
    let source = DockerRegistry::new().tls().run().await;
    let target = LayoutRegistry::start().await;
    image().push(&source, "app", "v1").await;
    let mirror = Mirror::new()
        .registry(&source, "insecure = \"no-verify\"")
        .http(&target)
        .rule("r", &rule(&source, &target));
    mirror.sync().await.assert_copied(1, 0);
    assert_same(&source, &target, "app", "v1").await;
}

#[tokio::test]
async fn client_certificates_are_shown() {
    let run = || DockerRegistry::new().client_certificates().run();
    let (source, target) = tokio::join!(run(), run());
    image().push(&source, "app", "v1").await;
    let settings = |place: &DockerRegistry| {
        format!(
            "ca_file = \"{}\"\nclient_cert = \"{}\"\nclient_key = \"{}\"",
            place.ca_file().display(),
            place.client_cert_file().display(),
            place.client_key_file().display()
        )
    };
    let mirror = Mirror::new()
        .registry(&source, &settings(&source))
        .registry(&target, &settings(&target))
        .rule("r", &rule(&source, &target));
    mirror.sync().await.assert_copied(1, 0);
    assert_same(&source, &target, "app", "v1").await;

    let without = format!("ca_file = \"{}\"", source.ca_file().display());
    let report = mirror.registry(&source, &without).fail().await;
    let words = report.words();
    assert!(words.contains("ertificate"), "{words}");
    assert!(words.contains("client_cert"), "{words}");
}

#[tokio::test]
async fn http_where_tls_is_spoken_and_the_other_way_round() {
    let (plain, secure) = tokio::join!(LayoutRegistry::start(), DockerRegistry::new().tls().run());
    image().push(&plain, "app", "v1").await;
    let mirror = Mirror::new()
        .registry(&secure, "insecure = \"no-verify\"")
        .rule("r", &rule(&plain, &secure));
    let words = mirror.fail().await.words();
    assert!(words.contains("insecure = \\\"http\\\""), "{words}");
    let mirror = mirror.http(&plain).http(&secure);
    let words = mirror.fail().await.words();
    assert!(words.contains(secure.host()), "{words}");
}

/// A proxy that notes the first line and the proxy credentials of everything it is asked.
struct Proxy {
    address: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(forward(stream, Arc::clone(&record)));
            }
        });
        Self { address, seen }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

/// A name for a registry on this machine that only the proxy can resolve: for addresses of this
/// machine no proxy is used.
fn named(place: &impl Place) -> String {
    let (_, port) = place.host().rsplit_once(':').unwrap();
    format!("registry.test:{port}")
}

async fn connect(name: &str) -> Option<TcpStream> {
    TcpStream::connect(name.replace("registry.test", "127.0.0.1")).await.ok()
}

/// Forwards one request, or one tunnel.
async fn forward(mut client: TcpStream, seen: Arc<Mutex<Vec<String>>>) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let (line, headers) = head.split_once("\r\n")?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    let is_ours = |header: &&str| header.to_ascii_lowercase().starts_with("proxy-");
    let credentials = headers.lines().find(is_ours).unwrap_or("without credentials");
    seen.lock().unwrap().push(format!("{method} {target} {credentials}"));
    if method == "CONNECT" {
        let mut server = connect(target).await?;
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok()?;
        copy_bidirectional(&mut client, &mut server).await.ok()?;
        return Some(());
    }
    let (host, path) = target.strip_prefix("http://")?.split_once('/')?;
    let mut server = connect(host).await?;
    let rest: Vec<&str> = headers.lines().filter(|header| !is_ours(header)).collect();
    // One request a connection, so that the next one is seen, too.
    let request =
        format!("{method} /{path} HTTP/1.1\r\nconnection: close\r\n{}\r\n", rest.join("\r\n"));
    server.write_all(request.as_bytes()).await.ok()?;
    copy_bidirectional(&mut client, &mut server).await.ok()?;
    Some(())
}

#[tokio::test]
async fn the_proxies_of_the_environment_are_used() {
    let (http, https) = tokio::join!(Proxy::start(), Proxy::start());
    let (source, target) = tokio::join!(LayoutRegistry::start(), DockerRegistry::new().tls().run());
    let direct = LayoutRegistry::start().await;
    image().push(&source, "app", "v1").await;
    let http_only = "insecure = \"http\"";
    let mirror = Mirror::new()
        .settings(&named(&source), http_only)
        // The certificate is for another name.
        .settings(&named(&target), "insecure = \"no-verify\"")
        .http(&direct)
        .rule(
            "r",
            &format!(
                "source = \"{}/app\"\ntarget = [\"{}/app\", \"{}/app\"]",
                named(&source),
                named(&target),
                direct.host()
            ),
        );
    mirror.configure();
    let mut command = mirror.tranship.command();
    command
        .args(["sync", "-vv", "--output", "json"])
        .env("HTTP_PROXY", format!("http://{}", http.address))
        .env("HTTPS_PROXY", format!("http://us3r:pr0xy-secret@{}", https.address))
        .env_remove("NO_PROXY");
    let finished = Running::new(&mut command).finish().await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    Report::of(&finished).assert_copied(2, 0);
    assert_same(&source, &target, "app", "v1").await;
    assert_same(&source, &direct, "app", "v1").await;
    assert!(!format!("{finished:?}").contains("pr0xy-secret"), "{finished:?}");
    let (plain, tunnels) = (http.seen(), https.seen());
    let asked = format!("GET http://{}/v2/app/", named(&source));
    assert!(plain.iter().any(|line| line.starts_with(&asked)), "{plain:?}");
    assert!(plain.iter().all(|line| line.ends_with("without credentials")), "{plain:?}");
    assert!(!plain.iter().any(|line| line.contains(direct.host())), "{plain:?}");
    let tunnel = format!("CONNECT {} ", named(&target));
    assert!(!tunnels.is_empty());
    for line in &tunnels {
        assert!(line.starts_with(&tunnel), "{tunnels:?}");
        assert!(line.to_ascii_lowercase().contains("proxy-authorization: basic"), "{tunnels:?}");
    }
}

#[tokio::test]
async fn a_proxy_that_is_down_is_named() {
    let (source, target) = tokio::join!(LayoutRegistry::start(), LayoutRegistry::start());
    image().push(&source, "app", "v1").await;
    let mirror = Mirror::new()
        .settings(&named(&source), "insecure = \"http\"\nidle_timeout = \"1s\"")
        .http(&target)
        .rule(
            "r",
            &format!("source = \"{}/app\"\ntarget = \"{}/app\"", named(&source), target.host()),
        );
    mirror.configure();
    let mark = source.mark();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut command = mirror.tranship.command();
    command
        .args(["sync", "--output", "json"])
        .env("HTTP_PROXY", format!("http://us3r:pr0xy-secret@{closed}"))
        .env("NO_PROXY", "");
    let finished = Running::new(&mut command).finish().await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(!format!("{finished:?}").contains("pr0xy-secret"), "{finished:?}");
    // There is no way around it.
    assert!(source.requests_since(mark).is_empty());
}

/// `NO_PROXY` means what it means to docker and skopeo: an entry may name a port.
#[tokio::test]
async fn exceptions_from_the_proxy_may_name_a_port() {
    let proxy = Proxy::start().await;
    let (source, target) = tokio::join!(LayoutRegistry::start(), LayoutRegistry::start());
    image().push(&source, "app", "v1").await;
    let (from, to) = (named(&source), named(&target));
    let mirror = Mirror::new()
        .settings(&from, "insecure = \"http\"\nidle_timeout = \"1s\"")
        .settings(&to, "insecure = \"http\"")
        .rule("r", &format!("source = \"{from}/app\"\ntarget = \"{to}/app\""));
    mirror.configure();
    let run = async |exceptions: &str| {
        let mut command = mirror.tranship.command();
        command
            .args(["sync", "--output", "json"])
            .env("http_proxy", format!("http://{}", proxy.address))
            // Set, but empty: lower case counts.
            .env("NO_PROXY", "")
            .env("no_proxy", exceptions);
        Running::new(&mut command).finish().await
    };
    // Only the proxy knows the name.
    let finished = run(&format!("registry.other, {from}")).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(!proxy.seen().iter().any(|line| line.contains(&from)), "{:?}", proxy.seen());
    // Another port, and only the names below this one.
    let finished = run("registry.test:1,.registry.test,*.registry.test").await;
    Report::of(&finished).assert_copied(1, 0);
    assert_same(&source, &target, "app", "v1").await;
}
