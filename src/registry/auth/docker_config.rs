//! docker's auth file: `config.json`, or podman's and skopeo's `auth.json` of the same form.
//!
//! Which credential is taken for a repository, most telling first:
//! 1. `auths` of a path that the repository lies under, the longest first (`ghcr.io/acme/app`),
//! 2. `credHelpers` of the registry,
//! 3. `auths` of the registry,
//! 4. `credsStore`.
//!
//! Writing keeps everything else in the file as it is.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::credentials::Credential;
use super::environment::Environment;
use super::error::AuthError;
use super::helper::Helper;
use super::process;
use crate::oci::RegistryHost;

/// What docker calls Docker Hub, in auth files and to helpers.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// Far more than any auth file has.
const FILE_LIMIT: u64 = 4 << 20;

/// An auth file, read. Has secrets in it, so it has no `Debug`.
pub(super) struct AuthFile {
    path: PathBuf,
    logins: Vec<(Key, Login)>,
    helpers: Vec<(Key, String)>,
    /// `credsStore`: the helper for all registries that have no other.
    store: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Document {
    auths: Option<BTreeMap<String, Option<Login>>>,
    cred_helpers: Option<BTreeMap<String, String>>,
    creds_store: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Login {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

/// A key of the file: a registry, or a path in it.
struct Key {
    registry: RegistryHost,
    /// Without slashes at its ends; empty for the whole registry.
    path: String,
}

/// What an auth file has for a repository.
pub(super) enum Entry {
    Credential(Credential),
    /// Ask the helper of this name.
    Helper(String),
}

impl AuthFile {
    /// The file at `path`, or none if there is no such file.
    pub fn read(path: &Path) -> Result<Option<Self>, AuthError> {
        let Some(bytes) = read(path)? else { return Ok(None) };
        // The parser's own words could quote a secret.
        let document: Document = serde_json::from_slice(&bytes).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            problem(path, format!("is not an auth file (line {line}, column {column})"))
        })?;
        let logins = document.auths.unwrap_or_default().into_iter();
        let helpers = document.cred_helpers.unwrap_or_default().into_iter();
        Ok(Some(Self {
            path: path.to_owned(),
            logins: logins.filter_map(|(key, l)| Some((Key::parse(&key)?, l?))).collect(),
            helpers: helpers.filter_map(|(key, name)| Some((Key::parse(&key)?, name))).collect(),
            store: document.creds_store.filter(|name| !name.is_empty()),
        }))
    }

    /// What to try for a repository of the registry, in this order.
    pub fn entries(
        &self,
        registry: &RegistryHost,
        repository: Option<&str>,
    ) -> Result<Vec<Entry>, AuthError> {
        let mut logins: Vec<_> =
            self.logins.iter().filter(|(key, _)| key.matches(registry, repository)).collect();
        logins.sort_by_key(|(key, _)| std::cmp::Reverse(key.path.len()));
        let (below, whole): (Vec<_>, Vec<_>) =
            logins.into_iter().partition(|(key, _)| !key.path.is_empty());
        let mut entries = Vec::new();
        let decode = |(key, login): &&(Key, Login)| login.credential(&self.path, key).transpose();
        for credential in below.iter().filter_map(decode) {
            entries.push(Entry::Credential(credential?));
        }
        entries.extend(self.helper_of(registry).map(|name| Entry::Helper(name.to_owned())));
        for credential in whole.iter().filter_map(decode) {
            entries.push(Entry::Credential(credential?));
        }
        entries.extend(self.store.iter().map(|name| Entry::Helper(name.clone())));
        Ok(entries)
    }

    fn helper_of(&self, registry: &RegistryHost) -> Option<&str> {
        let whole = |key: &Key| key.path.is_empty() && key.registry == *registry;
        self.helpers.iter().find(|(key, _)| whole(key)).map(|(_, name)| name.as_str())
    }
}

impl Key {
    /// Reads a key as people and programs write them: with or without scheme, slash, `/v1/`.
    fn parse(text: &str) -> Option<Self> {
        let (text, address) = match text.split_once("://") {
            Some((_, rest)) => (rest, true),
            None => (text, text.ends_with('/')),
        };
        let (host, path) = text.split_once('/').unwrap_or((text, ""));
        let path = path.trim_matches('/');
        // The end of an address of the API, not a repository.
        let path = if address && matches!(path, "v1" | "v2") { "" } else { path };
        Some(Self { registry: host.parse().ok()?, path: path.to_owned() })
    }

