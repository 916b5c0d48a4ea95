//! Which certificates the connections to a registry use: what its `[registry]` entry names, else what
//! docker, podman and skopeo use for it, which is in a folder `certs.d/HOST[:PORT]`
//! (containers-certs.d(5)). Of several such folders, the first that exists is the one.

use std::fmt::Display;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::config::{Insecure, RegistryConfig};
use crate::oci::RegistryHost;
use crate::pem;
use crate::repository::Cause;
use crate::secret::Environment;

type Result<T> = std::result::Result<T, Cause>;

/// PEM documents, and where they are from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pem {
    pub text: Vec<u8>,
    /// For people: files, or the keys that name them.
    pub origin: String,
}

/// How a registry is spoken to.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// Plain http.
    pub http: bool,
    /// Certificates are not checked.
    pub no_verify: bool,
    /// Certificate authorities, trusted beside the system's.
    pub ca: Option<Pem>,
    /// Client certificate and key.
    pub identity: Option<Pem>,
}

impl Tls {
    /// As the configuration says, and nothing else.
    ///
    /// # Errors
    /// A file cannot be read, or is not what its key says.
    pub fn configured(config: &RegistryConfig) -> Result<Self> {
        let identity = match (&config.client_cert, &config.client_key) {
            (Some(certificate), Some(key)) => {
                Some(pair(certificate, key, "client_cert and client_key".to_owned())?)
            }
            _ => None,
        };
        let ca = config.ca_file.as_deref().map(|file| {
            let origin = format!("ca_file {}", file.display());
            Ok::<_, Cause>(Pem { text: read(file, pem::authorities)?.0, origin })
        });
        Ok(Self {
            http: config.insecure == Insecure::Http,
            no_verify: config.insecure == Insecure::NoVerify,
            ca: ca.transpose()?,
            identity,
        })
    }

    /// As the configuration says; what it leaves open is as the folders for this host say.
    ///
    /// # Errors
    /// A file cannot be read, or is not what its name says.
    pub fn of(
        host: &RegistryHost,
        config: &RegistryConfig,
        environment: &Environment,
    ) -> Result<Self> {
        let mut tls = Self::configured(config)?;
        if let Some(found) = Certificates::beside(host, config, environment)? {
            tls.ca = tls.ca.or(found.authorities);
            tls.identity = tls.identity.or(found.identity);
        }
        for (what, pem) in [("authorities", &tls.ca), ("client certificate", &tls.identity)] {
            if let Some(pem) = pem {
                tracing::debug!(registry = %host, from = %pem.origin, "{what} found");
            }
        }
        Ok(tls)
    }
}

/// The folders that may have the certificates for a registry, in this order: the user's, then the
/// machine's.
pub fn folders(host: &RegistryHost, environment: &Environment) -> Vec<PathBuf> {
    let home = environment.path("HOME");
    let below_home = |below: &str| home.as_ref().map(|home| home.join(below));
    let config = environment.path("XDG_CONFIG_HOME").or_else(|| below_home(".config"));
    let docker = environment.path("DOCKER_CONFIG").or_else(|| below_home(".docker"));
    let below_config = |program| config.as_ref().map(|config| config.join(program));
    let below_etc = |program| environment.machine().map(|it| it.root.join("etc").join(program));
    let programs = [
        below_config("containers"),
        below_config("docker"),
        docker,
        below_etc("containers"),
        below_etc("docker"),
    ];
    programs.into_iter().flatten().map(|dir| dir.join("certs.d").join(host.as_str())).collect()
}

/// What a folder of certificates has.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Certificates {
    /// `*.crt`.
    pub authorities: Option<Pem>,
    /// `NAME.cert` and `NAME.key`.
    pub identity: Option<Pem>,
}

