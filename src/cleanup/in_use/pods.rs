//! The images in one object of Kubernetes. They are looked for by the keys that a pod has them
//! under, however deep: so whatever holds the template of a pod is understood, built in or custom,
//! scaled to zero or not.

use serde_json::{Map, Value};

use super::used::Used;
use crate::config::in_use::ImagePath;
use crate::text::shorten;

/// Lists of what is to run, each with an `image`.
const CONTAINERS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];
/// Lists of what runs, each with an `image` and an `imageID`.
const STATUSES: [&str; 3] =
    ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"];

/// Something that should name an image and does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoImage {
    pub text: String,
    pub problem: String,
}

/// All images in an object: those of pods, and those that the paths lead to.
///
/// # Errors
/// What should run has an image that cannot be understood. What a runtime reports and nobody can
/// understand is passed over if the object also says what should run, as every pod does; runtimes
/// name images in ways of their own, and report nothing at all before they have pulled.
pub fn images(object: &Value, paths: &[ImagePath]) -> Result<Vec<Used>, NoImage> {
    let mut search = Search::default();
    search.walk(object)?;
    for path in paths {
        for value in path.find(object) {
            search.wanted(value)?;
        }
    }
    match search.strange {
        Some(strange) if !search.has_wanted => Err(strange),
        _ => Ok(search.found),
    }
}

#[derive(Default)]
struct Search {
    found: Vec<Used>,
    /// Something of it says what should run.
    has_wanted: bool,
    /// The first that a runtime reports and that cannot be understood.
    strange: Option<NoImage>,
}

impl Search {
    /// JSON is at most 128 levels deep: its parser sees to that.
    fn walk(&mut self, value: &Value) -> Result<(), NoImage> {
        match value {
            Value::Object(object) => {
                for (key, value) in object {
                    self.list(key, value)?;
                    self.walk(value)?;
                }
                Ok(())
            }
            Value::Array(items) => items.iter().try_for_each(|item| self.walk(item)),
            _ => Ok(()),
        }
    }

    /// The images in a list, if its key says that there are any.
    fn list(&mut self, key: &str, value: &Value) -> Result<(), NoImage> {
        let Value::Array(items) = value else { return Ok(()) };
        for item in items.iter().filter_map(Value::as_object) {
            if CONTAINERS.contains(&key) {
                self.optional(item, "image")?;
            } else if STATUSES.contains(&key) {
                self.running(item.get("image"));
                self.running(item.get("imageID"));
            } else if key == "volumes"
                && let Some(Value::Object(image)) = item.get("image")
            {
                self.optional(image, "reference")?;
            }
        }
        Ok(())
    }

    fn optional(&mut self, item: &Map<String, Value>, key: &str) -> Result<(), NoImage> {
        item.get(key).map_or(Ok(()), |value| self.wanted(value))
    }

    /// What should run. Nothing is said by an empty text: templates have such.
    fn wanted(&mut self, value: &Value) -> Result<(), NoImage> {
        let text = match value {
            Value::Null => return Ok(()),
            Value::String(text) if text.is_empty() => return Ok(()),
            Value::String(text) => text,
            other => {
                let problem = "expected a text".to_owned();
                return Err(NoImage { text: shorten(&other.to_string(), 100), problem });
            }
        };
        let used = Used::parse(text)
            .map_err(|error| NoImage { text: shorten(text, 200), problem: error.to_string() })?;
        self.has_wanted = true;
        self.found.push(used);
        Ok(())
    }

    /// What runs. Nothing is said before it runs.
    fn running(&mut self, value: Option<&Value>) {
        let (text, used) = match value {
            None | Some(Value::Null) => return,
            Some(Value::String(text)) if text.is_empty() => return,
            Some(Value::String(text)) => (text.clone(), Used::of_runtime(text)),
            Some(other) => (other.to_string(), None),
        };
        match used {
            Some(used) => self.found.push(used),
            None if self.strange.is_none() => {
                let problem = "nor does the object say what should run".to_owned();
                self.strange = Some(NoImage { text: shorten(&text, 200), problem });
            }
            None => {}
        }
    }
}