    fn matches(&self, registry: &RegistryHost, repository: Option<&str>) -> bool {
        let below = |repository: &str| {
            let rest = repository.strip_prefix(self.path.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.registry == *registry && (self.path.is_empty() || repository.is_some_and(below))
    }
}

impl Login {
    /// Nothing where the entry is only a mark that a helper has the credential.
    fn credential(&self, file: &Path, key: &Key) -> Result<Option<Credential>, AuthError> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        if let Some(token) = given(&self.identitytoken) {
            return Ok(Some(Credential::RefreshToken(token.into())));
        }
        if let Some(auth) = given(&self.auth) {
            let malformed = || {
                let key = key.registry.as_str();
                problem(
                    file,
                    format!("has an `auth` for {key} that is not base64 of user:password"),
                )
            };
            let (username, password) = decode(&auth).ok_or_else(malformed)?;
            return Ok(Some(Credential::Password { username, password: password.into() }));
        }
        Ok(given(&self.username).zip(given(&self.password)).map(|(username, password)| {
            Credential::Password { username, password: password.into() }
        }))
    }
}

fn decode(auth: &str) -> Option<(String, String)> {
    let lenient =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let engine = GeneralPurpose::new(&base64::alphabet::STANDARD, lenient);
    let text = String::from_utf8(engine.decode(auth.trim()).ok()?).ok()?;
    let (username, password) = text.split_once(':')?;
    // Old dockers padded with zero bytes.
    Some((username.to_owned(), password.trim_matches('\0').to_owned()))
}

/// What helpers and files call a registry.
pub(super) fn server_name(registry: &RegistryHost) -> &str {
    if registry.is_docker_hub() { DOCKER_HUB_KEY } else { registry.as_str() }
}

/// Keeps a credential for a registry: in the file, or in the helper that the file names for it.
///
/// The file is made if it is not there, readable by its owner only, and replaced in one step.
pub async fn store(
    path: &Path,
    registry: &RegistryHost,
    credential: &Credential,
    environment: &Environment,
) -> Result<(), AuthError> {
    let file = read_blocking(path).await?;
    let mut entry = match credential {
        Credential::Password { username, password } => {
            json!({ "auth": STANDARD.encode(format!("{username}:{}", password.expose_secret())) })
        }
        Credential::RefreshToken(token) => json!({ "identitytoken": token.expose_secret() }),
    };
    if let Some(name) = file.as_ref().and_then(|file| helper_to_write(file, registry)) {
        let server = server_name(registry);
        Helper::new(name, server, environment, process::TIME_LIMIT)?.store(credential).await?;
        // docker's mark that the helper has it.
        entry = json!({});
    }
    let (path, registry) = (path.to_owned(), registry.clone());
    blocking(move || {
        change(&path, |auths| {
            auths.retain(|key, _| !names(key, &registry));
            auths.insert(server_name(&registry).to_owned(), entry);
            true
        })
    })
    .await?;
    Ok(())
}

/// Removes the credential of a registry, from the file and from the helper that it names for it.
/// Gives whether there was one. Entries of paths within the registry stay.
pub async fn erase(
    path: &Path,
    registry: &RegistryHost,
    environment: &Environment,
) -> Result<bool, AuthError> {
    let Some(file) = read_blocking(path).await? else { return Ok(false) };
    let mut erased = false;
    if let Some(name) = helper_to_write(&file, registry) {
        let server = server_name(registry);
        erased = Helper::new(name, server, environment, process::TIME_LIMIT)?.erase().await?;
    }
    let (path, registry) = (path.to_owned(), registry.clone());
    let removed = blocking(move || {
        change(&path, |auths| {
            let before = auths.len();
            auths.retain(|key, _| !names(key, &registry));
            auths.len() < before
        })
    })
    .await?;
    Ok(erased || removed)
}

fn helper_to_write<'a>(file: &'a AuthFile, registry: &RegistryHost) -> Option<&'a str> {
    file.helper_of(registry).or(file.store.as_deref())
}

/// Whether a key stands for the whole of this registry.
fn names(key: &str, registry: &RegistryHost) -> bool {
    Key::parse(key).is_some_and(|key| key.path.is_empty() && key.registry == *registry)
}

async fn read_blocking(path: &Path) -> Result<Option<AuthFile>, AuthError> {
    let path = path.to_owned();
    blocking(move || AuthFile::read(&path)).await
}

/// Runs file work where it does not hold up the runtime.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AuthError> + Send + 'static,
) -> Result<T, AuthError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|stopped| {
        Err(problem(Path::new(""), format!("cannot be worked on: {stopped}")))
    })
}