impl Certificates {
    /// What the folders for this host have beside what is configured. `None`: there is no such folder,
    /// or nothing is left open that it could say.
    ///
    /// # Errors
    /// Something in the folder cannot be read, or is not what its name says.
    pub fn beside(
        host: &RegistryHost,
        config: &RegistryConfig,
        environment: &Environment,
    ) -> Result<Option<Self>> {
        let is_complete = config.ca_file.is_some() && config.client_cert.is_some();
        if config.insecure == Insecure::Http || is_complete {
            return Ok(None);
        }
        for folder in folders(host, environment) {
            if let Some(found) = Self::read(&folder)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// What is in this folder; `None`: there is no such folder, or it is out of reach for this user.
    ///
    /// # Errors
    /// Something in it cannot be read, or is not what its name says.
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        match std::fs::metadata(folder) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                tracing::debug!(folder = %folder.display(), "not open to this user, left out");
                return Ok(None);
            }
            Err(_) => return Ok(None),
        }
        let files = std::fs::read_dir(folder)
            .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>());
        let mut files: Vec<PathBuf> = files.map_err(|error| unreadable(folder, &error))?;
        files.sort();
        let with = |extension: &str| -> Vec<&PathBuf> {
            files.iter().filter(|file| file.extension().is_some_and(|it| it == extension)).collect()
        };
        let (certificates, keys) = (with("cert"), with("key"));
        for (those, other) in [(&certificates, "key"), (&keys, "cert")] {
            let lonely = those.iter().find(|file| !files.contains(&file.with_extension(other)));
            if let Some(file) = lonely {
                let missing = file.with_extension(other);
                let mut words = format!("{} needs {} beside it", file.display(), missing.display());
                if other == "key" {
                    words.push_str("; the certificate of an authority is named *.crt");
                }
                return Err(Cause::certificate_file(words));
            }
        }
        let identity = match &certificates[..] {
            [] => None,
            [certificate] => {
                let key = certificate.with_extension("key");
                let origin = format!("{} and {}", certificate.display(), key.display());
                Some(pair(certificate, &key, origin)?)
            }
            _ => {
                return Err(Cause::certificate_file(format!(
                    "{} has several client certificates: set client_cert and client_key for this registry",
                    folder.display()
                )));
            }
        };
        Ok(Some(Self { authorities: authorities(&with("crt"))?, identity }))
    }
}

fn authorities(files: &[&PathBuf]) -> Result<Option<Pem>> {
    let mut text = Vec::new();
    for file in files {
        text.extend(read(file, pem::authorities)?.0);
        text.push(b'\n');
    }
    let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
    Ok((!files.is_empty()).then(|| Pem { text, origin: names.join(", ") }))
}

/// A certificate and its key.
fn pair(certificate: &Path, key: &Path, origin: String) -> Result<Pem> {
    let (mut text, certificates) = read(certificate, pem::certificates)?;
    let (key_text, own_key) = read(key, pem::key)?;
    pem::check_pair(certificates, own_key).map_err(|why| unusable(key.display(), why))?;
    text.push(b'\n');
    text.extend(key_text);
    Ok(Pem { text, origin })
}

/// The text of a file, and what is in it.
fn read<T>(
    path: &Path,
    content: impl FnOnce(&[u8]) -> std::result::Result<T, String>,
) -> Result<(Vec<u8>, T)> {
    let text = std::fs::read(path).map_err(|error| unreadable(path, &error))?;
    let found = content(&text).map_err(|why| unusable(path.display(), why))?;
    Ok((text, found))
}

/// What is said of a file, or of the keys that name some.
pub(super) fn unusable(origin: impl Display, why: impl Display) -> Cause {
    Cause::certificate_file(format!("{origin} cannot be used: {why}"))
}

