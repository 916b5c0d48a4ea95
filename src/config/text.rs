//! Values that the configuration writes as text, for serde: durations, sizes, patterns, hosts.
//!
//! A text that cannot be used is refused inside the visitor, so that the error gets the span of
//! this very text, also in a list.

use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use jiff::tz::TimeZone;
use schemars::JsonSchema;
use semver::VersionReq;
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::oci::selection::{TagPattern, TagPatterns};
use crate::oci::{ImagePrefix, Platform, RegistryHost};
use crate::schedule::Schedule;

/// What stands between the message of an error and a hint.
pub const HINT: &str = "\nhint: ";

/// The text of an error with a hint.
pub fn hinted(message: impl fmt::Display, hint: &str) -> String {
    format!("{message}{HINT}{hint}")
}

/// Reads a string.
pub fn from_text<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, D::Error> {
    deserializer.deserialize_str(Text(read))
}

struct Text<F>(F);

impl<T, F: FnOnce(&str) -> Result<T, String>> Visitor<'_> for Text<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.0)(text).map_err(E::custom)
    }
}

/// Reads a list of strings.
fn list<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, D::Error> {
    deserializer.deserialize_seq(List(read))
}

struct List<F>(F);

impl<'de, T, F: Fn(&str) -> Result<T, String>> Visitor<'de> for List<F> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(Item(&self.0))? {
            values.push(value);
        }
        Ok(values)
    }
}

struct Item<'a, F>(&'a F);

impl<'de, T, F: Fn(&str) -> Result<T, String>> DeserializeSeed<'de> for Item<'_, F> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        from_text(deserializer, self.0)
    }
}

/// Reads a value from its text.
pub fn parsed<T: FromStr<Err: fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}

/// Makes types that are read from a text into values of the configuration.
macro_rules! text_values {
    ($($type:ty),+) => {$(
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(
                deserializer: D,
            ) -> Result<Self, D::Error> {
                $crate::config::text::from_text(deserializer, $crate::config::text::parsed)
            }
        }

        impl schemars::JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                String::json_schema(generator)
            }
        }
    )+};
}
pub(super) use text_values;

text_values!(ImagePrefix, RegistryHost, Schedule, TagPattern);

/// One string or a list of them.
pub fn one_or_many<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    struct Texts<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for Texts<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string or a list of strings")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Vec<T>, E> {
            Ok(vec![T::deserialize(StrDeserializer::new(text))?])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
            let mut values = Vec::new();
            while let Some(value) = seq.next_element()? {
                values.push(value);
            }
            Ok(values)
        }
    }
    deserializer.deserialize_any(Texts(PhantomData))
}

/// What the schema says of [`one_or_many`].
#[derive(JsonSchema)]
#[schemars(untagged, inline)]
#[expect(dead_code, reason = "nothing but its schema is used")]
pub enum OneOrMany {
    One(String),
    Many(#[schemars(length(min = 1))] Vec<String>),
}

/// A string, which `read` makes a value of, or a table.
pub fn text_or_table<'de, D: Deserializer<'de>, T, K: Deserialize<'de>>(
    deserializer: D,
    expected: &'static str,
    read: impl FnOnce(&str) -> Result<T, String>,
    make: impl FnOnce(K) -> Result<T, String>,
) -> Result<T, D::Error> {
    struct Either<R, M, K>(&'static str, R, M, PhantomData<K>);
    impl<'de, T, K, R, M> Visitor<'de> for Either<R, M, K>
    where
        K: Deserialize<'de>,
        R: FnOnce(&str) -> Result<T, String>,
        M: FnOnce(K) -> Result<T, String>,
    {
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
            let keys = K::deserialize(MapAccessDeserializer::new(map))?;
            (self.2)(keys).map_err(A::Error::custom)
        }
    }
    deserializer.deserialize_any(Either(expected, read, make, PhantomData))
}

/// A duration like `15m`. `T` is the duration itself or an option of it.
pub fn duration<'de, D: Deserializer<'de>, T: From<Duration>>(
    deserializer: D,
) -> Result<T, D::Error> {
    from_text(deserializer, |text| read_duration(text).map(T::from))
}

