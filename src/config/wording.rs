//! What serde says of a value, in the words of the configuration.

use super::text::HINT;

/// What is wrong with a value, and a hint. `value` is its text, which is never quoted.
pub fn explain(error: &str, value: &str) -> (String, Option<String>) {
    if let Some((word, known)) = parts(error, "unknown variant ") {
        let word = word.trim_matches('`');
        let known: Vec<&str> = backticked(known).collect();
        let message = format!("`{word}` is not allowed here{}", did_you_mean(word, &known));
        (message, Some(format!("allowed here: {}", known.join(", "))))
    } else if let Some((found, expected)) = parts(error, "invalid type: ") {
        let message = format!("expected {}, found {}", expected_kind(expected), found_kind(found));
        let is_rule = matches!(value, "[sync]" | "[cleanup]");
        (message, is_rule.then(|| format!("every rule starts with `[{value}]`")))
    } else if let Some((_, expected)) = parts(error, "invalid value: ") {
        (format!("expected {}", expected_kind(expected)), None)
    } else {
        match error.split_once(HINT) {
            Some((message, hint)) => (message.to_owned(), Some(hint.to_owned())),
            None => (error.to_owned(), None),
        }
    }
}

/// Splits serde's `{prefix}{found}, expected {known}`.
pub fn parts<'a>(message: &'a str, prefix: &str) -> Option<(&'a str, &'a str)> {
    message.strip_prefix(prefix)?.rsplit_once(", expected ")
}

pub fn backticked(text: &str) -> impl Iterator<Item = &str> {
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
    let kind = kinds.iter().find(|(kind, _)| found.starts_with(kind));
    kind.map_or("something else", |(_, name)| name)
}

fn expected_kind(expected: &str) -> &str {
    match expected {
        "a map" => "a table",
        "a sequence" => "a list",
        "f64" => "a number",
        "a nonzero u32" | "a nonzero usize" => "a whole number of 1 or more",
        "path string" => "a string",
        struct_name if struct_name.starts_with("struct ") => "a table",
        other => other,
    }
}

/// The place of something with this path, in words: ``in `tags` of [[sync]]``.
pub fn describe(path: &[&str]) -> String {
    let (table, inside) = match path {
        [] => return "at the top level".to_owned(),
        [list @ ("sync" | "cleanup" | "notify"), inside @ ..] => (format!("[[{list}]]"), inside),
        ["defaults", kind, inside @ ..] => (format!("[defaults.{kind}]"), inside),
        ["registry", host, inside @ ..] => (format!("[registry.{host:?}]"), inside),
        [kind @ ("events" | "in_use"), name, inside @ ..] => (format!("[{kind}.{name}]"), inside),
        [table, inside @ ..] => (format!("[{table}]"), inside),
    };
    match inside {
        [] => format!("in {table}"),
        [key, ..] => format!("in `{key}` of {table}"),
    }
}
