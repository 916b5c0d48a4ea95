//! Reads secrets from where the configuration says they are: environment variables, files and
//! commands. A secret is never part of an error; strangers who repeat it are silenced.

mod environment;
#[cfg(test)]
pub mod testing;

use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;
use tokio::io::AsyncReadExt;

use crate::config::SecretSource;
use crate::process::{self, Limits};
use crate::redact;

pub use environment::{Environment, Machine};

/// More than any password or token has.
const FILE_LIMIT: u64 = 64 * 1024;

/// What a program that prints a secret may take.
pub const PROGRAM_LIMITS: Limits = Limits { time: Duration::from_secs(30), output: 64 * 1024 };

/// Why a secret cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    #[error("the environment variable {name} is not {expected}")]
    Variable { name: String, expected: &'static str },
    #[error("the secret file {} {problem}", path.display())]
    File { path: PathBuf, problem: String },
    #[error("the command `{program}`, which prints the secret for {whose}, {problem}")]
    Command { program: String, whose: String, problem: String },
}

/// The secret, without the line break at its end. `whose` says in errors what it is for.
///
/// # Errors
/// The secret is not where the configuration says it is.
pub async fn read_secret(
    source: &SecretSource,
    whose: &str,
    environment: &Environment,
) -> Result<SecretString, SecretError> {
    let secret = find(source, whose, environment).await?;
    redact::remember(&secret);
    Ok(secret)
}

async fn find(
    source: &SecretSource,
    whose: &str,
    environment: &Environment,
) -> Result<SecretString, SecretError> {
    match source {
        SecretSource::Env(name) => {
            let is_not = |expected| SecretError::Variable { name: name.clone(), expected };
            let value = environment.variable(name).ok_or_else(|| is_not("set"))?;
            let value = value.into_string().map_err(|_| is_not("valid UTF-8"))?;
            trimmed(&value).ok_or_else(|| is_not("set"))
        }
        SecretSource::File(path) => {
            let problem = |problem| SecretError::File { path: path.clone(), problem };
            let text = read(path).await.map_err(problem)?;
            trimmed(&text).ok_or_else(|| problem("is empty".to_owned()))
        }
        SecretSource::Command(words) => print(words, whose, environment, PROGRAM_LIMITS).await,
    }
}

/// The first line that a command prints.
async fn print(
    words: &[String],
    whose: &str,
    environment: &Environment,
    limits: Limits,
) -> Result<SecretString, SecretError> {
    let (program, arguments) = words.split_first().map_or(("", words), |(p, rest)| (p, rest));
    let problem = |problem| SecretError::Command {
        program: program.to_owned(),
        whose: whose.to_owned(),
        problem,
    };
    let path = environment.variable("PATH");
    let output = process::run(program, arguments, b"", path, limits).await.map_err(problem)?;
    if !output.success {
        return Err(problem(output.failure()));
    }
    let text = String::from_utf8(output.stdout)
        .map_err(|_| problem("printed something that is not UTF-8".to_owned()))?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(line.into()),
        _ => Err(problem("printed nothing".to_owned())),
    }
}

async fn read(path: &Path) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {}", error.kind());
    let file = tokio::fs::File::open(path).await.map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(FILE_LIMIT + 1).read_to_end(&mut bytes).await.map_err(unreadable)?;
    if bytes.len() as u64 > FILE_LIMIT {
        return Err(format!("is longer than {FILE_LIMIT} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())
}

/// The text without the line break at its end, unless nothing is left of it.
fn trimmed(text: &str) -> Option<SecretString> {
    let text = text.trim_end_matches(['\r', '\n']);
    (!text.is_empty()).then(|| text.into())
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::testing::{Scripts, environment};
    use super::*;

    async fn resolved(source: SecretSource, environment: &Environment) -> Result<String, String> {
        let secret = read_secret(&source, "r.io", environment).await;
        secret.map(|secret| secret.expose_secret().to_owned()).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn variables_and_files_lose_their_newline_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let file = SecretSource::File(path.clone());
        let here = environment(&[("TOKEN", " pass word \n"), ("EMPTY", ""), ("BLANK", "\r\n")]);
        assert_eq!(
            resolved(SecretSource::Env("TOKEN".into()), &here).await.unwrap(),
            " pass word "
        );
        for name in ["NONE", "EMPTY", "BLANK"] {
            let error = resolved(SecretSource::Env(name.into()), &here).await.unwrap_err();
            assert_eq!(error, format!("the environment variable {name} is not set"));
        }
        assert!(resolved(file.clone(), &here).await.unwrap_err().contains("cannot be read"));
        for (content, expected) in [
            (b"s3cret\r\n".to_vec(), Ok("s3cret")),
            (b"\n".to_vec(), Err("is empty")),
            (vec![0xff], Err("is not UTF-8")),
            (vec![b'x'; 65_537], Err("is longer than")),
        ] {
            std::fs::write(&path, content).unwrap();
            match (resolved(file.clone(), &here).await, expected) {
                (Ok(secret), Ok(expected)) => assert_eq!(secret, expected),
                (Err(error), Err(expected)) => assert!(error.contains(expected), "{error}"),
                (got, expected) => panic!("{got:?} instead of {expected:?}"),
            }
        }
    }

    #[tokio::test]
    async fn commands_run_without_a_shell_and_give_their_first_line() {
        let scripts = Scripts::create();
        scripts.add("vault", r#"printf '%s\nmore\n' "$1""#);
        scripts.add("silent", "exit 0");
        scripts.add("broken", "echo s3cret; echo 'no such vault' >&2; exit 3");
        let here = scripts.environment();
        let run = |words: &[&str]| {
            SecretSource::Command(words.iter().map(|word| (*word).to_owned()).collect())
        };
        assert_eq!(resolved(run(&["vault", "$HOME;x"]), &here).await.unwrap(), "$HOME;x");
        assert!(resolved(run(&["silent"]), &here).await.unwrap_err().contains("printed nothing"));
        let error = resolved(run(&["broken"]), &here).await.unwrap_err();
        assert!(error.contains("`broken`") && error.contains("failed: no such vault"), "{error}");
        assert!(!error.contains("s3cret"), "{error}");
        let error = resolved(run(&["no-such-program"]), &here).await.unwrap_err();
        assert!(error.contains("is not in PATH"), "{error}");
        assert!(resolved(run(&[]), &here).await.is_err());
    }

    #[tokio::test]
    async fn a_command_that_hangs_is_given_up() {
        let scripts = Scripts::create();
        scripts.add("hang", "exec sleep 60");
        let limits = Limits { time: Duration::from_millis(300), ..PROGRAM_LIMITS };
        let environment = scripts.environment();
        let error = print(&["hang".into()], "r.io", &environment, limits).await.unwrap_err();
        assert!(error.to_string().contains("gave no answer within 0.3 seconds"), "{error}");
    }
}