/// A duration longer than zero.
pub fn positive_duration<'de, D: Deserializer<'de>, T: From<Duration>>(
    deserializer: D,
) -> Result<T, D::Error> {
    from_text(deserializer, |text| match read_duration(text)? {
        Duration::ZERO => Err("this must be longer than nothing".to_owned()),
        duration => Ok(duration.into()),
    })
}

fn read_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| {
        let hint = "write a number with its unit, like 90s, 15m, 24h or 7d";
        hinted(format_args!("`{text}` is not a duration"), hint)
    })
}

/// A number of bytes, like `64MiB`.
pub fn read_size(text: &str) -> Result<u64, String> {
    text.parse::<bytesize::ByteSize>().map(|size| size.as_u64()).map_err(|_| {
        let hint = "write a number with its unit, like 64MiB or 2GB";
        hinted(format_args!("`{text}` is not a size"), hint)
    })
}

/// An IP address with a port.
pub fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    from_text(deserializer, |text| {
        text.parse().map_err(|_| {
            let message = format_args!("`{text}` is not an address with a port");
            hinted(message, "write it like 127.0.0.1:8642")
        })
    })
}

/// A time zone by its IANA name.
pub fn time_zone<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<TimeZone>, D::Error> {
    from_text(deserializer, |text| {
        TimeZone::get(text).map(Some).map_err(|_| {
            let message = format_args!("`{text}` is not a time zone of this machine's database");
            hinted(message, "name a city, like Europe/Berlin, or UTC")
        })
    })
}

/// A range of versions.
pub fn version_range<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<VersionReq>, D::Error> {
    from_text(deserializer, |text| {
        text.parse().map(Some).map_err(|error| {
            let message = format_args!("`{text}` is not a range of versions: {error}");
            hinted(message, "write it like >=1.2, <3 or ~1.4")
        })
    })
}

/// A list of tag patterns that may be empty.
pub fn any_tag_patterns<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<TagPatterns, D::Error> {
    TagPatterns::new(Vec::deserialize(deserializer)?).map_err(D::Error::custom)
}

/// A list of at least one tag pattern.
pub fn tag_patterns<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<TagPatterns>, D::Error> {
    let patterns = any_tag_patterns(deserializer)?;
    if patterns.entries().is_empty() {
        let message = "an empty list selects no tags: leave the key out or name some";
        return Err(D::Error::custom(message));
    }
    Ok(Some(patterns))
}

/// A list of at least one platform. [`Platform`]'s own serialisation is that of manifests.
pub fn platforms<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Platform>, D::Error> {
    let platforms = list(deserializer, parsed)?;
    if platforms.is_empty() {
        let message = "an empty list selects no platform: leave the key out for all";
        return Err(D::Error::custom(message));
    }
    Ok(platforms)
}

/// A program and its arguments.
pub fn command<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<String>>, D::Error> {
    let words = Vec::<String>::deserialize(deserializer)?;
    if words.first().is_none_or(String::is_empty) {
        return Err(D::Error::custom("the command names no program"));
    }
    Ok(Some(words))
}

/// A list of hosts that may be token services, some with a scheme in front.
///
/// They are not normalised like registries: Docker Hub's other names are different hosts to a
/// token service. With a scheme it is what errors suggest to write here.
pub fn realms<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    list(deserializer, |text| {
        let bare = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        if bare.is_some_and(|bare| bare.parse::<RegistryHost>().is_ok()) {
            return Ok(text.to_ascii_lowercase());
        }
        match text.parse::<RegistryHost>() {
            Ok(_) => Ok(text.to_ascii_lowercase()),
            Err(error) => Err(hinted(error, "name the host only, like auth.example.com")),
        }
    })
}

/// The name of a rule, which stands in logs, metrics and on the command line.
pub fn rule_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    from_text(deserializer, |text| {
        if text.trim().is_empty() {
            Err("a rule's name must not be empty".to_owned())
        } else if !is_one_line(text) {
            Err("a rule's name is one line of at most 100 characters".to_owned())
        } else {
            Ok(text.to_owned())
        }
    })
}

/// The name of a line of a policy.
pub fn line_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    from_text(deserializer, |text| match is_one_line(text) && !text.trim().is_empty() {
        true => Ok(text.to_owned()),
        false => Err("an id is one line of 1 to 100 characters".to_owned()),
    })
}

fn is_one_line(text: &str) -> bool {
    !text.chars().any(char::is_control) && text.chars().count() <= 100
}
