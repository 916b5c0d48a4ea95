//! Who we are at a registry.
//!
//! Looked for in the configuration first, then in the auth files of [`Environment::auth_files`].
//! What was found is kept for the life of the process; [`CredentialSource::renew`] asks again.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};

use super::docker_config::{AuthFile, Entry, blocking, server_name};
use super::environment::Environment;
use super::error::AuthError;
use super::helper::Helper;
use super::{Clock, secret};
use crate::config::SecretSource;
use crate::oci::RegistryHost;

/// What proves who we are.
#[derive(Clone)]
pub enum Credential {
    Password {
        username: String,
        password: SecretString,
    },
    /// An identity token: for token servers only.
    RefreshToken(SecretString),
}

impl PartialEq for Credential {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Password { username: a, password: x },
                Self::Password { username: b, password: y },
            ) => a == b && x.expose_secret() == y.expose_secret(),
            (Self::RefreshToken(x), Self::RefreshToken(y)) => {
                x.expose_secret() == y.expose_secret()
            }
            _ => false,
        }
    }
}

impl Eq for Credential {}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { username, .. } => write!(f, "Password({username}, [REDACTED])"),
            Self::RefreshToken(_) => f.write_str("RefreshToken([REDACTED])"),
        }
    }
}

/// Whoever knows the credentials of registries.
#[async_trait]
pub trait CredentialSource: Send + Sync {
    /// The credential for a repository of the registry; for the whole registry without one.
    async fn find(
        &self,
        registry: &RegistryHost,
        repository: Option<&str>,
    ) -> Result<Option<Credential>, AuthError>;

    /// Looks again after `refused` (none: no credential) was not accepted: passwords rotate, and
    /// people log in. Gives a credential only if it is another one.
    async fn renew(
        &self,
        registry: &RegistryHost,
        repository: Option<&str>,
        refused: Option<&Credential>,
    ) -> Result<Option<Credential>, AuthError>;
}

/// One credential for everything: for `login`, which tries it before it is kept.
#[async_trait]
impl CredentialSource for Credential {
    async fn find(
        &self,
        _: &RegistryHost,
        _: Option<&str>,
    ) -> Result<Option<Credential>, AuthError> {
        Ok(Some(self.clone()))
    }

    async fn renew(
        &self,
        _: &RegistryHost,
        _: Option<&str>,
        refused: Option<&Credential>,
    ) -> Result<Option<Credential>, AuthError> {
        Ok(Some(self.clone()).filter(|credential| Some(credential) != refused))
    }
}

/// The user name and password that the configuration gives a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplicitCredential {
    pub username: String,
    pub secret: SecretSource,
}

/// Credentials from the configuration and from docker's auth files.
pub struct CredentialStore {
    explicit: HashMap<RegistryHost, ExplicitCredential>,
    environment: Environment,
    clock: Clock,
    /// How long a helper or a command may take.
    time_limit: Duration,
    files: Remembered<Arc<Vec<AuthFile>>>,
    /// What the configuration's sources and the helpers said.
    asked: Mutex<HashMap<(RegistryHost, Source), Answer>>,
}

type Answer = Arc<Remembered<Option<Credential>>>;

#[derive(Clone, PartialEq, Eq, Hash)]
enum Source {
    Configuration,
    Helper(String),
}

/// Younger answers are not asked for again: the same would come.
const FRESH: Duration = Duration::from_secs(10);

impl CredentialStore {
    pub fn new(
        explicit: impl IntoIterator<Item = (RegistryHost, ExplicitCredential)>,
        environment: Environment,
        clock: Clock,
    ) -> Self {
        Self {
            explicit: explicit.into_iter().collect(),
            environment,
            clock,
            time_limit: secret::TIME_LIMIT,
            files: Remembered::default(),
            asked: Mutex::default(),
        }
    }

    async fn configured(
        &self,
        registry: &RegistryHost,
        explicit: &ExplicitCredential,
    ) -> Result<Option<Credential>, AuthError> {
        let source = &explicit.secret;
        let password =
            secret::resolve(source, registry.as_str(), &self.environment, self.time_limit).await?;
        Ok(Some(Credential::Password { username: explicit.username.clone(), password }))
    }

    async fn helped(
        &self,
        registry: &RegistryHost,
        name: &str,
    ) -> Result<Option<Credential>, AuthError> {
        let helper = Helper::new(name, server_name(registry), &self.environment, self.time_limit)?;
        let remembered = self.remembered(registry, Source::Helper(name.to_owned()));
        remembered.get((self.clock)(), || helper.get()).await
    }

