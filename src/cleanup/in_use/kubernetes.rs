//! The output of `kubectl get … -o json`: a list of objects, or a single one, or several such one
//! after another. Objects are looked at as they are parsed and then dropped, because the pods of a
//! large cluster take gigabytes once they are parsed.
//!
//! Whatever may not be the whole truth is an error.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::{Map, Value};

use super::error::Unreadable;
use super::pods::{self, NoImage};
use super::sightings::Sightings;
use crate::config::in_use::ImagePath;
use crate::text::shorten;

/// Notes all images of all objects. The paths lead to further images in each object.
pub fn read(
    bytes: &[u8],
    paths: &[ImagePath],
    sightings: &mut Sightings,
) -> Result<(), Unreadable> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let mut reading = Reading { paths, sightings, problem: None };
    if json.end().is_ok() {
        return Err(Unreadable::Empty);
    }
    while json.end().is_err() {
        if let Err(error) = Document(&mut reading).deserialize(&mut json) {
            return Err(reading.problem.unwrap_or_else(|| malformed(&error)));
        }
    }
    Ok(())
}

fn malformed(error: &serde_json::Error) -> Unreadable {
    let words = shorten(&error.to_string(), 200);
    match error.classify() {
        Category::Eof => Unreadable::CutShort(words),
        _ => Unreadable::NotJson(words),
    }
}

struct Reading<'a> {
    paths: &'a [ImagePath],
    sightings: &'a mut Sightings,
    /// Why reading stopped, where it is not the fault of the JSON.
    problem: Option<Unreadable>,
}

impl Reading<'_> {
    /// `kind` is for an object that does not say its own, as in a list from the API itself.
    fn object<E: Error>(&mut self, object: &Value, kind: Option<&str>) -> Result<(), E> {
        let Some(metadata) = object.get("metadata").and_then(Value::as_object) else {
            return self.stop(Unreadable::NoObject("something without `metadata`".to_owned()));
        };
        let kind = object.get("kind").and_then(Value::as_str).or(kind).unwrap_or("object");
        let place = place(kind, metadata);
        match pods::images(object, self.paths) {
            Ok(images) => {
                images.into_iter().for_each(|used| self.sightings.note(used, &place));
                Ok(())
            }
            Err(NoImage { text, problem }) => {
                self.stop(Unreadable::Image { place, image: format!("`{text}`"), problem })
            }
        }
    }

    fn stop<T, E: Error>(&mut self, problem: Unreadable) -> Result<T, E> {
        self.problem = Some(problem);
        Err(E::custom("stopped"))
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

/// One of the documents: an object, or a list of them.
struct Document<'r, 'a>(&'r mut Reading<'a>);

impl<'de> DeserializeSeed<'de> for Document<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Document<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of Kubernetes or a list of them")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let reading = self.0;
        let mut rest = Map::new();
        let mut is_list = false;
        while let Some(key) = map.next_key::<String>()? {
            if key == "items" {
                let kind = rest.get("kind").and_then(Value::as_str);
                let kind = kind.and_then(|kind| kind.strip_suffix("List"));
                let kind = kind.filter(|kind| !kind.is_empty()).map(str::to_owned);
                is_list |= map.next_value_seed(Items { reading: &mut *reading, kind })?;
            } else {
                rest.insert(key, map.next_value()?);
            }
        }
        let kind = rest.get("kind").and_then(Value::as_str).map(|kind| shorten(kind, 60));
        if is_list {
            let more = rest.get("metadata").and_then(|metadata| metadata.get("continue"));
            return match more.is_none_or(|more| more.is_null() || more == "") {
                true => Ok(()),
                false => reading.stop(Unreadable::Part),
            };
        }
        match kind.as_deref() {
            None => reading.stop(Unreadable::NoObject("something without `kind`".to_owned())),
            Some(kind) if kind.ends_with("List") => {
                reading.stop(Unreadable::NoItems { kind: kind.to_owned() })
            }
            // What a server says instead of an answer, and an answer for people's eyes.
            Some(kind @ ("Status" | "Table")) => {
                reading.stop(Unreadable::NoObject(format!("a {kind}")))
            }
            Some(_) => reading.object(&Value::Object(rest), None),
        }
    }
}

/// The objects of a list. Gives whether it is one: servers written in Go say `null` of a list that
/// was never made.
struct Items<'r, 'a> {
    reading: &'r mut Reading<'a>,
    kind: Option<String>,
}

impl<'de> DeserializeSeed<'de> for Items<'_, '_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Items<'_, '_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<bool, A::Error> {
        while let Some(item) = items.next_element::<Value>()? {
            self.reading.object(&item, self.kind.as_deref())?;
        }
        Ok(true)
    }
}
