//! Real docker-registry processes (distribution 2.8), each with its own storage and port.
//!
//! ```text
//! let registry = DockerRegistry::start().await;
//! let private = DockerRegistry::new().tls().htpasswd("alice", "secret").run().await;
//! let mark = registry.mark().await;
//! …
//! assert_eq!(registry.requests_since(mark).await.count("GET", Kind::Blob), 4);
//! ```

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::access_log;
use super::endpoint::{Credentials, Endpoint, Place, client_builder};
use super::eventually;
use super::pki::{Authority, Identity};
use super::token_server::{ISSUER, SERVICE, TokenServer};
use super::traffic::Traffic;

/// Marks the harness's own requests in the access log.
const OWN: &str = "tranship-harness";

/// What kind of registry to run. Everything is off until asked for.
#[derive(Default)]
pub struct Builder {
    tls: bool,
    self_signed: bool,
    client_certificates: bool,
    users: Vec<(String, String)>,
    tokens: Option<TokenServer>,
    no_delete: bool,
    read_only: bool,
    storage_limit: Option<String>,
    foreign_layers: bool,
    calls_itself: Option<String>,
    realm: Option<String>,
    notifications: Option<Notifications>,
}

/// Where the registry sends its events.
pub struct Notifications {
    pub url: String,
    /// Sent along with every message: name and value.
    pub headers: Vec<(String, String)>,
    /// After so many failures in a row the registry pauses …
    pub threshold: u32,
    /// … for so long, as it writes it: `100ms`.
    pub backoff: String,
}

impl Notifications {
    /// To this address, with this `Authorization`, and again soon after a failure.
    pub fn to(url: &str, authorization: &str) -> Self {
        let headers = vec![("Authorization".to_owned(), authorization.to_owned())];
        Self { url: url.to_owned(), headers, threshold: 2, backoff: "100ms".to_owned() }
    }
}

/// A running docker-registry; dropping it ends the process and removes its storage.
pub struct DockerRegistry {
    endpoint: Endpoint,
    child: Child,
    authority: Option<Authority>,
    client_identity: Option<Identity>,
    // Behind the child, so that the process is gone before its files are.
    mount: Option<Mount>,
    folder: TempDir,
    config: String,
}

/// A place in the access log.
#[derive(Debug, Clone, Copy)]
pub struct Mark(u64);

impl Builder {
    /// HTTPS, with a certificate of an authority of its own (`DockerRegistry::ca_file`).
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// HTTPS, with a certificate that is its own authority, as `openssl req -x509` makes it
    /// (`DockerRegistry::ca_file`).
    pub fn self_signed(mut self) -> Self {
        self.self_signed = true;
        self.tls()
    }

    /// HTTPS, for clients with a certificate only (`client_cert_file`, `client_key_file`).
    pub fn client_certificates(mut self) -> Self {
        self.client_certificates = true;
        self.tls()
    }

    /// Basic authentication. May be called once for each user.
    pub fn htpasswd(mut self, user: &str, password: &str) -> Self {
        self.users.push((user.to_owned(), password.to_owned()));
        self
    }

    /// Bearer authentication with the tokens of this server.
    pub fn tokens(mut self, server: &TokenServer) -> Self {
        self.tokens = Some(server.clone());
        self
    }

    /// Sends clients to this URL for their tokens, instead of to the server of `tokens`.
    pub fn realm(mut self, url: &str) -> Self {
        self.realm = Some(url.to_owned());
        self
    }

    /// Answers 405 to every DELETE.
    pub fn without_delete(mut self) -> Self {
        self.no_delete = true;
        self
    }

    /// Answers 405 to every write.
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// Storage of this size (as `mount` writes it: `8m`), so that the disk can get full.
    /// Needs root. Panics where mounting is impossible, unless TRANSHIP_TEST_NO_MOUNT is set:
    /// use `run_if_possible` then.
    pub fn storage_limit(mut self, size: &str) -> Self {
        self.storage_limit = Some(size.to_owned());
        self
    }

