//! What templates are filled with, printed as Go prints it, and as JSON as Go writes it.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use jiff::tz::Offset;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Nil,
    Bool(bool),
    Number(i64),
    Text(String),
    Time(Time),
    /// `None`: Go's list without anything, which is `null` in JSON.
    List(Option<Vec<Value>>),
    /// The same.
    Map(Option<BTreeMap<String, Value>>),
    /// A structure of Go's.
    Record(Vec<Entry>),
}

/// A field of a structure: its name in templates, and its key in JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub name: &'static str,
    pub key: &'static str,
    /// Without a value, it is left out of JSON.
    pub optional: bool,
    pub value: Value,
}

/// A point in time, and the offset from UTC that it was written with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time(Timestamp, Offset);

impl Time {
    /// Reads RFC 3339.
    pub fn parse(text: &str) -> Option<Self> {
        let (date, offset) = match text.strip_suffix(['Z', 'z']) {
            Some(_) => (text, Offset::UTC),
            None => {
                let sign = text.rfind(['+', '-'])?;
                let (hours, minutes) = text[sign + 1..].split_once(':')?;
                let seconds = hours.parse::<i32>().ok()? * 3600 + minutes.parse::<i32>().ok()? * 60;
                let sign_of = if text[sign..].starts_with('-') { -1 } else { 1 };
                (text, Offset::from_seconds(sign_of * seconds).ok()?)
            }
        };
        Some(Self(date.parse().ok()?, offset))
    }
}

/// As Go prints it: `2022-08-09 17:19:53.47374331 +0000 UTC`.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let date = self.1.to_datetime(self.0);
        let (day, clock) = (date.date(), date.time());
        write!(f, "{day} {:02}:{:02}:{:02}", clock.hour(), clock.minute(), clock.second())?;
        write!(f, "{}", fraction(clock.subsec_nanosecond()))?;
        let offset = self.1.seconds() / 60;
        let sign = if offset < 0 { '-' } else { '+' };
        let zone = format!("{sign}{:02}{:02}", offset.abs() / 60, offset.abs() % 60);
        match offset {
            0 => write!(f, " {zone} UTC"),
            _ => write!(f, " {zone} {zone}"),
        }
    }
}

impl Time {
    fn rfc3339(self) -> String {
        let date = self.1.to_datetime(self.0);
        let (day, clock) = (date.date(), date.time());
        let offset = self.1.seconds() / 60;
        let sign = if offset < 0 { '-' } else { '+' };
        let zone = match offset {
            0 => "Z".to_owned(),
            _ => format!("{sign}{:02}:{:02}", offset.abs() / 60, offset.abs() % 60),
        };
        let (hour, minute, second) = (clock.hour(), clock.minute(), clock.second());
        let fraction = fraction(clock.subsec_nanosecond());
        format!("{day}T{hour:02}:{minute:02}:{second:02}{fraction}{zone}")
    }
}

/// Without the zeros at its end.
fn fraction(nanoseconds: i32) -> String {
    let digits = format!(".{nanoseconds:09}");
    digits.trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl Value {
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub fn texts(texts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::List(Some(texts.into_iter().map(Self::text).collect()))
    }

    /// Whether `if` takes it for true.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Time(_) | Self::Record(_) => true,
            other => !other.is_empty(),
        }
    }

    /// What Go's JSON leaves out of a field that is optional.
    fn is_empty(&self) -> bool {
        match self {
            Self::Nil => true,
            Self::Bool(yes) => !yes,
            Self::Number(number) => *number == 0,
            Self::Text(text) => text.is_empty(),
            Self::List(list) => list.as_ref().is_none_or(Vec::is_empty),
            Self::Map(map) => map.as_ref().is_none_or(BTreeMap::is_empty),
            Self::Time(_) | Self::Record(_) => false,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nil => f.write_str("<nil>"),
            Self::Bool(yes) => yes.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => f.write_str(text),
            Self::Time(time) => time.fmt(f),
            Self::List(list) => {
                f.write_str("[")?;
                spaced(f, list.iter().flatten(), |f, value| value.fmt(f))?;
                f.write_str("]")
            }
            Self::Map(map) => {
                f.write_str("map[")?;
                let pairs = map.iter().flatten();
                spaced(f, pairs, |f, (key, value)| write!(f, "{key}:{value}"))?;
                f.write_str("]")
            }
            Self::Record(fields) => {
                f.write_str("{")?;
                spaced(f, fields.iter(), |f, entry| entry.value.fmt(f))?;
                f.write_str("}")
            }
        }
    }
}

fn spaced<T>(
    f: &mut fmt::Formatter<'_>,
    items: impl Iterator<Item = T>,
    print: impl Fn(&mut fmt::Formatter<'_>, T) -> fmt::Result,
) -> fmt::Result {
    for (at, item) in items.enumerate() {
        if at > 0 {
            f.write_str(" ")?;
        }
        print(f, item)?;
    }
    Ok(())
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Nil => serializer.serialize_none(),
            Self::Bool(yes) => yes.serialize(serializer),
            Self::Number(number) => number.serialize(serializer),
            Self::Text(text) => text.serialize(serializer),
            Self::Time(time) => time.rfc3339().serialize(serializer),
            Self::List(list) => list.serialize(serializer),
            Self::Map(map) => map.serialize(serializer),
            Self::Record(fields) => {
                let mut map = serializer.serialize_map(None)?;
                for Entry { key, optional, value, .. } in fields {
                    if !(*optional && value.is_empty()) {
                        map.serialize_entry(key, value)?;
                    }
                }
                map.end()
            }
        }
    }
}