/// Changes the `auths` of the file; `edit` says whether it did. Gives that back.
fn change(
    path: &Path,
    edit: impl FnOnce(&mut Map<String, Value>) -> bool,
) -> Result<bool, AuthError> {
    let malformed = || problem(path, "is not an auth file".to_owned());
    let bytes = read(path)?.unwrap_or_else(|| b"{}".to_vec());
    let mut document: Map<String, Value> =
        serde_json::from_slice(&bytes).map_err(|_| malformed())?;
    let auths = document.entry("auths").or_insert_with(|| json!({}));
    if auths.is_null() {
        *auths = json!({});
    }
    if !edit(auths.as_object_mut().ok_or_else(malformed)?) {
        return Ok(false);
    }
    let mut text = serde_json::to_vec_pretty(&document).map_err(|_| malformed())?;
    text.push(b'\n');
    replace(path, &text)
        .map_err(|error| problem(path, format!("cannot be written: {}", error.kind())))?;
    Ok(true)
}

/// Puts a new file in the place of the old one, whole or not at all. A temporary file is readable
/// by its owner only from the beginning.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    // Through a link, as people keep their configuration elsewhere.
    let path = match path.canonicalize() {
        Ok(real) => real,
        Err(_) => path.to_owned(),
    };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory)?;
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(&path).map_err(|error| error.error)?;
    Ok(())
}

/// The bytes of a file that may be missing, or empty, which is as good.
fn read(path: &Path) -> Result<Option<Vec<u8>>, AuthError> {
    let unreadable = |error: &io::Error| problem(path, format!("cannot be read: {}", error.kind()));
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(&error)),
    };
    let mut bytes = Vec::new();
    file.take(FILE_LIMIT + 1).read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
    if bytes.len() as u64 > FILE_LIMIT {
        return Err(problem(path, format!("is longer than {FILE_LIMIT} bytes")));
    }
    Ok((!bytes.trim_ascii().is_empty()).then_some(bytes))
}

