//! A `password` as it was typed. A literal one is recognised, so that it can be refused with a
//! word on how to write it, and dropped on the spot, so that no error can show it.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_spanned::Spanned;

pub enum RawSecret {
    Literal,
    Source(RawSecretSource),
}

/// Exactly one of the three.
#[derive(serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Secret")]
pub struct RawSecretSource {
    /// The environment variable that holds it.
    #[schemars(with = "Option<String>")]
    pub env: Option<Spanned<String>>,
    /// The file that holds it; a line feed at its end is dropped.
    #[schemars(with = "Option<String>")]
    pub file: Option<Spanned<String>>,
    /// The program (and its arguments) that prints it.
    #[schemars(with = "Option<Vec<String>>")]
    pub command: Option<Spanned<Vec<String>>>,
}

impl<'de> Deserialize<'de> for RawSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Secret;
        impl<'de> Visitor<'de> for Secret {
            type Value = RawSecret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table with `env`, `file` or `command`")
            }

            fn visit_str<E>(self, _: &str) -> Result<RawSecret, E> {
                Ok(RawSecret::Literal)
            }

            // Numbers are passwords too, and serde's own errors would quote them.
            fn visit_i64<E>(self, _: i64) -> Result<RawSecret, E> {
                Ok(RawSecret::Literal)
            }

            fn visit_f64<E>(self, _: f64) -> Result<RawSecret, E> {
                Ok(RawSecret::Literal)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawSecret, A::Error> {
                RawSecretSource::deserialize(MapAccessDeserializer::new(map)).map(RawSecret::Source)
            }
        }
        deserializer.deserialize_any(Secret)
    }
}

impl JsonSchema for RawSecret {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<RawSecretSource>()
    }
}
