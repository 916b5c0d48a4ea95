//! An image's configuration (image-spec config.md) with the names that it has in Go.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use crate::cli::go_template::{Entry, Time, Value};

/// An object of the configuration that was read. Without it, it is empty.
pub struct Part(Map<String, Json>);

/// What a field holds.
enum Kind {
    Text,
    Flag,
    Time,
    Texts,
    TextsByName,
    /// Names alone, as an object of empty objects.
    Names,
    Part(&'static [Field]),
    Parts(&'static [Field]),
}

/// A field: its name in Go, its key in JSON, and whether JSON leaves it out if it is empty.
struct Field(&'static str, &'static str, bool, Kind);

const IMAGE: &[Field] = &[
    Field("Created", "created", true, Kind::Time),
    Field("Author", "author", true, Kind::Text),
    Field("Architecture", "architecture", false, Kind::Text),
    Field("Variant", "variant", true, Kind::Text),
    Field("OS", "os", false, Kind::Text),
    Field("OSVersion", "os.version", true, Kind::Text),
    Field("OSFeatures", "os.features", true, Kind::Texts),
    Field("Config", "config", false, Kind::Part(CONFIG)),
    Field("RootFS", "rootfs", false, Kind::Part(ROOT_FS)),
    Field("History", "history", true, Kind::Parts(HISTORY)),
];

const CONFIG: &[Field] = &[
    Field("User", "User", true, Kind::Text),
    Field("ExposedPorts", "ExposedPorts", true, Kind::Names),
    Field("Env", "Env", true, Kind::Texts),
    Field("Entrypoint", "Entrypoint", true, Kind::Texts),
    Field("Cmd", "Cmd", true, Kind::Texts),
    Field("Volumes", "Volumes", true, Kind::Names),
    Field("WorkingDir", "WorkingDir", true, Kind::Text),
    Field("Labels", "Labels", true, Kind::TextsByName),
    Field("StopSignal", "StopSignal", true, Kind::Text),
];

const ROOT_FS: &[Field] =
    &[Field("Type", "type", false, Kind::Text), Field("DiffIDs", "diff_ids", false, Kind::Texts)];

const HISTORY: &[Field] = &[
    Field("Created", "created", true, Kind::Time),
    Field("CreatedBy", "created_by", true, Kind::Text),
    Field("Author", "author", true, Kind::Text),
    Field("Comment", "comment", true, Kind::Text),
    Field("EmptyLayer", "empty_layer", true, Kind::Flag),
];

/// Reads a configuration.
pub fn read(bytes: &[u8]) -> Result<Part, String> {
    let document = serde_json::from_slice(bytes);
    document.map(Part).map_err(|error| format!("it is not an image's configuration: {error}"))
}

/// The whole configuration.
pub fn value(image: &Part) -> Value {
    image.record(IMAGE)
}

impl Part {
    /// What stands there, if it is what is expected; else what Go has for nothing.
    fn field(&self, key: &str, kind: &Kind) -> Value {
        match kind {
            Kind::Text => self.text(key),
            Kind::Flag => Value::Bool(self.0.get(key).and_then(Json::as_bool).unwrap_or_default()),
            Kind::Time => self.time(key),
            Kind::Texts => self.texts(key),
            Kind::TextsByName => self.texts_by_name(key),
            Kind::Names => {
                let names = self.0.get(key).and_then(Json::as_object);
                let empty = |name: &String| (name.clone(), Value::Record(Vec::new()));
                Value::Map(names.map(|names| names.keys().map(empty).collect()))
            }
            Kind::Part(fields) => self.part(key).record(fields),
            Kind::Parts(fields) => {
                let items = self.0.get(key).and_then(Json::as_array);
                let record = |item: &Json| {
                    Part(item.as_object().cloned().unwrap_or_default()).record(fields)
                };
                Value::List(items.map(|items| items.iter().map(record).collect()))
            }
        }
    }

    fn record(&self, fields: &[Field]) -> Value {
        let entry = |Field(name, key, optional, kind): &Field| {
            let (name, key, optional) = (*name, *key, *optional);
            Entry { name, key, optional, value: self.field(key, kind) }
        };
        Value::Record(fields.iter().map(entry).collect())
    }

    pub fn part(&self, key: &str) -> Self {
        Self(self.0.get(key).and_then(Json::as_object).cloned().unwrap_or_default())
    }

    pub fn text(&self, key: &str) -> Value {
        Value::text(self.0.get(key).and_then(Json::as_str).unwrap_or_default())
    }

    pub fn time(&self, key: &str) -> Value {
        let time = self.0.get(key).and_then(Json::as_str).and_then(Time::parse);
        time.map_or(Value::Nil, Value::Time)
    }

    pub fn texts(&self, key: &str) -> Value {
        let items = self.0.get(key).and_then(Json::as_array);
        let texts =
            |items: &Vec<Json>| items.iter().filter_map(Json::as_str).map(Value::text).collect();
        Value::List(items.map(texts))
    }

    pub fn texts_by_name(&self, key: &str) -> Value {
        let items = self.0.get(key).and_then(Json::as_object);
        let texts = |items: &Map<String, Json>| {
            let texts = items.iter().filter_map(|(name, text)| Some((name, text.as_str()?)));
            texts.map(|(name, text)| (name.clone(), Value::text(text))).collect::<BTreeMap<_, _>>()
        };
        Value::Map(items.map(texts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_as_go_knows_it() {
        let bytes = br#"{"created":"2022-08-09T17:19:53Z","architecture":"arm64","os":"linux",
            "config":{"Env":["A=1"],"Labels":{"b":"2"},"ExposedPorts":{"80/tcp":{}},"Cmd":null},
            "rootfs":{"type":"layers","diff_ids":["sha256:x"]},"container":"left out",
            "history":[{"created_by":"RUN","empty_layer":true}]}"#;
        let value = value(&read(bytes).unwrap());
        let template = |text: &str| {
            let template: crate::cli::go_template::Template = text.parse().unwrap();
            template.fill(&value).unwrap()
        };
        assert_eq!(
            template("{{.Architecture}}/{{.OS}} {{.Created}}"),
            "arm64/linux 2022-08-09 17:19:53 +0000 UTC"
        );
        assert_eq!(
            template("{{.Config.Env}}{{.Config.Labels.b}}{{.Config.Cmd}}{{.RootFS.DiffIDs}}"),
            "[A=1]2[][sha256:x]"
        );
        assert_eq!(template("{{range .History}}{{.CreatedBy}}{{.EmptyLayer}}{{end}}"), "RUNtrue");
        let expected = r#"{"created":"2022-08-09T17:19:53Z","architecture":"arm64","os":"linux","config":{"ExposedPorts":{"80/tcp":{}},"Env":["A=1"],"Labels":{"b":"2"}},"rootfs":{"type":"layers","diff_ids":["sha256:x"]},"history":[{"created_by":"RUN","empty_layer":true}]}"#;
        assert_eq!(serde_json::to_string(&value).unwrap(), expected);
        assert!(read(b"[]").is_err());
    }
}