fn problem(path: &Path, problem: String) -> AuthError {
    AuthError::AuthFile { path: path.to_owned(), problem }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::testing::{Scripts, password};
    use super::*;

    fn file(content: &Value) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        std::fs::write(&path, content.to_string()).unwrap();
        (dir, path)
    }

    fn auth(text: &str) -> Value {
        json!({ "auth": STANDARD.encode(text) })
    }

    /// What is found, in order: user names, helpers' names.
    fn found(path: &Path, registry: &str, repository: Option<&str>) -> Vec<String> {
        let file = AuthFile::read(path).unwrap().unwrap();
        let entries = file.entries(&registry.parse().unwrap(), repository).unwrap();
        let name = |entry| match entry {
            Entry::Credential(Credential::Password { username, .. }) => username,
            Entry::Credential(Credential::RefreshToken(_)) => "<token>".to_owned(),
            Entry::Helper(name) => format!("helper {name}"),
        };
        entries.into_iter().map(name).collect()
    }

    #[test]
    fn keys_match_on_path_boundaries_the_longest_first() {
        let (_dir, path) = file(&json!({
            "auths": {
                "ghcr.io": auth("host:p"),
                "ghcr.io/acme": auth("acme:p"),
                "ghcr.io/acme/app": auth("app:p"),
                "https://index.docker.io/v1/": auth("hub:p"),
                "https://slash.io/": auth("slash:p"),
                "quay.io": {},
                "null.io": null,
                "token.io": { "auth": "", "identitytoken": "r" },
                "plain.io": { "username": "plain", "password": "p" },
                "not a host!": auth("x:p"),
                "r.io:5000/v2": auth("path:p"),
            },
            "credHelpers": { "ghcr.io": "gh", "docker.io": "hub" },
            "credsStore": "desktop",
        }));
        let cases: [(&str, Option<&str>, &[&str]); 11] = [
            ("ghcr.io", Some("acme/app"), &["app", "acme", "helper gh", "host", "helper desktop"]),
            (
                "ghcr.io",
                Some("acme/app/x"),
                &["app", "acme", "helper gh", "host", "helper desktop"],
            ),
            ("ghcr.io", Some("acme/apple"), &["acme", "helper gh", "host", "helper desktop"]),
            ("ghcr.io", Some("acmex/app"), &["helper gh", "host", "helper desktop"]),
            ("ghcr.io", None, &["helper gh", "host", "helper desktop"]),
            ("docker.io", Some("a/b"), &["helper hub", "hub", "helper desktop"]),
            ("slash.io", None, &["slash", "helper desktop"]),
            ("quay.io", None, &["helper desktop"]),
            ("token.io", None, &["<token>", "helper desktop"]),
            ("plain.io", None, &["plain", "helper desktop"]),
            ("r.io:5000", Some("v2/x"), &["path", "helper desktop"]),
        ];
        for (registry, repository, expected) in cases {
            assert_eq!(found(&path, registry, repository), expected, "{registry} {repository:?}");
        }
    }

    #[test]
    fn what_is_malformed_is_told_without_its_content() {
        let (_dir, path) = file(&json!({ "auths": { "r.io": { "auth": "czNjcmV0" } } }));
        let file = AuthFile::read(&path).unwrap().unwrap();
        let error = file.entries(&"r.io".parse().unwrap(), None).err().unwrap().to_string();
        assert!(
            error.contains("an `auth` for r.io that is not base64 of user:password"),
            "{error}"
        );
        assert!(!error.contains("s3cret") && !error.contains("czNjcmV0"), "{error}");
        for content in [r#"{"auths":"s3cret"}"#, "s3cret", "[1]", r#"{"auths":{"r.io":"s3cret"}}"#]
        {
            std::fs::write(&path, content).unwrap();
            let error = AuthFile::read(&path).err().map(|error| error.to_string());
            let error = error.unwrap_or_else(|| panic!("{content}"));
            assert!(error.contains("is not an auth file (line 1"), "{error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
        std::fs::write(&path, "\n").unwrap();
        assert!(AuthFile::read(&path).unwrap().is_none());
        assert_eq!(decode(&STANDARD.encode("u:p:w\0\0")), Some(("u".into(), "p:w".into())));
        assert_eq!(decode("dTpw"), Some(("u".into(), "p".into())));
        assert_eq!(decode("dTpwdw"), Some(("u".into(), "pw".into())));
    }

    #[tokio::test]
    async fn writing_keeps_the_rest_and_is_private() {
        let (_dir, path) = file(&json!({
            "auths": {
                "docker.io": auth("old:p"),
                "docker.io/acme": auth("path:p"),
                "ghcr.io": auth("other:p"),
            },
            "HttpHeaders": { "X": "y" },
            "detachKeys": "ctrl-e",
        }));
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        let hub = "docker.io".parse().unwrap();
        let here = super::super::testing::environment(&[]);
        store(&path, &hub, &password("new", "p:w"), &here).await.unwrap();
        let expected = |hub: Option<Value>| {
            let mut auths = json!({ "docker.io/acme": auth("path:p"), "ghcr.io": auth("other:p") });
            if let Some(entry) = hub {
                auths[DOCKER_HUB_KEY] = entry;
            }
            json!({ "auths": auths, "HttpHeaders": { "X": "y" }, "detachKeys": "ctrl-e" })
        };
        let content = || serde_json::from_slice::<Value>(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(content(), expected(Some(auth("new:p:w"))));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        store(&path, &hub, &Credential::RefreshToken("r".into()), &here).await.unwrap();
        assert_eq!(content(), expected(Some(json!({ "identitytoken": "r" }))));
        assert!(erase(&path, &hub, &here).await.unwrap());
        assert_eq!(content(), expected(None));
        assert!(!erase(&path, &hub, &here).await.unwrap());
    }

    #[tokio::test]
    async fn a_new_file_is_made_and_a_link_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().join("real/config.json");
        let link = dir.path().join("link.json");
        let here = super::super::testing::environment(&[]);
        let registry = "r.io:5000".parse().unwrap();
        assert!(!erase(&real, &registry, &here).await.unwrap());
        store(&real, &registry, &password("u", "p"), &here).await.unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        store(&link, &registry, &password("v", "p"), &here).await.unwrap();
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(found(&real, "r.io:5000", None), ["v"]);
        std::fs::write(&real, "[1]").unwrap();
        assert!(store(&real, &registry, &password("u", "p"), &here).await.is_err());
        assert_eq!(std::fs::read_to_string(&real).unwrap(), "[1]");
    }

    #[tokio::test]
    async fn a_helper_keeps_what_the_file_says_it_keeps() {
        let scripts = Scripts::new();
        let body = r#"d=${0%/*}; cat > "$d/$1.stdin"; [ "$1" = store ] || echo "credentials not found" >&2; [ "$1" = store ]"#;
        scripts.add("docker-credential-keys", body);
        let here = scripts.environment();
        let path = scripts.path().join("config.json");
        let content =
            json!({ "auths": { "r.io": auth("old:p") }, "credHelpers": { "r.io": "keys" } });
        std::fs::write(&path, content.to_string()).unwrap();
        let registry = "r.io".parse().unwrap();
        store(&path, &registry, &password("u", "s3cret"), &here).await.unwrap();
        let told = std::fs::read(scripts.path().join("store.stdin")).unwrap();
        let told: Value = serde_json::from_slice(&told).unwrap();
        assert_eq!(told, json!({ "ServerURL": "r.io", "Username": "u", "Secret": "s3cret" }));
        let text = std::fs::read_to_string(&path).unwrap();
        let written: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(written["auths"], json!({ "r.io": {} }));
        assert!(erase(&path, &registry, &here).await.unwrap());
        let told = std::fs::read_to_string(scripts.path().join("erase.stdin")).unwrap();
        assert_eq!(told, "r.io");
        assert!(!erase(&path, &registry, &here).await.unwrap());
    }
}
