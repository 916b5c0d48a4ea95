//! Where a secret comes from. Secrets are never written into the configuration itself.

use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::checker::Checker;
use super::document::Node;
use super::show::{list, path, quoted};
use super::text;

/// Source of a secret. The secret is read when it is needed, not with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// An environment variable; it was set when the configuration was read.
    Env(String),
    /// Absolute path of a file; it existed when the configuration was read.
    File(PathBuf),
    /// A program and its arguments, which prints the secret.
    Command(Vec<String>),
}

impl SecretSource {
    /// Where the secret is, in words: never the secret.
    pub fn place(&self) -> String {
        match self {
            Self::Env(name) => format!("the environment variable {name}"),
            Self::File(path) => path.display().to_string(),
            Self::Command(words) => {
                format!("the command `{}`", words.first().map_or("", String::as_str))
            }
        }
    }
}

/// Source of a secret: exactly one of the three keys.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Secret")]
pub struct SecretKeys {
    /// Environment variable that holds the secret.
    env: Option<String>,
    /// File that holds the secret; a newline at its end is ignored.
    file: Option<PathBuf>,
    /// Program and arguments that print the secret.
    #[serde(default, deserialize_with = "text::command")]
    command: Option<Vec<String>>,
}

const HOW_TO_WRITE_IT: &str = "write where it comes from: { env = \"VARIABLE\" }, \
                               { file = \"path\" } or { command = [\"program\", \"argument\"] }";

impl<'de> Deserialize<'de> for SecretSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text_or_secret(deserializer, "a table with `env`, `file` or `command`", |_| {
            let message = "a secret is never written into the configuration itself";
            Err(text::hinted(message, HOW_TO_WRITE_IT))
        })
    }
}

/// A string, which `read` makes a value of, or a table that names the source of a secret.
pub(super) fn text_or_secret<'de, D: Deserializer<'de>, T: From<SecretSource>>(
    deserializer: D,
    expected: &'static str,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, D::Error> {
    struct Either<R>(&'static str, R);
    impl<'de, T: From<SecretSource>, R: FnOnce(&str) -> Result<T, String>> Visitor<'de> for Either<R> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            (self.1)(text).map_err(E::custom)
        }

        // serde's own errors would quote numbers, and these may be passwords.
        fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
            self.visit_str(&number.to_string())
        }

        fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
            self.visit_str(&number.to_string())
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            let keys = SecretKeys::deserialize(MapAccessDeserializer::new(map))?;
            keys.source().map(T::from).map_err(A::Error::custom)
        }
    }
    deserializer.deserialize_any(Either(expected, read))
}

impl SecretKeys {
    fn source(self) -> Result<SecretSource, String> {
        match (self.env, self.file, self.command) {
            (Some(name), None, None) => Ok(SecretSource::Env(name)),
            (None, Some(file), None) => Ok(SecretSource::File(file)),
            (None, None, Some(words)) => Ok(SecretSource::Command(words)),
            _ => {
                let message = "a secret has exactly one of `env`, `file` and `command`";
                Err(text::hinted(message, HOW_TO_WRITE_IT))
            }
        }
    }
}

impl SecretSource {
    /// Makes the path absolute, and reports a missing file or variable.
    pub(super) fn check(&mut self, node: Node<'_>, checker: &mut Checker<'_>) {
        match self {
            Self::Env(name) => {
                let state = match (checker.env)(name) {
                    Some(value) if !value.is_empty() => return,
                    Some(_) => "empty",
                    None => "not set",
                };
                let message = format!("the environment variable {name} is {state}");
                checker.report_missing(node.span_of("env"), message);
            }
            Self::File(path) => checker.file(path, node.span_of("file")),
            Self::Command(_) => {}
        }
    }
}

/// As written in the configuration.
impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "{{ env = {} }}", quoted(name)),
            Self::File(file) => write!(f, "{{ file = {} }}", path(file)),
            Self::Command(command) => write!(f, "{{ command = {} }}", list(command)),
        }
    }
}