    /// Accepts manifests with layers that lie elsewhere (`urls`).
    pub fn foreign_layers(mut self) -> Self {
        self.foreign_layers = true;
        self
    }

    /// Sends clients to this URL in its `Location` headers.
    pub fn calls_itself(mut self, url: &str) -> Self {
        self.calls_itself = Some(url.to_owned());
        self
    }

    /// Tells this address of everything that happens.
    pub fn notifications(mut self, endpoint: Notifications) -> Self {
        self.notifications = Some(endpoint);
        self
    }

    /// Starts the registry and waits until it answers.
    pub async fn run(self) -> DockerRegistry {
        self.run_if_possible().await.expect("storage could not be mounted")
    }

    /// As `run`, but gives `None`, with a message, where TRANSHIP_TEST_NO_MOUNT forbids mounts.
    pub async fn run_if_possible(self) -> Option<DockerRegistry> {
        let folder = TempDir::with_prefix("tranship-registry-").unwrap();
        let store = folder.path().join("store");
        fs::create_dir(&store).unwrap();
        let mount = match &self.storage_limit {
            Some(_) if std::env::var_os("TRANSHIP_TEST_NO_MOUNT").is_some() => {
                eprintln!("skipped: TRANSHIP_TEST_NO_MOUNT is set");
                return None;
            }
            Some(size) => Some(Mount::new(&store, size)),
            None => None,
        };
        let authority = self.tls.then(Authority::new);
        if let Some(authority) = &authority {
            let server = match self.self_signed {
                true => Identity::self_signed(),
                false => authority.server(),
            };
            let ca = if self.self_signed { &server.certificate } else { &authority.pem };
            fs::write(folder.path().join("ca.pem"), ca).unwrap();
            fs::write(folder.path().join("server.pem"), server.certificate).unwrap();
            fs::write(folder.path().join("server.key"), server.key).unwrap();
        }
        let client_identity =
            authority.as_ref().filter(|_| self.client_certificates).map(Authority::client);
        if let Some(identity) = &client_identity {
            fs::write(folder.path().join("client.pem"), &identity.certificate).unwrap();
            fs::write(folder.path().join("client.key"), &identity.key).unwrap();
        }
        let config = self.config(folder.path());
        let credentials = match (self.users.into_iter().next(), self.tokens) {
            (Some((user, password)), _) => Credentials::Basic { user, password },
            (None, Some(server)) => Credentials::Tokens(server),
            (None, None) => Credentials::None,
        };
        let mut client = client_builder();
        if let Some(authority) = &authority {
            let ca = reqwest::Certificate::from_pem(authority.pem.as_bytes()).unwrap();
            client = client.tls_certs_only([ca]).tls_danger_accept_invalid_certs(self.self_signed);
        }
        if let Some(identity) = &client_identity {
            let pem = identity.joined();
            client = client.identity(reqwest::Identity::from_pem(pem.as_bytes()).unwrap());
        }
        let client = client.build().unwrap();
        let (child, host) = spawn(folder.path(), &config, &client, self.tls).await;
        let endpoint = Endpoint { host, tls: self.tls, client, credentials };
        Some(DockerRegistry { endpoint, child, authority, client_identity, mount, folder, config })
    }

