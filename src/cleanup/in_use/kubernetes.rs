//! The output of `kubectl get … -o json`: a list of objects, or a single one, or several such one
//! after another. Each object of a list is parsed by itself and then dropped, because the pods of a
//! large cluster take gigabytes once they are parsed.
//!
//! Whatever may not be the whole truth is an error.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::error::Category;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::error::Unreadable;
use super::pods::{self, NoImage};
use super::sightings::Sightings;
use crate::config::in_use::ImagePath;
use crate::text::shorten;

/// The members of an object or of a list, as they are written.
type Document<'a> = HashMap<String, &'a RawValue>;

/// Notes all images of all objects. The paths lead to further images in each object.
pub fn read(
    bytes: &[u8],
    paths: &[ImagePath],
    sightings: &mut Sightings,
) -> Result<(), Unreadable> {
    let documents = serde_json::Deserializer::from_slice(bytes).into_iter::<Document<'_>>();
    let mut documents = documents.peekable();
    if documents.peek().is_none() {
        return Err(Unreadable::Empty);
    }
    documents.try_for_each(|document| {
        read_document(document.map_err(malformed)?, |object, kind| {
            read_object(object, kind, paths, sightings)
        })
    })
}

fn malformed(error: serde_json::Error) -> Unreadable {
    let words = shorten(&error.to_string(), 200);
    match error.classify() {
        Category::Eof => Unreadable::CutShort(words),
        _ => Unreadable::NotJson(words),
    }
}

fn parse<'a, T: Deserialize<'a>>(text: &'a RawValue) -> Result<T, Unreadable> {
    serde_json::from_str(text.get()).map_err(malformed)
}

/// Calls `each` with the objects of a document and, in a list, with the kind that they are of.
fn read_document(
    document: Document<'_>,
    mut each: impl FnMut(&Value, Option<&str>) -> Result<(), Unreadable>,
) -> Result<(), Unreadable> {
    let member = |name| document.get(name).map_or(Ok(Value::Null), |text| parse(text));
    let kind: Value = member("kind")?;
    // Servers written in Go say `null` of a list that was never made.
    let items: Option<Vec<&RawValue>> = match document.get("items") {
        Some(items) => parse(items)?,
        None => None,
    };
    if let Some(items) = items {
        let kind = kind.as_str().and_then(|kind| kind.strip_suffix("List"));
        let kind = kind.filter(|kind| !kind.is_empty());
        items.into_iter().try_for_each(|item| each(&parse(item)?, kind))?;
        let metadata: Value = member("metadata")?;
        let more = metadata.get("continue");
        return match more.is_none_or(|more| more.is_null() || more == "") {
            true => Ok(()),
            false => Err(Unreadable::Part),
        };
    }
    match kind.as_str().map(|kind| shorten(kind, 60)).as_deref() {
        None => Err(Unreadable::NoObject("something without `kind`".to_owned())),
        Some(kind) if kind.ends_with("List") => Err(Unreadable::NoItems { kind: kind.to_owned() }),
        // What a server says instead of an answer, and an answer for people's eyes.
        Some(kind @ ("Status" | "Table")) => Err(Unreadable::NoObject(format!("a {kind}"))),
        Some(_) => {
            let members = document.into_iter().map(|(name, text)| Ok((name, parse(text)?)));
            each(&Value::Object(members.collect::<Result<_, _>>()?), None)
        }
    }
}

/// `kind` is for an object that does not say its own, as in a list from the API itself.
fn read_object(
    object: &Value,
    kind: Option<&str>,
    paths: &[ImagePath],
    sightings: &mut Sightings,
) -> Result<(), Unreadable> {
    let Some(metadata) = object.get("metadata").and_then(Value::as_object) else {
        return Err(Unreadable::NoObject("something without `metadata`".to_owned()));
    };
    let kind = object.get("kind").and_then(Value::as_str).or(kind).unwrap_or("object");
    let place = place(kind, metadata);
    match pods::images(object, paths) {
        Ok(images) => {
            images.into_iter().for_each(|used| sightings.note(used, &place));
            Ok(())
        }
        Err(NoImage { text, problem }) => {
            Err(Unreadable::Image { place, image: format!("`{text}`"), problem })
        }
    }
}

/// `Deployment shop/web`.
fn place(kind: &str, metadata: &Map<String, Value>) -> String {
    let text =
        |key: &str| metadata.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let name = text("name").or(text("generateName")).unwrap_or("without a name");
    let place = match text("namespace") {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    };
    shorten(&place, 200)
}
