//! Finds the credentials of a registry: in the configuration first, then in the auth files of
//! docker, podman and skopeo, and with the credential helpers that these name.
//!
//! What was found is kept for the life of the process; [`CredentialStore::renew`] asks again.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::clock::Clock;
use super::credential::{Credential, Login};
use super::docker_config::{AuthFile, Entry, auth_files, blocking, server_name};
use super::error::AuthError;
use super::helper::Helper;
use crate::config::SecretSource;
use parking_lot::Mutex;

use crate::oci::RegistryHost;
use crate::redact;
use crate::secret::{Environment, read_secret};
use crate::single_flight::SingleFlight;

/// The user name and password that the configuration gives a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplicitCredential {
    pub username: String,
    pub secret: SecretSource,
}

/// Answers that are more recent than this are not asked for again: the same would come.
const RECENT: Duration = Duration::from_secs(10);

/// An answer, and when it was asked for.
type Answer<T> = (Instant, Result<T, AuthError>);

/// Knows the credentials of all registries.
pub struct CredentialStore {
    /// Used for every registry, whatever else is configured; `Some(None)`: nobody's.
    only: Option<Option<Credential>>,
    explicit: HashMap<RegistryHost, ExplicitCredential>,
    environment: Environment,
    clock: Clock,
    files: SingleFlight<(), Answer<Arc<Vec<AuthFile>>>>,
    /// What a helper said about a registry, by the helper's name; without a name, what the
    /// configured source of the password said.
    asked: SingleFlight<(RegistryHost, Option<String>), Answer<Option<Credential>>>,
    /// What was logged, so that each is logged once.
    logged: Mutex<HashSet<(RegistryHost, Arc<str>)>>,
}

impl CredentialStore {
    pub fn new(
        explicit: impl IntoIterator<Item = (RegistryHost, ExplicitCredential)>,
        environment: Environment,
        clock: Clock,
    ) -> Self {
        Self {
            only: None,
            explicit: explicit.into_iter().collect(),
            environment,
            clock,
            files: SingleFlight::default(),
            asked: SingleFlight::default(),
            logged: Mutex::default(),
        }
    }

    /// One credential for everything, or none: for what was given for one registry, whatever else is
    /// known.
    pub fn only(credential: Option<Credential>) -> Self {
        let nothing = Self::new([], Environment::new(|_| None), Arc::new(Instant::now));
        Self { only: Some(credential), ..nothing }
    }

    /// The credential for a repository of the registry; for the whole registry without one.
    pub async fn find(
        &self,
        registry: &RegistryHost,
        repository: Option<&str>,
    ) -> Result<Option<Login>, AuthError> {
        let found = self.look_up(registry, repository).await?;
        if let Some(login) = &found {
            match &login.credential {
                Credential::Password { username, password } => {
                    redact::remember_password(username, password);
                }
                Credential::RefreshToken(token) => redact::remember(token),
            }
            if self.logged.lock().insert((registry.clone(), login.origin.clone())) {
                tracing::debug!(%registry, credentials = %login, "credentials found");
            }
        }
        Ok(found)
    }

    async fn look_up(
        &self,
        registry: &RegistryHost,
        repository: Option<&str>,
    ) -> Result<Option<Login>, AuthError> {
        let login = |credential, origin: String| Login { credential, origin: origin.into() };
        if let Some(only) = &self.only {
            let only = only.clone();
            return Ok(only.map(|credential| login(credential, "this command".to_owned())));
        }
        if let Some(explicit) = self.explicit.get(registry) {
            let key = (registry.clone(), None);
            let ask = || self.configured(registry, explicit);
            let found = self.remembered(&self.asked, &key, ask).await?;
            let origin = format!("{} ([registry.\"{registry}\"])", explicit.secret.place());
            return Ok(found.map(|credential| login(credential, origin)));
        }
        let files = self.remembered(&self.files, &(), || self.read_files()).await?;
        for file in files.iter() {
            let path = file.path().display();
            for entry in file.entries(registry, repository)? {
                match entry {
                    Entry::Credential(credential, key) => {
                        return Ok(Some(login(credential, format!("{path} (entry {key})"))));
                    }
                    Entry::Helper(name) => {
                        let origin = format!("docker-credential-{name} (named in {path})");
                        let helper = Helper::new(&name, server_name(registry), &self.environment)?;
                        let key = (registry.clone(), Some(name));
                        let found = self.remembered(&self.asked, &key, || helper.get()).await?;
                        if let Some(credential) = found {
                            return Ok(Some(login(credential, origin)));
                        }
                    }
                }
            }
        }
        Ok(None)
    }

    /// Looks again after `refused` (`None`: no credential) was not accepted, because passwords
    /// rotate and people log in. Returns a credential only if it differs from `refused`.
    ///
    /// Recent answers are not asked for again, so that many refusals at once lead to one question.
    pub async fn renew(
        &self,
        registry: &RegistryHost,
        repository: Option<&str>,
        refused: Option<&Credential>,
    ) -> Result<Option<Login>, AuthError> {
        let now = (self.clock)();
        let is_recent = |at: &Instant| now.saturating_duration_since(*at) < RECENT;
        self.files.retain(|(), (at, _)| is_recent(at));
        self.asked.retain(|(host, _), (at, _)| host != registry || is_recent(at));
        let found = self.find(registry, repository).await?;
        Ok(found.filter(|found| Some(&found.credential) != refused))
    }

