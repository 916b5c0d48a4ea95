//! The name of a run: unique, and sorted by the time of the start.

use std::borrow::Cow;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

use crate::oci::{read_from_text, shown_as_text};

/// Like `20261121T093719Z-0a1b2c`: the second in which the run began, and six random digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct RunId(String);

/// Why a text is not the name of a run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the id of a run: they look like 20261121T093719Z-0a1b2c")]
pub struct RunIdError(String);

/// How an id looks: `0` stands for a digit, `x` for a lower-case hexadecimal one.
const SHAPE: &[u8] = b"00000000T000000Z-xxxxxx";

impl RunId {
    /// The id of a run that begins at this time. The low 24 bits of `random` are used.
    pub fn new(begun: Timestamp, random: u32) -> Self {
        let time = begun.to_zoned(TimeZone::UTC).strftime("%Y%m%dT%H%M%SZ");
        Self(format!("{time}-{:06x}", random & 0x00ff_ffff))
    }

    /// The second in which the run began; `None` for an id that no run can have, such as one in a 13th
    /// month.
    pub fn begun(&self) -> Option<Timestamp> {
        let time = self.0.split('-').next()?;
        let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", time).ok()?;
        Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
    }
}

shown_as_text!(RunId.0);
read_from_text!(RunId);

impl JsonSchema for RunId {
    fn schema_name() -> Cow<'static, str> {
        "RunId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}$" })
    }
}

impl FromStr for RunId {
    type Err = RunIdError;

    fn from_str(text: &str) -> Result<Self, RunIdError> {
        let fits = |(shape, byte): (&u8, u8)| match shape {
            b'0' => byte.is_ascii_digit(),
            b'x' => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
            literal => byte == *literal,
        };
        let is_id = text.len() == SHAPE.len() && SHAPE.iter().zip(text.bytes()).all(fits);
        if is_id { Ok(Self(text.to_owned())) } else { Err(RunIdError(text.to_owned())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_ids_are_ids() {
        let begun = "2026-11-21T09:37:19.9Z".parse().unwrap();
        assert_eq!(RunId::new(begun, 0xff0a_1b2c).as_str(), "20261121T093719Z-0a1b2c");
        for text in
            ["", "20261121T093719Z-0A1B2C", "20261121T093719Z-0a1b2", "../../../../../../etc/pa"]
        {
            let error = text.parse::<RunId>().unwrap_err();
            assert!(error.to_string().contains("20261121T093719Z-0a1b2c"), "{error}");
        }
        assert_eq!("20261321T093719Z-0a1b2c".parse::<RunId>().unwrap().begun(), None);
    }

    proptest! {
        #[test]
        fn ids_are_read_again_and_sort_by_time(a in 0..253_402_207_200_i64, b in 0..253_402_207_200_i64, random: u32) {
            let id = |second| RunId::new(Timestamp::from_second(second).unwrap(), random);
            prop_assert_eq!(id(a).as_str().parse(), Ok(id(a)));
            prop_assert_eq!(id(a).begun(), Some(Timestamp::from_second(a).unwrap()));
            prop_assert_eq!(id(a).cmp(&id(b)), a.cmp(&b));
        }
    }
}
