//! What an auth file holds.
//!
//! Which credential is taken for a repository, in this order (containers-auth.json(5)):
//! 1. `credHelpers` of the registry,
//! 2. `auths` of a path that the repository lies under, the longest first (`ghcr.io/acme/app`),
//! 3. `auths` of the registry,
//! 4. `credsStore`.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

use super::location::{Form, Place};
use crate::oci::RegistryHost;
use crate::registry::auth::credential::Credential;
use crate::registry::auth::error::AuthError;

/// What docker calls Docker Hub, in auth files and to helpers.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// Far more than any auth file has.
const FILE_LIMIT: u64 = 4 << 20;

/// An auth file, read. Has secrets in it, so it has no `Debug`.
pub struct AuthFile {
    path: PathBuf,
    logins: Vec<(Key, Login)>,
    helpers: Vec<(Key, String)>,
    /// `credsStore`: the helper for all registries that have no other.
    pub(super) store: Option<String>,
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) registry: RegistryHost,
    /// Without slashes at its ends; empty for the whole registry.
    pub(super) path: String,
}

/// What an auth file has for a repository.
pub enum Entry {
    /// And the key of the file that has it.
    Credential(Credential, String),
    /// Ask the helper of this name.
    Helper(String),
}

impl AuthFile {
    /// The file at this place, or none if there is no such file.
    pub fn read(Place { path, form }: &Place) -> Result<Option<Self>, AuthError> {
        let Some(bytes) = read(path)? else { return Ok(None) };
        let document = match form {
            Form::Usual => serde_json::from_slice(&bytes),
            Form::Legacy => serde_json::from_slice(&bytes)
                .map(|auths| Document { auths, ..Document::default() }),
        };
        // The parser's own words could quote a secret.
        let document: Document = document.map_err(|error| {
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

    pub fn path(&self) -> &Path {
        &self.path
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
        let mut entries = Vec::new();
        entries.extend(self.helper_of(registry).map(|name| Entry::Helper(name.to_owned())));
        for (key, login) in logins {
            if let Some(credential) = login.credential(&self.path, key)? {
                entries.push(Entry::Credential(credential, key.to_string()));
            }
        }
        entries.extend(self.store.iter().map(|name| Entry::Helper(name.clone())));
        Ok(entries)
    }

    pub(super) fn helper_of(&self, registry: &RegistryHost) -> Option<&str> {
        let whole = |key: &Key| key.path.is_empty() && key.registry == *registry;
        self.helpers.iter().find(|(key, _)| whole(key)).map(|(_, name)| name.as_str())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { registry, path } = self;
        if path.is_empty() { write!(f, "{registry}") } else { write!(f, "{registry}/{path}") }
    }
}

impl Key {
    /// Reads a key as people and programs write them: with or without scheme, slash, `/v1/`.
    pub(super) fn parse(text: &str) -> Option<Self> {
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
pub fn server_name(registry: &RegistryHost) -> &str {
    if registry.is_docker_hub() { DOCKER_HUB_KEY } else { registry.as_str() }
}

pub(super) async fn read_blocking(place: &Place) -> Result<Option<AuthFile>, AuthError> {
    let place = place.clone();
    blocking(move || AuthFile::read(&place)).await
}

/// Runs file work where it does not hold up the runtime.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AuthError> + Send + 'static,
) -> Result<T, AuthError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|stopped| {
        Err(problem(Path::new(""), format!("cannot be worked on: {stopped}")))
    })
}

/// The bytes of a file that may be missing, or empty, which is as good.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, AuthError> {
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

pub(super) fn problem(path: &Path, problem: String) -> AuthError {
    AuthError::AuthFile { path: path.to_owned(), problem }
}

#[cfg(test)]
pub(super) mod tests {
    use base64::engine::general_purpose::STANDARD;
    use serde_json::{Value, json};

    use super::*;

    pub fn file(content: &Value) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        std::fs::write(&path, content.to_string()).unwrap();
        (dir, path)
    }

    fn usual(path: &Path) -> Place {
        Place { path: path.to_owned(), form: Form::Usual }
    }

    pub fn auth(text: &str) -> Value {
        json!({ "auth": STANDARD.encode(text) })
    }

    /// What is found, in this order: user names, helpers' names.
    pub fn found(path: &Path, registry: &str, repository: Option<&str>) -> Vec<String> {
        let file = AuthFile::read(&usual(path)).unwrap().unwrap();
        let entries = file.entries(&registry.parse().unwrap(), repository).unwrap();
        let name = |entry| match entry {
            Entry::Credential(Credential::Password { username, .. }, _) => username,
            Entry::Credential(Credential::RefreshToken(_), _) => "<token>".to_owned(),
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
            ("ghcr.io", Some("acme/app"), &["helper gh", "app", "acme", "host", "helper desktop"]),
            (
                "ghcr.io",
                Some("acme/app/x"),
                &["helper gh", "app", "acme", "host", "helper desktop"],
            ),
            ("ghcr.io", Some("acme/apple"), &["helper gh", "acme", "host", "helper desktop"]),
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
    fn the_legacy_form_has_nothing_but_logins() {
        let (_dir, path) = file(&json!({ "https://index.docker.io/v1/": auth("hub:p") }));
        let place = Place { path, form: Form::Legacy };
        let file = AuthFile::read(&place).unwrap().unwrap();
        let entries = file.entries(&"docker.io".parse().unwrap(), Some("a/b")).unwrap();
        let [Entry::Credential(Credential::Password { username, .. }, key)] = &entries[..] else {
            panic!("{}", entries.len())
        };
        assert_eq!((username.as_str(), key.as_str()), ("hub", "docker.io"));
    }

    #[test]
    fn malformed_files_are_reported_without_their_content() {
        let (_dir, path) = file(&json!({ "auths": { "r.io": { "auth": "czNjcmV0" } } }));
        let file = AuthFile::read(&usual(&path)).unwrap().unwrap();
        let error = file.entries(&"r.io".parse().unwrap(), None).err().unwrap().to_string();
        let expected = "an `auth` for r.io that is not base64 of user:password";
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("s3cret") && !error.contains("czNjcmV0"), "{error}");
        for content in [r#"{"auths":"s3cret"}"#, "s3cret", "[1]", r#"{"auths":{"r.io":"s3cret"}}"#]
        {
            std::fs::write(&path, content).unwrap();
            let error = AuthFile::read(&usual(&path)).err().map(|error| error.to_string());
            let error = error.unwrap_or_else(|| panic!("{content}"));
            assert!(error.contains("is not an auth file (line 1"), "{error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
        std::fs::write(&path, "\n").unwrap();
        assert!(AuthFile::read(&usual(&path)).unwrap().is_none());
        assert_eq!(decode(&STANDARD.encode("u:p:w\0\0")), Some(("u".into(), "p:w".into())));
        assert_eq!(decode("dTpw"), Some(("u".into(), "p".into())));
        assert_eq!(decode("dTpwdw"), Some(("u".into(), "pw".into())));
    }
}