    /// The configuration, with `{port}` where the port goes.
    fn config(&self, folder: &Path) -> String {
        let at = |name: &str| folder.join(name).display().to_string();
        let mut config = format!(
            "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: false\n\
             storage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: {}\n  \
             cache:\n    blobdescriptor: inmemory\n  maintenance:\n    uploadpurging:\n      \
             enabled: false\n    readonly:\n      enabled: {}\n\
             http:\n  addr: 127.0.0.1:{{port}}\n  secret: harness\n",
            at("store"),
            !self.no_delete,
            self.read_only,
        );
        if let Some(url) = &self.calls_itself {
            config += &format!("  host: {url}\n");
        }
        if self.tls {
            config += &format!(
                "  tls:\n    certificate: {}\n    key: {}\n",
                at("server.pem"),
                at("server.key")
            );
        }
        if self.client_certificates {
            config += &format!("    clientcas:\n      - {}\n", at("ca.pem"));
        }
        if !self.users.is_empty() {
            let lines: String =
                self.users.iter().map(|(user, password)| bcrypt(user, password)).collect();
            fs::write(at("htpasswd"), lines).unwrap();
            config +=
                &format!("auth:\n  htpasswd:\n    realm: harness\n    path: {}\n", at("htpasswd"));
        }
        if let Some(server) = &self.tokens {
            fs::write(at("token.pem"), &server.certificate_pem).unwrap();
            config += &format!(
                "auth:\n  token:\n    realm: {}\n    service: {SERVICE}\n    issuer: {ISSUER}\n    \
                 rootcertbundle: {}\n",
                self.realm.clone().unwrap_or_else(|| server.realm()),
                at("token.pem")
            );
        }
        if let Some(Notifications { url, headers, threshold, backoff }) = &self.notifications {
            config += &format!(
                "notifications:\n  events:\n    includereferences: true\n  endpoints:\n    \
                 - name: listener\n      url: {url}\n      timeout: 5s\n      \
                 threshold: {threshold}\n      backoff: {backoff}\n      headers:\n"
            );
            for (name, value) in headers {
                config += &format!("        {name}: [{value:?}]\n");
            }
        }
        if self.foreign_layers {
            config += "validation:\n  manifests:\n    urls:\n      allow:\n        - ^https?://\n";
        }
        config
    }
}

impl DockerRegistry {
    /// A description of a registry, to be refined and `run`.
    #[expect(clippy::new_ret_no_self, reason = "reads as prose: DockerRegistry::new().tls().run()")]
    pub fn new() -> Builder {
        Builder::default()
    }

    /// A plain registry: HTTP, no login, deletion allowed.
    pub async fn start() -> Self {
        Self::new().run().await
    }

    /// The certificate authority's PEM file. Only with TLS.
    pub fn ca_file(&self) -> PathBuf {
        assert!(self.authority.is_some(), "this registry has no TLS");
        self.folder.path().join("ca.pem")
    }

    pub fn wants_client_certificates(&self) -> bool {
        self.client_identity.is_some()
    }

    /// A client certificate that the registry accepts. Only with client certificates.
    pub fn client_cert_file(&self) -> PathBuf {
        assert!(self.client_identity.is_some(), "this registry wants no client certificates");
        self.folder.path().join("client.pem")
    }

    /// The key of `client_cert_file`.
    pub fn client_key_file(&self) -> PathBuf {
        self.client_cert_file().with_extension("key")
    }