    async fn read_files(&self) -> Result<Arc<Vec<AuthFile>>, AuthError> {
        let paths = self.environment.auth_files();
        let read =
            move || paths.iter().filter_map(|path| AuthFile::read(path).transpose()).collect();
        Ok(Arc::new(blocking(read).await?))
    }

    fn remembered(&self, registry: &RegistryHost, source: Source) -> Answer {
        self.asked.lock().entry((registry.clone(), source)).or_default().clone()
    }
}

#[async_trait]
impl CredentialSource for CredentialStore {
    async fn find(
        &self,
        registry: &RegistryHost,
        repository: Option<&str>,
    ) -> Result<Option<Credential>, AuthError> {
        if let Some(explicit) = self.explicit.get(registry) {
            let remembered = self.remembered(registry, Source::Configuration);
            return remembered.get((self.clock)(), || self.configured(registry, explicit)).await;
        }
        for file in self.files.get((self.clock)(), || self.read_files()).await?.iter() {
            for entry in file.entries(registry, repository)? {
                let found = match entry {
                    Entry::Credential(credential) => Some(credential),
                    Entry::Helper(name) => self.helped(registry, &name).await?,
                };
                if found.is_some() {
                    return Ok(found);
                }
            }
        }
        Ok(None)
    }

    /// What was learned within the last ten seconds is not asked for again, so that many refusals
    /// at once lead to one question.
    async fn renew(
        &self,
        registry: &RegistryHost,
        repository: Option<&str>,
        refused: Option<&Credential>,
    ) -> Result<Option<Credential>, AuthError> {
        let now = (self.clock)();
        self.files.forget_older(now).await;
        let asked: Vec<_> = self
            .asked
            .lock()
            .iter()
            .filter(|((host, _), _)| host == registry)
            .map(|(_, remembered)| remembered.clone())
            .collect();
        for remembered in asked {
            remembered.forget_older(now).await;
        }
        let found = self.find(registry, repository).await?;
        Ok(found.filter(|found| Some(found) != refused))
    }
}

impl fmt::Debug for CredentialStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialStore").field("explicit", &self.explicit).finish_non_exhaustive()
    }
}

/// An answer, and when it was given. Whoever comes while it is being asked for waits for it.
struct Remembered<T>(tokio::sync::Mutex<Option<(Instant, Result<T, AuthError>)>>);

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Self(tokio::sync::Mutex::new(None))
    }
}

impl<T: Clone> Remembered<T> {
    /// Failures are remembered for a moment only.
    async fn get<F>(&self, now: Instant, ask: impl FnOnce() -> F) -> Result<T, AuthError>
    where
        F: Future<Output = Result<T, AuthError>>,
    {
        let mut answer = self.0.lock().await;
        match &*answer {
            Some((_, Ok(known))) => return Ok(known.clone()),
            Some((at, Err(error))) if now.saturating_duration_since(*at) < FRESH => {
                return Err(error.clone());
            }
            _ => {}
        }
        let new = ask().await;
        *answer = Some((now, new.clone()));
        new
    }

