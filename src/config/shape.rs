//! Errors of TOML and serde, said in the words of the configuration: where the key stands, what
//! is allowed there, and which known key comes nearest.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::problem::Problems;

/// Reports an error of `toml::from_str` on this text.
pub fn report(error: &toml::de::Error, text: &str, problems: &mut Problems) {
    let span = error.span().unwrap_or(0..0);
    let message = error.message();
    if let Some((key, known)) = parts(message, "unknown field ") {
        let here = place(text, &span);
        let key = key.trim_matches('`');
        let known: Vec<&str> = backticked(known).collect();
        let message = format!("unknown key `{key}` {here}{}", did_you_mean(key, &known));
        problems.report_with_hint(span, message, format!("allowed here: {}", known.join(", ")));
    } else if let Some((value, known)) = parts(message, "unknown variant ") {
        let value = value.trim_matches('`');
        let known: Vec<&str> = backticked(known).collect();
        let message = format!("`{value}` is not allowed here{}", did_you_mean(value, &known));
        problems.report_with_hint(span, message, format!("allowed here: {}", known.join(", ")));
    } else if let Some(key) = message.strip_prefix("missing field ") {
        let table = match (key, in_use_at(text, span.start)) {
            ("`format`", Some(name)) => format!("[in_use.{name}]"),
            ("`format`" | "`registry`", _) => "this source of events".to_owned(),
            _ => "this rule".to_owned(),
        };
        problems.report(span, format!("key {key} is missing in {table}"));
    } else if let Some((found, expected)) = parts(message, "invalid type: ") {
        let message = format!("expected {}, found {}", expected_kind(expected), found_kind(found));
        let header = text.get(span.clone());
        if let Some(header @ ("[sync]" | "[cleanup]")) = header {
            let hint = format!("every rule starts with `[{header}]`");
            problems.report_with_hint(span, message, hint);
        } else {
            problems.report(span, message);
        }
    } else if let Some((_, expected)) = parts(message, "invalid value: ") {
        problems.report(span, format!("expected {}", expected_kind(expected)));
    } else {
        problems.report(span, message);
    }
}

/// Splits serde's `{prefix}{found}, expected {known}`.
fn parts<'a>(message: &'a str, prefix: &str) -> Option<(&'a str, &'a str)> {
    message.strip_prefix(prefix)?.rsplit_once(", expected ")
}

fn backticked(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// ` (did you mean …?)` if a known word is near enough to be meant.
pub fn did_you_mean(word: &str, known: &[&str]) -> String {
    let distance = |known: &str| strsim::damerau_levenshtein(word, known);
    known
        .iter()
        .map(|known| (distance(known), known))
        .filter(|(distance, known)| *distance <= 1 + known.len() / 4 && *distance < known.len())
        .min_by_key(|(distance, _)| *distance)
        .map_or_else(String::new, |(_, known)| format!(" (did you mean `{known}`?)"))
}

/// The kind of a value without the value, which may be a secret: `string "x"` is `a string`.
fn found_kind(found: &str) -> &'static str {
    let kinds = [
        ("string", "a string"),
        ("integer", "a whole number"),
        ("floating point", "a number"),
        ("boolean", "a boolean"),
        ("map", "a table"),
        ("sequence", "a list"),
    ];
    kinds
        .iter()
        .find(|(kind, _)| found.starts_with(kind))
        .map_or("something else", |(_, name)| name)
}

fn expected_kind(expected: &str) -> &str {
    match expected {
        "a map" => "a table",
        "a sequence" => "a list",
        "f64" => "a number",
        "a nonzero u32" | "a nonzero usize" => "a whole number of 1 or more",
        struct_name if struct_name.starts_with("struct ") => "a table",
        other => other,
    }
}

/// Where the key at this place stands, like `in [[sync]]`.
fn place(text: &str, key: &Range<usize>) -> String {
    let mut path = Vec::new();
    if let Ok(table) = DeTable::parse(text) {
        find_key(table.get_ref(), key.start, &mut path);
    }
    describe(&path)
}

/// The name of the `[in_use.NAME]` that begins at this place.
fn in_use_at(text: &str, start: usize) -> Option<String> {
    let table = DeTable::parse(text).ok()?;
    let sources = table.get_ref().get("in_use")?.get_ref().as_table()?;
    let found = sources.iter().find(|(_, value)| value.span().contains(&start));
    found.map(|(name, _)| name.get_ref().to_string())
}

fn find_key(table: &DeTable<'_>, start: usize, path: &mut Vec<String>) -> bool {
    for (key, value) in table {
        if key.span().start == start {
            return true;
        }
        path.push(key.get_ref().to_string());
        let found = match value.get_ref() {
            DeValue::Table(table) => find_key(table, start, path),
            DeValue::Array(items) => items.iter().any(|item| match item.get_ref() {
                DeValue::Table(table) => find_key(table, start, path),
                _ => false,
            }),
            _ => false,
        };
        if found {
            return true;
        }
        path.pop();
    }
    false
}

fn describe(path: &[String]) -> String {
    let words: Vec<&str> = path.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => "at the top level".to_owned(),
        [list @ ("sync" | "cleanup")] => format!("in [[{list}]]"),
        ["notify"] => "in [[notify]]".to_owned(),
        ["notify", key, ..] => format!("in `{key}` of [[notify]]"),
        [list @ ("sync" | "cleanup"), key, ..] => format!("in `{key}` of [[{list}]]"),
        ["registry", host] => format!("in [registry.{host:?}]"),
        ["registry", host, key, ..] => format!("in `{key}` of [registry.{host:?}]"),
        ["events", name] => format!("in [events.{name}]"),
        ["events", name, key, ..] => format!("in `{key}` of [events.{name}]"),
        ["in_use", name] => format!("in [in_use.{name}]"),
        ["in_use", name, key, ..] => format!("in `{key}` of [in_use.{name}]"),
        [table, ..] => format!("in [{table}]"),
    }
}
