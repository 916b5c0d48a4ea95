//! The configuration as a whole: every error in full, values and defaults, and the documents.

/// A test that a configuration is refused with exactly these errors.
macro_rules! refused {
    ($name:ident, $text:expr, @$errors:literal) => {
        #[test]
        fn $name() {
            insta::assert_snapshot!($crate::config::tests::errors(&$text), @$errors);
        }
    };
}

mod all_at_once;
mod cleanup;
mod documents;
mod events;
mod habits;
mod in_use;
mod many_sources;
mod notify;
mod overlap_errors;
mod registry_errors;
mod rule_errors;
mod several_files;
mod shape_errors;
mod values;
mod warnings;

use std::path::Path;

use super::{Config, ConfigError};

/// Parses with `SET` and `EMPTY` in the environment and two files in the folder: `there` has a
/// certificate with its key, `junk` has nothing of use.
fn parse(text: &str) -> Result<Config, ConfigError> {
    let env = |name: &str| match name {
        "SET" => Some("value".to_owned()),
        "EMPTY" => Some(String::new()),
        "HOME" => Some("/home/me".to_owned()),
        _ => None,
    };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("there"), certificate_with_key()).unwrap();
    std::fs::write(folder.path().join("junk"), "hunter2").unwrap();
    super::parse(text.trim_start(), &folder.path().join("tranship.toml"), &env)
}

/// A PEM file that can stand for every key of a registry that names one.
fn certificate_with_key() -> String {
    let (certificate, key) = crate::pem::testing::identity();
    certificate + &key
}

/// A configuration of one rule with these lines besides, the first of them on line 5.
fn rule(lines: &str) -> String {
    rules([lines])
}

/// A configuration of rules that differ in their name and in these lines.
fn rules<const N: usize>(lines: [&str; N]) -> String {
    let rule = |(name, lines): (&str, &str)| {
        let lines = lines.trim();
        format!(
            "[[sync]]\nname = \"{name}\"\nsource = \"ghcr.io/acme/app\"\ntarget = \"r.io/app\"\n{lines}\n"
        )
    };
    let rules: Vec<String> = ["r", "s"].into_iter().zip(lines).map(rule).collect();
    rules.join("\n")
}

/// A configuration of one rule. `target` is a text or a list.
fn copying(source: &str, target: impl std::fmt::Debug) -> String {
    // Rust writes both as TOML does.
    format!("[[sync]]\nname = \"r\"\nsource = {source:?}\ntarget = {target:?}\n")
}

/// A configuration of one registry with these lines.
fn registry(lines: &str) -> String {
    format!("[registry.\"ghcr.io\"]\n{lines}\n")
}

/// A configuration of one registry with this value as the password.
fn password(value: &str) -> String {
    registry(&format!("username = \"u\"\npassword = {value}"))
}

/// All errors, with the folder left out.
fn errors(text: &str) -> String {
    let error = parse(text).expect_err("the configuration has errors").to_string();
    let folder = error.split("/tranship.toml:").next().unwrap().to_owned();
    assert!(Path::new(&folder).is_absolute(), "{error}");
    error.replace(&format!("{folder}/"), "").replace(&folder, ".")
}
