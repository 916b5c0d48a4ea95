//! What the formats have in common: bodies of JSON, bounded lists in them, and moments.

use std::fmt;
use std::marker::PhantomData;

use jiff::Timestamp;
use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::Value;

use super::refusal::{Refusal, shorten};
use super::{MAX_EVENTS, PushEvent};

/// Reads a body; `sender` is who should have sent it, for the error.
pub fn read<'de, T: Deserialize<'de>>(sender: &'static str, body: &'de [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body)
        .map_err(|error| Refusal::Shape { sender, problem: shorten(&error.to_string()) })
}

/// A moment as registries write it: RFC 3339, or seconds since 1970, whole or not.
///
/// `None` for anything else: a push without a good time is a push all the same.
pub fn moment(value: &Value) -> Option<Timestamp> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => match number.as_i64() {
            Some(seconds) => Timestamp::from_second(seconds).ok(),
            None => {
                let span = jiff::SignedDuration::try_from_secs_f64(number.as_f64()?).ok()?;
                Timestamp::from_duration(span).ok()
            }
        },
        _ => None,
    }
    .filter(|moment| *moment > Timestamp::UNIX_EPOCH)
}

/// A list of which no more than [`MAX_EVENTS`] are kept, whatever the body holds.
pub struct List<T> {
    items: Vec<T>,
    more: bool,
}

impl<T> List<T> {
    /// The items, if the list was not too long.
    pub fn items(self) -> Result<Vec<T>, Refusal> {
        if self.more { Err(Refusal::TooMany) } else { Ok(self.items) }
    }

    /// The events of all items: none for those that tell of nothing, an error for the first that
    /// cannot be.
    pub fn events(
        self,
        read: impl FnMut(T) -> Option<Result<PushEvent, Refusal>>,
    ) -> Result<Vec<PushEvent>, Refusal> {
        self.items()?.into_iter().filter_map(read).collect()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Items<T> {
            type Value = List<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<List<T>, A::Error> {
                let mut items = Vec::new();
                while items.len() < MAX_EVENTS {
                    match seq.next_element()? {
                        Some(item) => items.push(item),
                        None => return Ok(List { items, more: false }),
                    }
                }
                let more = seq.next_element::<IgnoredAny>()?.is_some();
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(List { items, more })
            }
        }
        deserializer.deserialize_seq(Items(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn moments_are_read_in_every_form() {
        let expected: Timestamp = "2014-12-03T00:22:41Z".parse().unwrap();
        for value in [
            json!("2014-12-03T00:22:41Z"),
            json!("2014-12-03T01:22:41.000+01:00"),
            json!(1_417_566_161),
            json!(1.417566161e9),
        ] {
            assert_eq!(moment(&value), Some(expected), "{value}");
        }
        let zero = "0001-01-01T00:00:00Z";
        for value in
            [json!("soon"), json!(0), json!(-1), json!(1e300), json!(zero), json!({}), json!(null)]
        {
            assert_eq!(moment(&value), None, "{value}");
        }
    }

    #[test]
    fn long_lists_are_not_kept() {
        let list = |count: usize| {
            let body = serde_json::to_vec(&vec![7_u8; count]).unwrap();
            read::<List<u8>>("a test", &body).unwrap().items().map(|items| items.len())
        };
        assert_eq!(list(0), Ok(0));
        assert_eq!(list(MAX_EVENTS), Ok(MAX_EVENTS));
        assert_eq!(list(MAX_EVENTS + 1), Err(Refusal::TooMany));
        assert_eq!(list(MAX_EVENTS * 3), Err(Refusal::TooMany));
    }
}
