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
use serde::de::value::{SeqAccessDeserializer, StrDeserializer};
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

use crate::oci::selection::{TagPattern, TagPatterns};
use crate::oci::{ImagePrefix, Platform, RegistryHost};
use crate::schedule::Schedule;

/// Separates the message of an error from its hint.
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

/// Reads a value from its text.
pub fn parsed<T: FromStr<Err: fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}

/// A value that is read from its text, for types that deserialise differently elsewhere.
struct Parsed<T>(T);

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Parsed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, parsed).map(Self)
    }
}

fn parsed_list<'de, D: Deserializer<'de>, T: FromStr<Err: fmt::Display>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let values = Vec::<Parsed<T>>::deserialize(deserializer)?;
    Ok(values.into_iter().map(|Parsed(value)| value).collect())
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

text_values!(ImagePrefix, RegistryHost, Schedule, Period, TagPattern);

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

        fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Vec<T>, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(seq))
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

/// A duration like `15m`.
pub struct Period(Duration);

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        humantime::parse_duration(text).map(Self).map_err(|_| {
            let hint = "write a number with its unit, like 90s, 15m, 24h or 7d";
            hinted(format_args!("`{text}` is not a duration"), hint)
        })
    }
}

impl From<Period> for Duration {
    fn from(period: Period) -> Self {
        period.0
    }
}

/// The same, for types that are not read from keys of their own.
pub fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    Period::deserialize(deserializer).map(Duration::from)
}

/// A duration longer than zero: itself or an option of it.
pub fn positive_duration<'de, D: Deserializer<'de>, T: From<Duration>>(
    deserializer: D,
) -> Result<T, D::Error> {
    from_text(deserializer, |text| match parsed(text)? {
        Period(Duration::ZERO) => Err("this must be longer than 0s".to_owned()),
        Period(duration) => Ok(duration.into()),
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
    let platforms = parsed_list(deserializer)?;
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
pub fn realms<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let realms = parsed_list::<_, Realm>(deserializer)?;
    Ok(realms.into_iter().map(|Realm(text)| text).collect())
}

/// A host that may be a token service, perhaps with a scheme in front.
///
/// It is not normalised like a registry: Docker Hub's other names are different hosts to a token
/// service. With a scheme it is what errors suggest to write here.
struct Realm(String);

impl FromStr for Realm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bare = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let with_scheme = bare.is_some_and(|bare| bare.parse::<RegistryHost>().is_ok());
        if !with_scheme && let Err(error) = text.parse::<RegistryHost>() {
            return Err(hinted(error, "name the host only, like auth.example.com"));
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

/// The name of a rule, which is used in logs, in metrics and on the command line.
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
