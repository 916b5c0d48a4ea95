//! Writes docker's auth file, for `login` and `logout`. Everything else in the file stays as it is.

use std::io::{self, Write};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

use super::file::{AuthFile, Key, blocking, problem, read, read_blocking, server_name};
use super::location::{Form, Place};
use crate::oci::RegistryHost;
use crate::registry::auth::credential::Credential;
use crate::registry::auth::error::AuthError;
use crate::registry::auth::helper::Helper;
use crate::secret::Environment;

/// Where a credential is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keeper {
    /// The auth file itself.
    File,
    /// The program `docker-credential-<name>`, which the file names.
    Helper(String),
}

/// Keeps a credential for a registry: in the file, or in the helper that the file names for it.
/// Gives which of them it was.
///
/// The file is made if it is not there, readable by its owner only, and replaced in one step.
pub async fn store(
    path: &Path,
    registry: &RegistryHost,
    credential: &Credential,
    environment: &Environment,
) -> Result<Keeper, AuthError> {
    let place = Place { path: path.to_owned(), form: Form::Usual };
    let file = read_blocking(&place).await?;
    let mut keeper = Keeper::File;
    let mut entry = match credential {
        Credential::Password { username, password } => {
            json!({ "auth": STANDARD.encode(format!("{username}:{}", password.expose_secret())) })
        }
        Credential::RefreshToken(token) => json!({ "identitytoken": token.expose_secret() }),
    };
    if let Some(name) = file.as_ref().and_then(|file| helper_to_write(file, registry)) {
        Helper::new(name, server_name(registry), environment)?.store(credential).await?;
        // docker's mark that the helper has it.
        entry = json!({});
        keeper = Keeper::Helper(name.to_owned());
    }
    let registry = registry.clone();
    change(&place, move |auths| {
        auths.retain(|key, _| !names(key, &registry));
        auths.insert(server_name(&registry).to_owned(), entry);
        true
    })
    .await?;
    Ok(keeper)
}

/// Removes the credential of a registry, from the file and from the helper that it names for it.
/// Gives whether there was one. Entries of paths within the registry stay.
pub async fn erase(
    place: &Place,
    registry: &RegistryHost,
    environment: &Environment,
) -> Result<bool, AuthError> {
    let Some(file) = read_blocking(place).await? else { return Ok(false) };
    let mut erased = false;
    if let Some(name) = helper_to_write(&file, registry) {
        erased = Helper::new(name, server_name(registry), environment)?.erase().await?;
    }
    let registry = registry.clone();
    let removed = change(place, move |auths| {
        let before = auths.len();
        auths.retain(|key, _| !names(key, &registry));
        auths.len() < before
    });
    Ok(removed.await? || erased)
}

fn helper_to_write<'a>(file: &'a AuthFile, registry: &RegistryHost) -> Option<&'a str> {
    file.helper_of(registry).or(file.store.as_deref())
}

/// Whether a key stands for the whole of this registry.
fn names(key: &str, registry: &RegistryHost) -> bool {
    Key::parse(key).is_some_and(|key| key.path.is_empty() && key.registry == *registry)
}

/// Changes the `auths` of the file; `edit` says whether it did. Gives that back.
async fn change(
    place: &Place,
    edit: impl FnOnce(&mut Map<String, Value>) -> bool + Send + 'static,
) -> Result<bool, AuthError> {
    let Place { path, form } = place.clone();
    blocking(move || {
        let malformed = || problem(&path, "is not an auth file".to_owned());
        let bytes = read(&path)?.unwrap_or_else(|| b"{}".to_vec());
        let mut document: Map<String, Value> =
            serde_json::from_slice(&bytes).map_err(|_| malformed())?;
        let auths = match form {
            Form::Legacy => &mut document,
            Form::Usual => {
                let auths = document.entry("auths").or_insert_with(|| json!({}));
                if auths.is_null() {
                    *auths = json!({});
                }
                auths.as_object_mut().ok_or_else(malformed)?
            }
        };
        if !edit(auths) {
            return Ok(false);
        }
        let mut text = serde_json::to_vec_pretty(&document).map_err(|_| malformed())?;
        text.push(b'\n');
        replace(&path, &text)
            .map_err(|error| problem(&path, format!("cannot be written: {}", error.kind())))?;
        Ok(true)
    })
    .await
}

/// Puts a new file in the place of the old one, whole or not at all. A temporary file is readable
/// by its owner only from the beginning.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    // Links are followed, because people keep their configuration elsewhere.
    let path = path.canonicalize().unwrap_or(path.to_owned());
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory)?;
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(&path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::file::tests::{auth, file, found};
    use super::*;
    use crate::registry::auth::credential::password;
    use crate::secret::testing::{Scripts, environment};

    async fn erase(
        path: &Path,
        host: &RegistryHost,
        here: &Environment,
    ) -> Result<bool, AuthError> {
        super::erase(&Place { path: path.to_owned(), form: Form::Usual }, host, here).await
    }

    #[tokio::test]
    async fn a_login_of_the_legacy_form_is_removed() {
        let (_dir, path) = file(&json!({ "r.io": auth("u:p"), "s.io": auth("v:p") }));
        let place = Place { path: path.clone(), form: Form::Legacy };
        let here = environment(&[]);
        assert!(super::erase(&place, &"r.io".parse().unwrap(), &here).await.unwrap());
        assert!(!super::erase(&place, &"t.io".parse().unwrap(), &here).await.unwrap());
        let left: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(left, json!({ "s.io": auth("v:p") }));
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
        let here = environment(&[]);
        let keeper = store(&path, &hub, &password("new", "p:w"), &here).await.unwrap();
        assert_eq!(keeper, Keeper::File);
        let expected = |hub: Option<Value>| {
            let mut auths = json!({ "docker.io/acme": auth("path:p"), "ghcr.io": auth("other:p") });
            if let Some(entry) = hub {
                auths[server_name(&"docker.io".parse().unwrap())] = entry;
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
        let here = environment(&[]);
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
        let scripts = Scripts::create();
        let body = r#"d=${0%/*}; cat > "$d/$1.stdin"; [ "$1" = store ] || echo "credentials not found" >&2; [ "$1" = store ]"#;
        scripts.add("docker-credential-keys", body);
        let here = scripts.environment();
        let path = scripts.path().join("config.json");
        let content =
            json!({ "auths": { "r.io": auth("old:p") }, "credHelpers": { "r.io": "keys" } });
        std::fs::write(&path, content.to_string()).unwrap();
        let registry = "r.io".parse().unwrap();
        let keeper = store(&path, &registry, &password("u", "s3cret"), &here).await.unwrap();
        assert_eq!(keeper, Keeper::Helper("keys".to_owned()));
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
