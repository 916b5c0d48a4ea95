//! Where a secret comes from. Secrets are never written into the configuration itself.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator};
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
        let refuse = |_: &str| {
            let message = "a secret is never written into the configuration itself";
            Err(text::hinted(message, HOW_TO_WRITE_IT))
        };
        let expected = "a table with `env`, `file` or `command`";
        text::text_or_table(deserializer, expected, refuse, SecretKeys::source)
    }
}

impl SecretKeys {
    pub fn source(self) -> Result<SecretSource, String> {
        match self {
            Self { env: Some(name), file: None, command: None } => Ok(SecretSource::Env(name)),
            Self { env: None, file: Some(file), command: None } => Ok(SecretSource::File(file)),
            Self { env: None, file: None, command: Some(words) } => {
                Ok(SecretSource::Command(words))
            }
            _ => {
                let message = "a secret has exactly one of `env`, `file` and `command`";
                Err(text::hinted(message, HOW_TO_WRITE_IT))
            }
        }
    }
}

impl JsonSchema for SecretSource {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<SecretKeys>()
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
                checker.report(node.span_of("env"), message);
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
