//! `[in_use.NAME]` as it was typed. `read_in_use` makes what was meant of it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_spanned::Spanned;

use super::one_or_many::OneOrMany;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "InUse")]
pub struct RawInUse {
    /// What is read: objects as `kubectl get … -o json` prints them, or one image a line.
    pub format: RawInUseFormat,
    /// The file to read, or a list of them. Either this or `command`.
    #[schemars(with = "Option<OneOrMany>")]
    pub file: Option<Spanned<OneOrMany>>,
    /// The program (and its arguments) whose output is read. Either this or `file`.
    #[schemars(with = "Option<Vec<String>>")]
    pub command: Option<Spanned<Vec<String>>>,
    /// Of `kubernetes`: JSONPaths (RFC 9535) to further images in an object, such as
    /// `$.spec.steps[*].image`.
    #[schemars(with = "Option<Vec<String>>")]
    pub paths: Option<Spanned<Vec<Spanned<String>>>>,
    /// Mirrors: what the names of images begin with, and what stands there where they are kept.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, String>")]
    pub aliases: BTreeMap<Spanned<String>, Spanned<String>>,
    /// How long what was seen stays protected after it was seen last. Default: `14d`.
    #[schemars(with = "Option<String>")]
    pub remember: Option<Spanned<String>>,
    /// How long `command` may take. Default: `60s`.
    #[schemars(with = "Option<String>")]
    pub timeout: Option<Spanned<String>>,
    /// Whether it is fine to list nothing after something was listed. Default: false.
    pub allow_empty: Option<bool>,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "InUseFormat")]
pub enum RawInUseFormat {
    Kubernetes,
    List,
}
