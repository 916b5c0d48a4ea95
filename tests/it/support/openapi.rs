//! Answers against the OpenAPI document that the daemon serves: nothing that is not described.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::daemon::{Answer, Daemon};

/// The document, and what was seen of it.
pub struct Document {
    json: Value,
    /// Path, method and status.
    seen: BTreeSet<(String, String, String)>,
}

impl Document {
    pub async fn of(daemon: &Daemon) -> Self {
        let mut json = daemon.get("/api/v1/openapi.json").await.json();
        // A field without a description is a mistake, though clients must bear new ones.
        close(&mut json["components"]);
        Self { json, seen: BTreeSet::new() }
    }

    /// Panics unless the document describes this answer to `method path`, where `path` is as the
    /// document has it.
    pub fn check(&mut self, method: &str, path: &str, answer: &Answer) {
        let at = format!("{method} {path}: {}", answer.status);
        let operation = &self.json["paths"][path][method.to_ascii_lowercase()];
        assert!(operation.is_object(), "{at}: no such operation");
        let response = &operation["responses"][answer.status.to_string()];
        assert!(response.is_object(), "{at} is not described: {answer:?}");
        let content: Vec<_> = response["content"].as_object().unwrap().iter().collect();
        let [(media_type, description)] = content[..] else { panic!("{at}: {response}") };
        let actual = answer.headers["content-type"].to_str().unwrap();
        let essence = actual.split(';').next().unwrap();
        assert!(media_type == actual || media_type == essence, "{at}: {actual} is no {media_type}");
        let instance = if media_type.ends_with("json") {
            answer.json()
        } else {
            Value::String(answer.body.clone())
        };
        if media_type == "application/problem+json" {
            assert_eq!(instance["status"], answer.status, "{at}: {instance}");
        }
        let mut schema = description["schema"].clone();
        schema["components"] = self.json["components"].clone();
        let validator = jsonschema::draft202012::new(&schema).unwrap();
        let errors: Vec<_> = validator.iter_errors(&instance).map(|e| e.to_string()).collect();
        assert_eq!(errors, [""; 0], "{at}: {instance:#}");
        self.seen.insert((path.to_owned(), method.to_owned(), answer.status.to_string()));
    }

    /// Everything that is described, but was never seen.
    pub fn unseen(&self) -> Vec<(String, String, String)> {
        let described = self.json["paths"].as_object().unwrap().iter().flat_map(|(path, item)| {
            item.as_object().unwrap().iter().flat_map(move |(method, operation)| {
                let statuses = operation["responses"].as_object().unwrap().keys();
                statuses
                    .map(move |status| (path.clone(), method.to_ascii_uppercase(), status.clone()))
            })
        });
        described.filter(|place| !self.seen.contains(place)).collect()
    }
}

/// Forbids in every object what its schema does not name.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            object.values_mut().for_each(close);
            let names_fields = object.get("properties").is_some_and(Value::is_object);
            let is_schema = object.get("type").is_some_and(|kind| kind == &json!("object"));
            if names_fields && is_schema {
                forbid_others(object);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

fn forbid_others(object: &mut Map<String, Value>) {
    object.entry("additionalProperties").or_insert(Value::Bool(false));
}
