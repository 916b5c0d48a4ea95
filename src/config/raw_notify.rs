//! `[[notify]]` as it was typed.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_spanned::Spanned;

use super::raw_secret::{RawSecret, RawSecretSource};

#[derive(serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Notify")]
pub struct RawNotify {
    /// The webhook's address, or where it comes from if it is a secret, as those of chats are.
    #[schemars(with = "RawUrl")]
    pub url: Spanned<RawUrl>,
    /// What is sent: `json` has everything, `slack` is one text. Default: `json`.
    pub format: Option<RawNotifyFormat>,
    /// What is told: `failure`, `recovery`, `safety`. Default: all of them.
    #[schemars(with = "Option<Vec<RawAlertKind>>")]
    pub on: Option<Spanned<Vec<RawAlertKind>>>,
    /// Names of rules, or patterns of them. Default: every rule, and the daemon's own affairs.
    #[schemars(with = "Option<Vec<String>>")]
    pub rules: Option<Spanned<Vec<Spanned<String>>>>,
    /// Headers that are sent along, with where their values come from.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, RawSecret>")]
    pub headers: BTreeMap<Spanned<String>, Spanned<RawSecret>>,
}

#[derive(Clone, Copy, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "NotifyFormat")]
pub enum RawNotifyFormat {
    Json,
    Slack,
}

#[derive(Clone, Copy, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "AlertKind")]
pub enum RawAlertKind {
    Failure,
    Recovery,
    Safety,
}

/// A text, or a table that says where the text comes from.
pub enum RawUrl {
    Text(String),
    Source(RawSecretSource),
}

impl<'de> Deserialize<'de> for RawUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = RawUrl;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, or a table with `env`, `file` or `command`")
            }

            fn visit_str<E>(self, text: &str) -> Result<RawUrl, E> {
                Ok(RawUrl::Text(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawUrl, A::Error> {
                RawSecretSource::deserialize(MapAccessDeserializer::new(map)).map(RawUrl::Source)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for RawUrl {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "TextOrSecret".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let source = generator.subschema_for::<RawSecretSource>();
        json_schema!({ "anyOf": [{ "type": "string" }, source] })
    }
}
