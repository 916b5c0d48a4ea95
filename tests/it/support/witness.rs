//! Other people's clients, to say independently what is in a registry: skopeo and oci-client.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use super::docker_registry::DockerRegistry;
use super::endpoint::{Credentials, Endpoint, Place};
use super::process::{Finished, Running};

/// skopeo, with what it needs to be let in by some registries.
pub struct Skopeo {
    home: TempDir,
    /// A folder of certificates, where a registry has an authority of its own.
    certificates: Option<PathBuf>,
    logins: serde_json::Map<String, Value>,
}

impl Skopeo {
    pub fn new() -> Self {
        let home = TempDir::with_prefix("tranship-skopeo-").unwrap();
        Self { home, certificates: None, logins: serde_json::Map::new() }
    }

    /// Knows the authority and the client certificate of a registry with TLS.
    pub fn trusting(mut self, registry: &DockerRegistry) -> Self {
        let folder = self.home.path().join("certificates");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::copy(registry.ca_file(), folder.join("ca.crt")).unwrap();
        if registry.wants_client_certificates() {
            std::fs::copy(registry.client_cert_file(), folder.join("client.cert")).unwrap();
            std::fs::copy(registry.client_key_file(), folder.join("client.key")).unwrap();
        }
        self.certificates = Some(folder);
        self
    }

    /// Logs in by an auth file.
    pub fn login(mut self, place: &impl Place, user: &str, password: &str) -> Self {
        use base64::Engine as _;
        let auth = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        self.logins.insert(place.host().to_owned(), serde_json::json!({ "auth": auth }));
        self
    }

    /// Copies with `--all --preserve-digests`, between any of skopeo's places (`docker://…`).
    pub async fn copy(&self, source: &str, target: &str) {
        let verify = format!("--src-tls-verify={}", self.certificates.is_some());
        let verify_target = verify.replace("--src", "--dest");
        let mut arguments = vec!["copy", "--all", "--preserve-digests", &verify, &verify_target];
        let folder = self.certificates.as_ref().map(|folder| folder.display().to_string());
        let folders =
            folder.map(|f| [format!("--src-cert-dir={f}"), format!("--dest-cert-dir={f}")]);
        arguments.extend(folders.iter().flatten().map(String::as_str));
        arguments.extend([source, target]);
        self.succeed(&arguments).await;
    }

    /// The raw bytes of a manifest.
    pub async fn inspect_raw(&self, reference: &str) -> String {
        self.read("inspect", &["--raw"], reference).await
    }

    /// Every tag, sorted.
    pub async fn list_tags(&self, place: &impl Place, repository: &str) -> Vec<String> {
        let repository = format!("docker://{}/{repository}", place.host());
        let listed = self.read("list-tags", &[], &repository).await;
        let listed: Value = serde_json::from_str(&listed).unwrap();
        let mut tags: Vec<String> = serde_json::from_value(listed["Tags"].clone()).unwrap();
        tags.sort();
        tags
    }

    /// Runs a command line, whose words are parted by spaces.
    pub async fn run(&self, line: &str) -> Finished {
        self.succeed(&line.split_whitespace().collect::<Vec<_>>()).await
    }

    /// Runs these arguments.
    pub async fn output(&self, arguments: &[&str]) -> String {
        self.succeed(arguments).await.stdout
    }

    async fn read(&self, verb: &str, options: &[&str], reference: &str) -> String {
        let verify = format!("--tls-verify={}", self.certificates.is_some());
        let folder = self.certificates.as_ref().map(|f| format!("--cert-dir={}", f.display()));
        let mut arguments = vec![verb, &verify];
        arguments.extend(options);
        arguments.extend(folder.as_deref());
        arguments.push(reference);
        self.succeed(&arguments).await.stdout
    }

    async fn succeed<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Finished {
        let auth_file = self.home.path().join("auth.json");
        std::fs::write(&auth_file, serde_json::json!({ "auths": self.logins }).to_string())
            .unwrap();
        let mut command = Command::new("skopeo");
        command
            .arg("--insecure-policy")
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.path())
            .env("REGISTRY_AUTH_FILE", auth_file)
            .stdin(Stdio::null());
        let finished = Running::new(&mut command).finish().await;
        assert_eq!(finished.code, Some(0), "skopeo: {finished:?}");
        finished
    }
}

/// oci-client, reading by the harness's own login.
pub struct OciClient {
    client: oci_client::Client,
    auth: RegistryAuth,
    host: String,
}

impl OciClient {
    /// For a registry without TLS.
    pub fn new(place: &impl Place) -> Self {
        super::choose_cryptography();
        let Endpoint { host, tls, credentials, .. } = place.endpoint().clone();
        assert!(!tls, "oci-client is a witness for plain HTTP only");
        let auth = match credentials {
            Credentials::None => RegistryAuth::Anonymous,
            Credentials::Basic { user, password } => RegistryAuth::Basic(user, password),
            Credentials::Tokens(_) => panic!("oci-client is no witness for token logins"),
        };
        let client = oci_client::Client::new(ClientConfig {
            protocol: ClientProtocol::Http,
            read_timeout: Some(Duration::from_secs(20)),
            ..ClientConfig::default()
        });
        Self { client, auth, host }
    }

    /// The raw bytes of a manifest and the digest that oci-client verified.
    pub async fn manifest(&self, repository: &str, tag: &str) -> (Vec<u8>, String) {
        let reference = self.reference(repository, tag);
        let accepted = super::endpoint::ACCEPT.split(", ").collect::<Vec<_>>();
        let (bytes, digest) =
            self.client.pull_manifest_raw(&reference, &self.auth, &accepted).await.unwrap();
        (bytes.to_vec(), digest)
    }

    /// A blob, verified by oci-client.
    pub async fn blob(&self, repository: &str, digest: &str) -> Vec<u8> {
        let reference = self.reference(repository, "unused");
        let mut bytes = Vec::new();
        self.client.pull_blob(&reference, digest, &mut bytes).await.unwrap();
        bytes
    }

    fn reference(&self, repository: &str, tag: &str) -> oci_client::Reference {
        format!("{}/{repository}:{tag}", self.host).parse().unwrap()
    }
}
