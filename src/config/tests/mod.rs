//! The configuration as a whole: every error in full, values and defaults, and the documents.

mod cleanup;
mod documents;
mod events;
mod in_use;
mod notify;
mod overlap_errors;
mod registry_errors;
mod rule_errors;
mod shape_errors;
mod values;

use std::path::Path;

use super::{Config, ConfigError};

/// Parses with `SET` and `EMPTY` in the environment and the file `there` in the folder.
fn parse(text: &str) -> Result<Config, ConfigError> {
    let env = |name: &str| match name {
        "SET" => Some("value".to_owned()),
        "EMPTY" => Some(String::new()),
        "HOME" => Some("/home/me".to_owned()),
        _ => None,
    };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("there"), "x").unwrap();
    super::parse(text.trim_start(), &folder.path().join("tranship.toml"), &env)
}

/// What is wrong, with the folder left out.
fn errors(text: &str) -> String {
    let error = parse(text).expect_err("the configuration has errors").to_string();
    let folder = error.split("/tranship.toml:").next().unwrap().to_owned();
    assert!(Path::new(&folder).is_absolute(), "{error}");
    error.replace(&format!("{folder}/"), "").replace(&folder, ".")
}