    async fn forget_older(&self, now: Instant) {
        let mut answer = self.0.lock().await;
        if answer.as_ref().is_some_and(|(at, _)| now.saturating_duration_since(*at) >= FRESH) {
            *answer = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ManualClock, Scripts, environment, password};
    use super::*;

    /// A helper that counts its calls and says whatever the file `answer` says.
    fn helper(scripts: &Scripts, config: &str) -> (CredentialStore, ManualClock) {
        scripts.add(
            "docker-credential-x",
            r#"d=${0%/*}; cat >> "$d/asked"; echo >> "$d/asked"; sleep 0.1; cat "$d/answer""#,
        );
        std::fs::create_dir_all(scripts.path().join(".docker")).unwrap();
        std::fs::write(scripts.path().join(".docker/config.json"), config).unwrap();
        let clock = ManualClock::new();
        (CredentialStore::new([], scripts.environment(), clock.clock()), clock)
    }

    fn answer(scripts: &Scripts, user: &str) {
        let text = format!(r#"{{"Username":"{user}","Secret":"p"}}"#);
        std::fs::write(scripts.path().join("answer"), text).unwrap();
    }

    #[tokio::test]
    async fn the_configuration_stands_before_the_auth_file() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("auth.json");
        std::fs::write(
            &file,
            r#"{"auths":{"r.io":{"auth":"ZjpmcA=="},"s.io":{"auth":"ZjpmcA=="}}}"#,
        )
        .unwrap();
        let here = environment(&[("REGISTRY_AUTH_FILE", file.to_str().unwrap()), ("TOKEN", "p")]);
        let explicit =
            ExplicitCredential { username: "c".into(), secret: SecretSource::Env("TOKEN".into()) };
        let registries: [RegistryHost; 3] =
            ["r.io", "s.io", "t.io"].map(|host| host.parse().unwrap());
        let [r, s, t] = &registries;
        let store = CredentialStore::new([(r.clone(), explicit)], here, ManualClock::new().clock());
        assert_eq!(store.find(r, Some("a/b")).await.unwrap(), Some(password("c", "p")));
        assert_eq!(store.find(s, Some("a/b")).await.unwrap(), Some(password("f", "fp")));
        assert_eq!(store.find(t, None).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_helper_is_asked_once_by_many_and_again_after_a_refusal() {
        let scripts = Scripts::new();
        let (store, clock) = helper(&scripts, r#"{"credHelpers":{"docker.io":"x"}}"#);
        let hub: RegistryHost = "docker.io".parse().unwrap();
        answer(&scripts, "one");
        let finds = (0..20).map(|_| store.find(&hub, Some("library/alpine")));
        for found in futures_util::future::join_all(finds).await {
            assert_eq!(found.unwrap(), Some(password("one", "p")));
        }
        let asked = std::fs::read_to_string(scripts.path().join("asked")).unwrap();
        assert_eq!(asked, "https://index.docker.io/v1/\n");

        answer(&scripts, "two");
        let one = password("one", "p");
        assert_eq!(store.renew(&hub, None, Some(&one)).await.unwrap(), None, "asked just now");
        clock.advance(FRESH);
        let renewals = (0..20).map(|_| store.renew(&hub, None, Some(&one)));
        for renewed in futures_util::future::join_all(renewals).await {
            assert_eq!(renewed.unwrap(), Some(password("two", "p")));
        }
        assert_eq!(scripts.lines("asked"), 2);
        clock.advance(FRESH);
        assert_eq!(store.renew(&hub, None, Some(&password("two", "p"))).await.unwrap(), None);
        assert_eq!(scripts.lines("asked"), 3);
    }

    #[tokio::test]
    async fn a_failing_helper_is_an_error_for_its_registry_only() {
        let scripts = Scripts::new();
        let config = r#"{"auths":{"s.io":{"auth":"ZjpmcA=="}},"credHelpers":{"r.io":"x"}}"#;
        let (store, clock) = helper(&scripts, config);
        let registries: [RegistryHost; 2] = ["r.io", "s.io"].map(|host| host.parse().unwrap());
        let [r, s] = &registries;
        for _ in 0..3 {
            let error = store.find(r, None).await.unwrap_err().to_string();
            assert!(error.contains("`docker-credential-x` failed"), "{error}");
        }
        assert_eq!(scripts.lines("asked"), 1, "not asked anew by each");
        assert_eq!(store.find(s, None).await.unwrap(), Some(password("f", "fp")));
        answer(&scripts, "u");
        clock.advance(FRESH);
        assert_eq!(store.find(r, None).await.unwrap(), Some(password("u", "p")));
    }

    #[tokio::test]
    async fn a_login_made_meanwhile_is_found() {
        let scripts = Scripts::new();
        let (store, clock) = helper(&scripts, "{}");
        let registry: RegistryHost = "r.io".parse().unwrap();
        assert_eq!(store.find(&registry, None).await.unwrap(), None);
        let path = scripts.path().join(".docker/config.json");
        std::fs::write(path, r#"{"auths":{"r.io":{"auth":"ZjpmcA=="}}}"#).unwrap();
        clock.advance(FRESH);
        assert_eq!(store.find(&registry, None).await.unwrap(), None);
        let renewed = store.renew(&registry, None, None).await.unwrap();
        assert_eq!(renewed, Some(password("f", "fp")));
    }

    #[test]
    fn debug_shows_no_secret() {
        let text = format!(
            "{:?} {:?}",
            password("u", "s3cret"),
            Credential::RefreshToken("s3cret".into())
        );
        assert_eq!(text, "Password(u, [REDACTED]) RefreshToken([REDACTED])");
    }
}
