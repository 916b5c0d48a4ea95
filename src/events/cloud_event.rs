//! CloudEvents 1.0 over HTTP (HTTP protocol binding §3): structured, with everything in the body,
//! or binary, with the attributes in `ce-…` headers and the data as the body.

use http::HeaderMap;
use jiff::Timestamp;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use serde_json::value::RawValue;

use super::Refusal;
use super::json;
use super::refusal::shorten;

/// An event whose data is not read yet.
pub struct CloudEvent<'a> {
    sender: &'static str,
    /// The attribute `type`.
    pub kind: String,
    pub at: Option<Timestamp>,
    data: &'a [u8],
}

#[derive(Deserialize)]
struct Structured<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    time: Value,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// What tells a structured event from other JSON: the attribute that each must have.
#[derive(Deserialize)]
struct Marked {
    specversion: Option<serde::de::IgnoredAny>,
}

impl<'a> CloudEvent<'a> {
    /// Whether the message is a CloudEvent in either mode.
    pub fn is_one(headers: &HeaderMap, body: &[u8]) -> bool {
        headers.contains_key("ce-type")
            || serde_json::from_slice::<Marked>(body).is_ok_and(|m| m.specversion.is_some())
    }

    pub fn read(
        sender: &'static str,
        headers: &HeaderMap,
        body: &'a [u8],
    ) -> Result<Self, Refusal> {
        let attribute = |name| headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(kind) = attribute("ce-type") {
            let at = attribute("ce-time").and_then(|time| json::moment(&Value::from(time)));
            return Ok(Self { sender, kind: kind.to_owned(), at, data: body });
        }
        let Structured { kind, time, data } = json::read(sender, body)?;
        let data = data.map_or("null", RawValue::get).as_bytes();
        Ok(Self { sender, kind, at: json::moment(&time), data })
    }

    pub fn data<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        serde_json::from_slice(self.data).map_err(|error| Refusal::Shape {
            sender: self.sender,
            problem: format!("its data: {}", shorten(&error.to_string())),
        })
    }
}
