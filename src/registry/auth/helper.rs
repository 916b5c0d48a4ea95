//! docker's credential helpers: programs called `docker-credential-<name>`.
//!
//! Protocol: the verb is the only argument. `get` and `erase` read the server's name on stdin;
//! `get` prints and `store` reads `{"ServerURL","Username","Secret"}`. A user name of `<token>`
//! means that the secret is a refresh token.

use serde::Deserialize;
use serde_json::json;

use super::credential::Credential;
use super::error::AuthError;
use crate::process::{self, Limits, Output};
use crate::secret::{Environment, PROGRAM_LIMITS};
use crate::text::shorten;

/// How a refresh token is marked.
const TOKEN_USER: &str = "<token>";

/// The words, on stdout, of a helper that simply has nothing.
const NOT_FOUND: &str = "credentials not found";

/// A helper program, asked for one registry.
pub(super) struct Helper<'a> {
    program: String,
    /// The registry, as helpers know it.
    server: &'a str,
    environment: &'a Environment,
    limits: Limits,
}

/// What a helper prints.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Printed {
    username: String,
    secret: String,
}

impl<'a> Helper<'a> {
    /// `name` is what the auth file calls it. It becomes part of a program's name, so it must not
    /// lead to another directory.
    pub fn new(
        name: &str,
        server: &'a str,
        environment: &'a Environment,
    ) -> Result<Self, AuthError> {
        let harmless = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if name.is_empty() || !name.bytes().all(harmless) {
            return Err(AuthError::HelperName(shorten(name, 60)));
        }
        let program = format!("docker-credential-{name}");
        Ok(Self { program, server, environment, limits: PROGRAM_LIMITS })
    }

    /// The credential that the helper keeps, if it has one.
    pub async fn get(&self) -> Result<Option<Credential>, AuthError> {
        let output = self.run("get", self.server.as_bytes()).await?;
        if !output.success {
            return if has_nothing(&output) { Ok(None) } else { Err(self.fails(output.failure())) };
        }
        // The parser's words could quote the secret.
        let found: Printed = serde_json::from_slice(&output.stdout)
            .map_err(|_| self.fails("printed something that is not a credential".to_owned()))?;
        Ok(match (found.username.as_str(), found.secret.as_str()) {
            ("", _) | (_, "") => None,
            (TOKEN_USER, _) => Some(Credential::RefreshToken(found.secret.into())),
            _ => Some(Credential::Password {
                username: found.username,
                password: found.secret.into(),
            }),
        })
    }

    pub async fn store(&self, credential: &Credential) -> Result<(), AuthError> {
        let (username, secret) = credential.parts();
        let username = username.unwrap_or(TOKEN_USER);
        let kept = json!({ "ServerURL": self.server, "Username": username, "Secret": secret });
        let output = self.run("store", kept.to_string().as_bytes()).await?;
        if output.success { Ok(()) } else { Err(self.fails(output.failure())) }
    }

    /// Whether there was something to erase.
    pub async fn erase(&self) -> Result<bool, AuthError> {
        let output = self.run("erase", self.server.as_bytes()).await?;
        if output.success || has_nothing(&output) {
            return Ok(output.success);
        }
        Err(self.fails(output.failure()))
    }

    async fn run(&self, verb: &str, input: &[u8]) -> Result<Output, AuthError> {
        let path = self.environment.variable("PATH");
        let run = process::run(&self.program, &[verb], input, path, self.limits).await;
        run.map_err(|problem| self.fails(problem))
    }

    fn fails(&self, problem: String) -> AuthError {
        AuthError::Helper {
            helper: self.program.clone(),
            registry: self.server.to_owned(),
            problem,
        }
    }
}

fn has_nothing(output: &Output) -> bool {
    String::from_utf8_lossy(&output.stdout).trim().starts_with(NOT_FOUND)
        || output.complaint.starts_with(NOT_FOUND)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::credential::password;
    use super::*;
    use crate::secret::testing::{Scripts, environment};

    async fn get(scripts: &Scripts, name: &str) -> Result<Option<Credential>, AuthError> {
        let here = scripts.environment();
        Helper::new(name, "r.io", &here)?.get().await
    }

    #[tokio::test]
    async fn speaks_the_helpers_protocol() {
        let scripts = Scripts::create();
        scripts.add(
            "docker-credential-user",
            r#"[ "$1" = get ] && printf '{"ServerURL":"x","Username":"%s","Secret":"p:w"}' "$(cat)""#,
        );
        scripts.add("docker-credential-token", r#"echo '{"Username":"<token>","Secret":"r"}'"#);
        scripts.add(
            "docker-credential-none",
            "echo 'credentials not found in native keychain'; exit 1",
        );
        scripts.add("docker-credential-junk", r#"echo '{"Username":"s3cret'"#);
        scripts.add("docker-credential-fail", "echo s3cret; echo 'keychain is locked' >&2; exit 1");
        scripts.add("docker-credential-flood", "exec yes s3cret");
        assert_eq!(get(&scripts, "user").await.unwrap(), Some(password("r.io", "p:w")));
        let token = get(&scripts, "token").await.unwrap();
        assert_eq!(token, Some(Credential::RefreshToken("r".into())));
        assert_eq!(get(&scripts, "none").await.unwrap(), None);
        for (name, words) in [
            ("junk", "printed something that is not a credential"),
            ("fail", "failed: keychain is locked"),
            ("flood", "printed more than"),
            ("missing", "is not in PATH"),
        ] {
            let error = get(&scripts, name).await.unwrap_err().to_string();
            assert!(error.contains(&format!("`docker-credential-{name}` {words}")), "{error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_helper_that_hangs_is_killed() {
        let scripts = Scripts::create();
        scripts.add("docker-credential-hang", "echo $$ > \"${0%/*}/pid\"; exec sleep 60");
        let here = scripts.environment();
        let mut helper = Helper::new("hang", "r.io", &here).unwrap();
        helper.limits.time = Duration::from_millis(500);
        let error = helper.get().await.unwrap_err().to_string();
        assert!(error.contains("`docker-credential-hang` gave no answer within 0.5"), "{error}");
        let pid = std::fs::read_to_string(scripts.path().join("pid")).unwrap();
        let gone = async {
            // A zombie that tokio has yet to reap has no command line any more.
            let file = format!("/proc/{}/cmdline", pid.trim());
            while std::fs::read(&file).is_ok_and(|line| !line.is_empty()) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), gone).await.unwrap();
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let here = environment(&[]);
        for name in ["../evil", "a/b", "", "a b", "x;y"] {
            let helper = Helper::new(name, "r.io", &here);
            assert!(matches!(helper.err(), Some(AuthError::HelperName(_))), "{name}");
        }
    }
}
