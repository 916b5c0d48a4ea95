//! The example and the reference say everything that the schema knows, and nothing wrong.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::config::{Config, json_schema, parse};

const EXAMPLE: &str = include_str!("../../../config.example.toml");
const README: &str = include_str!("../../../README.md");
const REFERENCE: &str = include_str!("../../../docs/configuration.md");

/// All keys of the schema, with the name of their table: `sync.name`.
fn keys() -> BTreeSet<String> {
    keys_that(|_| true)
}

fn keys_that(wanted: impl Fn(&Value) -> bool) -> BTreeSet<String> {
    let schema = json_schema();
    let mut keys = BTreeSet::new();
    let mut add = |table: &str, object: &Value| {
        let properties = object["properties"].as_object().unwrap().iter();
        keys.extend(
            properties.filter(|(_, it)| wanted(it)).map(|(key, _)| format!("{table}.{key}")),
        );
    };
    add("", &schema);
    let definitions = schema["$defs"].as_object().unwrap();
    for (name, object) in definitions.iter().filter(|(_, d)| d["type"] == "object") {
        add(name, object);
    }
    keys
}

fn parse_example(text: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let content = super::certificate_with_key();
    for file in ["secrets/gitlab", "certs/ca.pem", "certs/client.pem", "certs/client.key", "mirror"]
    {
        let path = folder.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, &content).unwrap();
    }
    let env = |name: &str| match name {
        "MIRROR_HOST" => Some("mirror.example.com".to_owned()),
        "CREDENTIALS_DIRECTORY" => Some(folder.path().display().to_string()),
        name => Some(format!("/value/of/{name}")),
    };
    parse(text, &folder.path().join("tranship.toml"), &env)
        .unwrap_or_else(|e| panic!("{e}\n{text}"))
}

#[test]
fn the_schema_has_the_expected_tables() {
    let keys = keys();
    for key in
        [".sync", "Sync.source", "Registry.password", "Secret.env", "Tags.newest", "Daemon.state"]
    {
        assert!(keys.contains(key), "{key}: {keys:?}");
    }
}

#[test]
fn the_example_can_be_used() {
    let config = parse_example(EXAMPLE);
    let names: Vec<_> = config.sync.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(
        names,
        ["hub-nginx", "ghcr-to-gitlab", "postgres-everywhere", "pinned-alpine", "tools", "teams"]
    );
    let names: Vec<_> = config.cleanup.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(names, ["apps", "layouts"]);
    assert_eq!(config.registries.len(), 5);
}

#[test]
fn the_example_has_every_key() {
    for key in keys_that(|property| property["deprecated"] != true) {
        let (table, name) = key.split_once('.').unwrap();
        let uses = if table.is_empty() {
            vec![
                format!("\n[{name}]"),
                format!("\n[{name}."),
                format!("\n[[{name}]]"),
                format!("\n{name} = "),
            ]
        } else {
            vec![
                format!("\n{name} = "),
                format!("{{ {name} = "),
                format!("[sync.{name}]"),
                format!("[defaults.{name}]"),
                format!(", {name} = "),
            ]
        };
        assert!(uses.iter().any(|text| EXAMPLE.contains(text)), "config.example.toml lacks {key}");
    }
}

/// Each key has a line of its own in a table of the reference.
#[test]
fn the_reference_has_every_key() {
    for key in keys() {
        let (table, name) = key.split_once('.').unwrap();
        let heading = match table {
            "" => "## Top-level keys",
            "Daemon" => "## `[daemon]`",
            "Defaults" => "## `[defaults]`",
            "Registry" => "## `[registry.\"host\"]`",
            "Notify" => "## `[[notify]]`",
            "Secret" => "## Secrets",
            "Events" => "## `[events.NAME]`",
            "Sync" => "## `[[sync]]`",
            "Tags" => "## Selecting tags",
            "InUse" => "## `[in_use.NAME]`",
            "Cleanup" => "## `[[cleanup]]`",
            "Keep" => "### `keep`",
            "Delete" => "### `delete`",
            "MaxDelete" => "### `max_delete`",
            "Quarantine" => "### `quarantine`",
            other => panic!("say under which heading {other} is documented"),
        };
        let section = REFERENCE.split(heading).nth(1).unwrap_or_else(|| panic!("no {heading}"));
        let section = section.split("\n## ").next().unwrap();
        let row = format!("\n| `{name}` |");
        assert!(section.contains(&row), "docs/configuration.md lacks {name} under {heading}");
    }
}

/// Every TOML example of the reference is a configuration that can be used.
#[test]
fn the_examples_of_the_reference_can_be_used() {
    let examples: Vec<_> = REFERENCE.split("```toml\n").skip(1).collect();
    assert!(examples.len() >= 5, "the reference has lost its examples");
    for example in examples {
        parse_example(example.split("```").next().unwrap());
    }
}

/// The first configuration of the README can be used as it is pasted, on a machine that has nothing.
#[test]
fn the_examples_of_the_readme_can_be_used() {
    let examples: Vec<_> = README.split("```toml\n").skip(1).collect();
    assert!(examples.len() >= 4, "the README has lost its examples");
    for (n, example) in examples.into_iter().enumerate() {
        let text = example.split("```").next().unwrap();
        let config = if n == 0 {
            let env = |name: &str| (name == "HOME").then(|| "/home/me".to_owned());
            parse(text, "/nowhere/tranship.toml".as_ref(), &env)
                .unwrap_or_else(|e| panic!("{e}\n{text}"))
        } else {
            // What is in a file of another machine.
            parse_example(&text.replace("/run/secrets/gitlab", "secrets/gitlab"))
        };
        assert_eq!(config.warnings, None, "{text}");
    }
}