    /// Where the registry keeps its files: for tests that damage them.
    pub fn storage(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// The file that holds a blob's bytes.
    pub fn blob_file(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        let blobs = self.storage().join("docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(hex).join("data")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// This moment in the access log.
    pub async fn mark(&self) -> Mark {
        self.settle().await;
        Mark(fs::metadata(self.log_file()).map_or(0, |file| file.len()))
    }

    /// What was asked since a mark, without the harness's own marks.
    pub async fn requests_since(&self, mark: Mark) -> Traffic {
        self.settle().await;
        access_log::read(&self.log_file(), mark.0, OWN)
    }

    /// Ends the process, keeping storage and port: `restart` brings it back.
    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts the process again on the same port and storage.
    pub async fn restart(&mut self) {
        self.stop();
        let port = self.endpoint.host.rsplit_once(':').unwrap().1.parse().unwrap();
        self.child = launch(self.folder.path(), &self.config, port);
        let ready = await_ready(self.folder.path(), &self.endpoint, &mut self.child).await;
        assert!(ready, "docker-registry ended: {}", errors(self.folder.path()));
    }

    /// Lets the registry drop what nothing refers to any more, as its operators do: stopped, by its
    /// own command.
    pub async fn collect_garbage(&mut self) {
        self.stop();
        let output = Command::new("docker-registry")
            .args(["garbage-collect"])
            .arg(self.folder.path().join("config.yml"))
            .output()
            .expect("docker-registry is installed (scripts/test installs it)");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        self.restart().await;
    }

    /// The access log, for tests that watch it grow.
    pub fn log_file(&self) -> PathBuf {
        self.folder.path().join("access.log")
    }

    /// A request is logged when its handler ends, which can be a moment after its client has
    /// the answer; by the time a later request of ours is logged, the earlier ones are.
    async fn settle(&self) {
        static SERIAL: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let serial = SERIAL.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let query = format!("{OWN}={serial}.");
        let url = self.endpoint.url(&format!("/v2/?{query}"));
        eventually("the access log", Duration::from_secs(10), || async {
            self.endpoint.client.get(&url).send().await.ok()?;
            let log = fs::read_to_string(self.log_file()).ok()?;
            log.contains(&query).then_some(())
        })
        .await;
    }
}

impl Place for DockerRegistry {
    fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        self.stop();
        self.mount.take();
    }
}

/// Starts the process on a free port. Another process may take the port between our look and
/// its start; then the next port is tried.
async fn spawn(
    folder: &Path,
    config: &str,
    client: &reqwest::Client,
    tls: bool,
) -> (Child, String) {
    for _ in 0..20 {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut child = launch(folder, config, port);
        let endpoint = Endpoint {
            tls,
            client: client.clone(),
            ..Endpoint::plain(format!("127.0.0.1:{port}"))
        };
        if await_ready(folder, &endpoint, &mut child).await {
            return (child, endpoint.host);
        }
        let errors = errors(folder);
        assert!(errors.contains("address already in use"), "docker-registry ended: {errors}");
    }
    panic!("no free port in 20 attempts");
}

/// Waits until the registry serves; `false` if the process ended instead. An answer is not
/// enough: it must show up in our own log, or else another process has the port.
async fn await_ready(folder: &Path, endpoint: &Endpoint, child: &mut Child) -> bool {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    let query = format!("{OWN}=ready-{}.", child.id());
    let url = endpoint.url(&format!("/v2/?{query}"));
    while !matches!(child.try_wait(), Ok(Some(_)) | Err(_)) {
        assert!(tokio::time::Instant::now() < deadline, "docker-registry did not start");
        let _ = endpoint.client.get(&url).send().await;
        if fs::read_to_string(folder.join("access.log")).is_ok_and(|log| log.contains(&query)) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

fn launch(folder: &Path, config: &str, port: u16) -> Child {
    let file = folder.join("config.yml");
    fs::write(&file, config.replace("{port}", &port.to_string())).unwrap();
    let append =
        |name: &str| File::options().create(true).append(true).open(folder.join(name)).unwrap();
    Command::new("docker-registry")
        .arg("serve")
        .arg(&file)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(append("access.log"))
        .stderr(append("errors.log"))
        .spawn()
        .expect("docker-registry is installed (scripts/test installs it)")
}

fn errors(folder: &Path) -> String {
    fs::read_to_string(folder.join("errors.log")).unwrap_or_default()
}

/// A line of an htpasswd file. The least cost that bcrypt allows: tests log in often.
fn bcrypt(user: &str, password: &str) -> String {
    let output = Command::new("htpasswd")
        .args(["-n", "-b", "-B", "-C", "4", user, password])
        .output()
        .expect("htpasswd is installed (scripts/test installs it)");
    format!("{}\n", String::from_utf8(output.stdout).unwrap().trim())
}

/// A memory file system of limited size; dropping it unmounts it.
struct Mount(PathBuf);

impl Mount {
    fn new(folder: &Path, size: &str) -> Self {
        let options = format!("size={size},mode=0755");
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tranship-test"])
            .arg(folder)
            .status()
            .unwrap();
        assert!(status.success(), "mount failed: needs root, or set TRANSHIP_TEST_NO_MOUNT=1");
        Self(folder.to_owned())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}
