//! Finds the credentials of a registry: in the configuration first, then in the auth files of
//! docker, podman and skopeo, and with the credential helpers that these name.
//!
//! What was found is kept for the life of the process; [`CredentialStore::renew`] asks again.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::clock::Clock;
use super::credential::Credential;
use super::docker_config::{AuthFile, Entry, auth_files, blocking, server_name};
use super::error::AuthError;
use super::helper::Helper;
use crate::config::SecretSource;
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
    /// Used for every registry, whatever else is configured.
    only: Option<Credential>,
    explicit: HashMap<RegistryHost, ExplicitCredential>,
    environment: Environment,
    clock: Clock,
    files: SingleFlight<(), Answer<Arc<Vec<AuthFile>>>>,
    /// What a helper said about a registry, by the helper's name; without a name, what the
    /// configured source of the password said.
    asked: SingleFlight<(RegistryHost, Option<String>), Answer<Option<Credential>>>,
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
        }
    }

    /// One credential for everything: for `login`, which tries it before it is kept.
    pub fn only(credential: Credential) -> Self {
        let nothing = Self::new([], Environment::new(|_| None), Arc::new(Instant::now));
        Self { only: Some(credential), ..nothing }
    }

    /// The credential for a repository of the registry; for the whole registry without one.
    pub async fn find(
        &self,
        registry: &RegistryHost,
        repository: Option<&str>,
    ) -> Result<Option<Credential>, AuthError> {
        let found = self.look_up(registry, repository).await?;
        match &found {
            Some(Credential::Password { username, password }) => {
                redact::remember_password(username, password);
            }
            Some(Credential::RefreshToken(token)) => redact::remember(token),
            None => {}
        }
        Ok(found)
    }

    async fn look_up(
        &self,
        registry: &RegistryHost,
        repository: Option<&str>,
    ) -> Result<Option<Credential>, AuthError> {
        if self.only.is_some() {
            return Ok(self.only.clone());
        }
        if let Some(explicit) = self.explicit.get(registry) {
            let key = (registry.clone(), None);
            return self
                .remembered(&self.asked, &key, || self.configured(registry, explicit))
                .await;
        }
        let files = self.remembered(&self.files, &(), || self.read_files()).await?;
        for file in files.iter() {
            for entry in file.entries(registry, repository)? {
                let found = match entry {
                    Entry::Credential(credential) => Some(credential),
                    Entry::Helper(name) => {
                        let helper = Helper::new(&name, server_name(registry), &self.environment)?;
                        let key = (registry.clone(), Some(name));
                        self.remembered(&self.asked, &key, || helper.get()).await?
                    }
                };
                if found.is_some() {
                    return Ok(found);
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
    ) -> Result<Option<Credential>, AuthError> {
        let now = (self.clock)();
        let is_recent = |at: &Instant| now.saturating_duration_since(*at) < RECENT;
        self.files.retain(|(), (at, _)| is_recent(at));
        self.asked.retain(|(host, _), (at, _)| host != registry || is_recent(at));
        let found = self.find(registry, repository).await?;
        Ok(found.filter(|found| Some(found) != refused))
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
        let paths = auth_files(&self.environment);
        let read =
            move || paths.iter().filter_map(|path| AuthFile::read(path).transpose()).collect();
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
        let scripts = Scripts::create();
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
        clock.advance(RECENT);
        let renewals = (0..20).map(|_| store.renew(&hub, None, Some(&one)));
        for renewed in futures_util::future::join_all(renewals).await {
            assert_eq!(renewed.unwrap(), Some(password("two", "p")));
        }
        assert_eq!(scripts.lines("asked"), 2);
        clock.advance(RECENT);
        assert_eq!(store.renew(&hub, None, Some(&password("two", "p"))).await.unwrap(), None);
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
            let error = store.find(r, None).await.unwrap_err().to_string();
            assert!(error.contains("`docker-credential-x` failed"), "{error}");
        }
        assert_eq!(scripts.lines("asked"), 1, "not asked anew by each");
        assert_eq!(store.find(s, None).await.unwrap(), Some(password("f", "fp")));
        answer(&scripts, "u");
        clock.advance(RECENT);
        assert_eq!(store.find(r, None).await.unwrap(), Some(password("u", "p")));
    }

    #[tokio::test]
    async fn a_login_made_meanwhile_is_found() {
        let scripts = Scripts::create();
        let (store, clock) = helper(&scripts, "{}");
        let registry: RegistryHost = "r.io".parse().unwrap();
        assert_eq!(store.find(&registry, None).await.unwrap(), None);
        let path = scripts.path().join(".docker/config.json");
        std::fs::write(path, r#"{"auths":{"r.io":{"auth":"ZjpmcA=="}}}"#).unwrap();
        clock.advance(RECENT);
        assert_eq!(store.find(&registry, None).await.unwrap(), None);
        let renewed = store.renew(&registry, None, None).await.unwrap();
        assert_eq!(renewed, Some(password("f", "fp")));
    }
}