    /// The known answer, or what `ask` answers. Failures are remembered only while they are recent.
    async fn remembered<K, T, F>(
        &self,
        answers: &SingleFlight<K, Answer<T>>,
        key: &K,
        ask: impl FnOnce() -> F,
    ) -> Result<T, AuthError>
    where
        K: Hash + Eq + Clone,
        T: Clone,
        F: Future<Output = Result<T, AuthError>>,
    {
        let now = (self.clock)();
        let holds = |(at, answer): &Answer<T>| {
            answer.is_ok() || now.saturating_duration_since(*at) < RECENT
        };
        let ask = || async { Ok::<_, Infallible>((now, ask().await)) };
        let Ok((_, answer)) = answers.get(key, holds, ask).await;
        answer
    }

    async fn configured(
        &self,
        registry: &RegistryHost,
        explicit: &ExplicitCredential,
    ) -> Result<Option<Credential>, AuthError> {
        let password = read_secret(&explicit.secret, registry.as_str(), &self.environment).await?;
        Ok(Some(Credential::Password { username: explicit.username.clone(), password }))
    }

    async fn read_files(&self) -> Result<Arc<Vec<AuthFile>>, AuthError> {
        let places = auth_files(&self.environment);
        let read =
            move || places.iter().filter_map(|place| AuthFile::read(place).transpose()).collect();
        Ok(Arc::new(blocking(read).await?))
    }
}

impl fmt::Debug for CredentialStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialStore").field("explicit", &self.explicit).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::clock::ManualClock;
    use super::super::credential::password;
    use super::*;
    use crate::secret::testing::{Scripts, environment};

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

    async fn find(
        store: &CredentialStore,
        registry: &RegistryHost,
        repository: Option<&str>,
    ) -> Result<Option<Credential>, AuthError> {
        Ok(store.find(registry, repository).await?.map(|login| login.credential))
    }

    async fn renew(
        store: &CredentialStore,
        registry: &RegistryHost,
        refused: Option<&Credential>,
    ) -> Option<Credential> {
        store.renew(registry, None, refused).await.unwrap().map(|login| login.credential)
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
        assert_eq!(find(&store, r, Some("a/b")).await.unwrap(), Some(password("c", "p")));
        assert_eq!(find(&store, s, Some("a/b")).await.unwrap(), Some(password("f", "fp")));
        assert_eq!(find(&store, t, None).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_helper_is_asked_once_by_many_and_again_after_a_refusal() {
        let scripts = Scripts::create();
        let (store, clock) = helper(&scripts, r#"{"credHelpers":{"docker.io":"x"}}"#);
        let hub: RegistryHost = "docker.io".parse().unwrap();
        answer(&scripts, "one");
        let finds = (0..20).map(|_| find(&store, &hub, Some("library/alpine")));
        for found in futures_util::future::join_all(finds).await {
            assert_eq!(found.unwrap(), Some(password("one", "p")));
        }
        let asked = std::fs::read_to_string(scripts.path().join("asked")).unwrap();
        assert_eq!(asked, "https://index.docker.io/v1/\n");

        answer(&scripts, "two");
        let one = password("one", "p");
        assert_eq!(renew(&store, &hub, Some(&one)).await, None, "asked just now");
        clock.advance(RECENT);
        let renewals = (0..20).map(|_| renew(&store, &hub, Some(&one)));
        for renewed in futures_util::future::join_all(renewals).await {
            assert_eq!(renewed, Some(password("two", "p")));
        }
        assert_eq!(scripts.lines("asked"), 2);
        clock.advance(RECENT);
        assert_eq!(renew(&store, &hub, Some(&password("two", "p"))).await, None);
        assert_eq!(scripts.lines("asked"), 3);
    }

    #[tokio::test]
    async fn a_failing_helper_is_an_error_for_its_registry_only() {
        let scripts = Scripts::create();
        let config = r#"{"auths":{"s.io":{"auth":"ZjpmcA=="}},"credHelpers":{"r.io":"x"}}"#;
        let (store, clock) = helper(&scripts, config);
        let registries: [RegistryHost; 2] = ["r.io", "s.io"].map(|host| host.parse().unwrap());
        let [r, s] = &registries;
        for _ in 0..3 {
            let error = find(&store, r, None).await.unwrap_err().to_string();
            assert!(error.contains("`docker-credential-x` failed"), "{error}");
        }
        assert_eq!(scripts.lines("asked"), 1, "not asked anew by each");
        assert_eq!(find(&store, s, None).await.unwrap(), Some(password("f", "fp")));
        answer(&scripts, "u");
        clock.advance(RECENT);
        assert_eq!(find(&store, r, None).await.unwrap(), Some(password("u", "p")));
    }

    #[tokio::test]
    async fn a_login_made_meanwhile_is_found() {
        let scripts = Scripts::create();
        let (store, clock) = helper(&scripts, "{}");
        let registry: RegistryHost = "r.io".parse().unwrap();
        assert_eq!(find(&store, &registry, None).await.unwrap(), None);
        let path = scripts.path().join(".docker/config.json");
        std::fs::write(path, r#"{"auths":{"r.io":{"auth":"ZjpmcA=="}}}"#).unwrap();
        clock.advance(RECENT);
        assert_eq!(find(&store, &registry, None).await.unwrap(), None);
        let renewed = renew(&store, &registry, None).await;
        assert_eq!(renewed, Some(password("f", "fp")));
    }
}