fn unreadable(path: &Path, error: &io::Error) -> Cause {
    Cause::certificate_file(format!("cannot read {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::pem::testing::identity as certificate;
    use crate::secret::Machine;
    use crate::secret::testing::environment;

    fn folder(files: &[(&str, &str)]) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        folder
    }

    #[test]
    fn folders_are_searched_the_users_first() {
        let folders = |host: &str, variables: &[(&str, &str)]| {
            let here = environment(variables).on(Machine { root: "/".into(), uid: 7 });
            let found = folders(&host.parse().unwrap(), &here);
            found.iter().map(|path| path.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(
            folders("r.example:5000", &[("HOME", "/h")]),
            [
                "/h/.config/containers/certs.d/r.example:5000",
                "/h/.config/docker/certs.d/r.example:5000",
                "/h/.docker/certs.d/r.example:5000",
                "/etc/containers/certs.d/r.example:5000",
                "/etc/docker/certs.d/r.example:5000",
            ]
        );
        assert_eq!(
            folders("r.example", &[("XDG_CONFIG_HOME", "/c"), ("DOCKER_CONFIG", "/d")]),
            [
                "/c/containers/certs.d/r.example",
                "/c/docker/certs.d/r.example",
                "/d/certs.d/r.example",
                "/etc/containers/certs.d/r.example",
                "/etc/docker/certs.d/r.example",
            ]
        );
        assert_eq!(folders("r.example", &[]).len(), 2);
    }

    #[test]
    fn what_is_in_a_folder_goes_by_the_names() {
        let (one, key) = certificate();
        let (two, _) = certificate();
        let files = [("b.crt", &*one), ("a.crt", &two), ("c.cert", &one), ("c.key", &key)];
        let full = folder(&[&files[..], &[("README", "x")]].concat());
        let path = |name: &str| full.path().join(name).display().to_string();
        let found = Certificates::read(full.path()).unwrap().unwrap();
        let authorities = found.authorities.unwrap();
        assert_eq!(authorities.origin, format!("{}, {}", path("a.crt"), path("b.crt")));
        assert_eq!(authorities.text, format!("{two}\n{one}\n").as_bytes());
        let identity = found.identity.unwrap();
        assert_eq!(identity.origin, format!("{} and {}", path("c.cert"), path("c.key")));
        assert_eq!(identity.text, format!("{one}\n{key}").as_bytes());
        let empty = folder(&[]);
        assert_eq!(Certificates::read(empty.path()), Ok(Some(Certificates::default())));
        assert_eq!(Certificates::read(&empty.path().join("none")), Ok(None));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let (one, key) = certificate();
        type Files<'a> = &'a [(&'a str, &'a str)];
        let (_, other_key) = certificate();
        let cases: [(Files<'_>, &str, &str); 8] = [
            (&[("ca.crt", "junk")], "ca.crt", " cannot be used: there is no certificate in it"),
            (
                &[("c.cert", &key), ("c.key", &key)],
                "c.cert",
                " cannot be used: there is no certificate in it",
            ),
            (
                &[("c.cert", &one), ("c.key", &one)],
                "c.key",
                " cannot be used: there is no private key in it",
            ),
            (
                &[("c.cert", &one), ("c.key", &other_key)],
                "c.key",
                " cannot be used: its private key does not belong to the client certificate",
            ),
            (&[("c.cert", &one)], "c.cert", "the certificate of an authority is named *.crt"),
            (&[("c.key", &key)], "c.key", "c.cert beside it"),
            (
                &[("a.cert", &one), ("a.key", &key), ("b.cert", &one), ("b.key", &key)],
                "",
                " has several client certificates",
            ),
            (&[("ca.crt", "-----BEGIN CERTIFICATE-----\nx")], "ca.crt", " cannot be used: "),
        ];
        for (files, name, words) in cases {
            let folder = folder(files);
            let error = Certificates::read(folder.path()).unwrap_err();
            assert!(error.kind().is_of_registry(), "{error:?}");
            let error = error.to_string();
            let file = folder.path().join(name).display().to_string();
            assert!(error.contains(file.trim_end_matches('/')), "{error}");
            assert!(error.contains(words), "{error}");
        }
        let folder = folder(&[]);
        std::fs::create_dir(folder.path().join("ca.crt")).unwrap();
        let error = Certificates::read(folder.path()).unwrap_err().to_string();
        assert!(error.starts_with("cannot read ") && error.contains("ca.crt: "), "{error}");
    }

    #[test]
    fn the_configuration_stands_before_the_folders() {
        let (one, key) = certificate();
        let (two, _) = certificate();
        let home = tempfile::tempdir().unwrap();
        let root = tempfile::tempdir().unwrap();
        let write = |dir: &Path, files: &[(&str, &str)]| {
            std::fs::create_dir_all(dir).unwrap();
            files.iter().for_each(|(name, text)| std::fs::write(dir.join(name), text).unwrap());
        };
        let host: RegistryHost = "r.example:5000".parse().unwrap();
        let here = environment(&[("HOME", home.path().to_str().unwrap())])
            .on(Machine { root: root.path().into(), uid: 7 });
        let of = |config: &RegistryConfig| Tls::of(&host, config, &here).unwrap();
        let plain = RegistryConfig::default();
        assert_eq!(of(&plain).ca, None);

        let files = [("c.cert", &*one), ("c.key", &key), ("ca.crt", &one)];
        write(&root.path().join("etc/docker/certs.d/r.example:5000"), &files);
        let found = of(&plain);
        assert!(found.ca.unwrap().origin.ends_with("etc/docker/certs.d/r.example:5000/ca.crt"));
        assert!(found.identity.is_some());

        let file = home.path().join("own.pem");
        std::fs::write(&file, &two).unwrap();
        let config = RegistryConfig { ca_file: Some(file), ..RegistryConfig::default() };
        let found = of(&config);
        assert_eq!(found.ca.unwrap().text, two.as_bytes());
        assert!(found.identity.is_some());
        let http = RegistryConfig { insecure: Insecure::Http, ..RegistryConfig::default() };
        assert!(of(&http).identity.is_none());

        // The first folder that exists is the only one.
        write(&home.path().join(".docker/certs.d/r.example:5000"), &[("ca.crt", &two)]);
        let found = of(&plain);
        assert_eq!(found.ca.unwrap().text, format!("{two}\n").as_bytes());
        assert!(found.identity.is_none());
    }
}
