//! What is meant by an unknown key of a table.

use super::hosts::unquoted_host;
use super::made::renamed;
use super::words::Meant::{From, Key, Line, Other};
use super::words::{
    CLEANUP, DAEMON, LINE, Meant, OF_REGISTRIES, REGISTRY, SYNC, TAGS, TIMING, TOP, Words,
};
use crate::config::document::Node;

/// The words of the table with this path.
fn words(table: &[&str]) -> &'static [Words] {
    match table {
        [] => &[TOP],
        ["daemon"] => &[DAEMON],
        ["registry", ..] => &[REGISTRY],
        ["sync"] => &[SYNC, TIMING],
        ["sync", "tags"] => &[TAGS, SYNC],
        ["cleanup"] => &[CLEANUP, TIMING],
        ["cleanup", "keep" | "delete"] => &[LINE],
        _ => &[],
    }
}

fn meant(table: &[&str], key: &str) -> Option<Meant> {
    let mut all = words(table).iter().copied().flatten();
    all.find(|(words, _)| words.contains(&key)).map(|(_, meant)| *meant)
}

/// Whether an unknown key of a table is another word for this one.
pub fn stands_for(table: &[&str], unknown: &str, key: &str) -> bool {
    match meant(table, unknown) {
        Some(Key(name, _)) => name == key,
        Some(From(_, line) | Line(line)) => line.split(' ').next() == Some(key),
        Some(Other(_)) | None => false,
    }
}

/// What is meant by an unknown key of the table with this path.
pub fn unknown_key(table: &[&str], key: &str, value: Node<'_>) -> Option<String> {
    match table {
        ["defaults"] => return Some(default(key, value)),
        ["defaults", rest @ ..] => return unknown_key(rest, key, value),
        ["registry", host, ..] => {
            if value.is_table() && !REGISTRY.iter().any(|(words, _)| words.contains(&key)) {
                return unquoted_host(host, key, value);
            }
            if key == "tls" {
                let mode = if value.as_str() == Some("disabled") { "http" } else { "no-verify" };
                return Some(format!("write `insecure = \"{mode}\"`"));
            }
        }
        _ => {}
    }
    if matches!(table, ["sync" | "cleanup", ..]) && OF_REGISTRIES.contains(&key) {
        let line = "[registry.\"registry.example.com\"]";
        return Some(format!("registries have tables of their own: `{line}`"));
    }
    let line = match meant(table, key)? {
        Other(hint) => return Some(hint.to_owned()),
        Line(line) if line.starts_with('[') => return Some(format!("it stands below `{line}`")),
        Key(_, line) if is_outside(table, key) => line.to_owned(),
        Key(name, line) => renamed(name, value).unwrap_or_else(|| line.to_owned()),
        From(made, line) => made(value).unwrap_or_else(|| line.to_owned()),
        Line(line) => line.to_owned(),
    };
    match is_outside(table, key) {
        true if line.starts_with("tags") => None,
        true => Some(format!("outside of `tags`, write `{line}`")),
        false => Some(format!("write `{line}`")),
    }
}

/// Whether a key below `tags` is a word for a key of the rule.
fn is_outside(table: &[&str], key: &str) -> bool {
    matches!(table, ["sync", "tags"]) && !TAGS.iter().any(|(words, _)| words.contains(&key))
}

/// What is meant by a key directly below `[defaults]`, as regsync has them.
fn default(key: &str, value: Node<'_>) -> String {
    let of_rules = "it stands below `[defaults.sync]` or `[defaults.cleanup]`".to_owned();
    match meant(&["sync"], key) {
        Some(Key("source" | "target", _)) | None => of_rules,
        Some(Other(hint)) => hint.to_owned(),
        Some(_) => match unknown_key(&["sync"], key, value) {
            Some(hint) => format!("{hint} below `[defaults.sync]`"),
            None => of_rules,
        },
    }
}
