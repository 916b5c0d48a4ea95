//! Reads the text of a configuration into typed tables, and finds the place of each value in it.
//!
//! serde stops at the first value that it cannot use. To report all of them at once, each one is
//! reported and taken out, and the rest is read again. Checks that need more than one key come
//! afterwards; a [`Node`] tells them the spans.

use std::ops::Range;

use serde::de::DeserializeOwned;
use serde_spanned::Spanned;
use toml::de::{DeString, DeTable, DeValue, ValueDeserializer};

use super::checker::Checker;
use super::text::HINT;

/// Reading ends after this many wrong values: each of them costs another reading.
const MAX_REFUSED: usize = 100;

/// The TOML of a configuration as the file has it.
pub struct Document<'a> {
    root: Spanned<DeValue<'a>>,
    /// Spans of keys and values that were taken out, each of them reported.
    refused: Vec<Range<usize>>,
}

/// A value of a [`Document`], or the lack of one.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    value: Option<&'a Spanned<DeValue<'a>>>,
    refused: &'a [Range<usize>],
}

/// Reads the text of `checker`, and reports whatever in it is not TOML or does not fit `T`. `None`:
/// nothing can be made of it.
pub fn read<'a, T: DeserializeOwned>(checker: &mut Checker<'a>) -> Option<(T, Document<'a>)> {
    let root = match DeTable::parse(checker.text) {
        Ok(table) => Spanned::new(table.span(), DeValue::Table(table.into_inner())),
        Err(error) => {
            checker.report(error.span().unwrap_or(0..0), error.message());
            return None;
        }
    };
    let mut rest = root.clone();
    let mut document = Document { root, refused: Vec::new() };
    while document.refused.len() < MAX_REFUSED {
        let error = match T::deserialize(ValueDeserializer::from(rest.clone())) {
            Ok(value) => return Some((value, document)),
            Err(error) => error,
        };
        let span = error.span().unwrap_or(0..0);
        document.report(error.message(), &span, checker);
        if !take_out(&mut rest, &span) {
            break;
        }
        document.refused.push(span);
    }
    None
}

/// Removes the key or value with this span. Of several with the same span it is the innermost: a
/// list of tables has the span of its first one.
fn take_out(value: &mut Spanned<DeValue<'_>>, span: &Range<usize>) -> bool {
    match value.get_mut() {
        DeValue::Table(table) => {
            if table.iter_mut().any(|(_, value)| take_out(value, span)) {
                return true;
            }
            let mut entries = table.iter();
            let found = entries.find(|(key, value)| key.span() == *span || value.span() == *span);
            let key = found.map(|(key, _)| key.get_ref().to_string());
            key.is_some_and(|key| table.remove(key.as_str()).is_some())
        }
        DeValue::Array(items) => {
            if items.iter_mut().any(|item| take_out(item, span)) {
                return true;
            }
            let before = items.len();
            *items = items.iter().filter(|item| item.span() != *span).cloned().collect();
            items.len() < before
        }
        _ => false,
    }
}

impl<'a> Document<'a> {
    pub fn root(&self) -> Node<'_> {
        Node { value: Some(&self.root), refused: &self.refused }
    }

    /// Reports an error of serde in the words of the configuration, unless it only follows from
    /// what was taken out before.
    fn report(&self, error: &str, span: &Range<usize>, checker: &mut Checker<'_>) {
        let mut path = Vec::new();
        let node = self.root().find(span, &mut path);
        if let Some((key, known)) = parts(error, "unknown field ") {
            let key = key.trim_matches('`');
            path.pop();
            let known: Vec<&str> = backticked(known).collect();
            let nearest = did_you_mean(key, &known);
            let message = format!("unknown key `{key}` {}{nearest}", describe(&path));
            let hint = format!("allowed here: {}", known.join(", "));
            checker.report_with_hint(span.clone(), message, &hint);
        } else if let Some(key) = error.strip_prefix("missing field ") {
            if !node.has(key.trim_matches('`')) {
                let message = format!("key {key} is missing {}", describe(&path));
                checker.report(span.clone(), message);
            }
        } else if node.is_sound() {
            let header = checker.text.get(span.clone());
            let (message, hint) = explain(error, header.unwrap_or_default());
            checker.problems.push((span.clone(), message, hint));
        }
    }
}

/// What is wrong with a value, and a hint. `value` is its text, which is never quoted.
fn explain(error: &str, value: &str) -> (String, Option<String>) {
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
fn describe(path: &[&str]) -> String {
    let (table, inside) = match path {
        [] => return "at the top level".to_owned(),
        [list @ ("sync" | "cleanup" | "notify"), inside @ ..] => (format!("[[{list}]]"), inside),
        ["registry", host, inside @ ..] => (format!("[registry.{host:?}]"), inside),
        [kind @ ("events" | "in_use"), name, inside @ ..] => (format!("[{kind}.{name}]"), inside),
        [table, inside @ ..] => (format!("[{table}]"), inside),
    };
    match inside {
        [] => format!("in {table}"),
        [key, ..] => format!("in `{key}` of {table}"),
    }
}

impl<'a> Node<'a> {
    fn with(self, value: Option<&'a Spanned<DeValue<'a>>>) -> Self {
        Self { value, ..self }
    }

    /// The value of a key of this table, also if it was refused.
    pub fn get(self, key: &str) -> Self {
        let table = self.value.and_then(|value| value.get_ref().as_table());
        self.with(table.and_then(|table| table.get(key)))
    }

    pub fn exists(self) -> bool {
        self.value.is_some()
    }

    /// Whether this table has the key.
    pub fn has(self, key: &str) -> bool {
        self.get(key).exists()
    }

    pub fn as_str(self) -> Option<&'a str> {
        self.value?.get_ref().as_str()
    }

    /// In bytes of the text; empty and at the start of it for what is not there.
    pub fn span(self) -> Range<usize> {
        self.value.map_or(0..0, Spanned::span)
    }

    /// The span of the value of a key.
    pub fn span_of(self, key: &str) -> Range<usize> {
        self.get(key).span()
    }

    /// The items of a list. Any other value counts as a list with itself as the only item.
    pub fn all_items(self) -> impl Iterator<Item = Self> {
        let items = match self.value.map(|value| (value, value.get_ref())) {
            Some((_, DeValue::Array(items))) => &items[..],
            Some((value, _)) => std::slice::from_ref(value),
            None => &[],
        };
        items.iter().map(move |item| self.with(Some(item)))
    }

    /// The items that were not refused.
    pub fn items(self) -> impl Iterator<Item = Self> {
        self.all_items().filter(move |item| !self.refused.contains(&item.span()))
    }

    /// The keys of this table with their values, also of those that were refused.
    pub fn entries(self) -> impl Iterator<Item = (&'a Spanned<DeString<'a>>, Self)> {
        let table = self.value.and_then(|value| value.get_ref().as_table());
        let entries = table.into_iter().flatten();
        entries.map(move |(key, value)| (key, self.with(Some(value))))
    }

    /// Reports the keys of this table, names of sources of `what`, that are not short and plain.
    /// The hint says `why` they have to be.
    pub fn check_names(self, what: &str, why: &str, checker: &mut Checker<'_>) {
        for (name, _) in self.entries() {
            let text = name.get_ref();
            let valid = !text.is_empty()
                && text.len() <= 64
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
            if !valid {
                let message = format!("`{text}` is not a name for a source of {what}");
                let hint = format!("{why}at most 64 letters, digits, `-` and `_`");
                checker.report_with_hint(name.span(), message, &hint);
            }
        }
    }

    /// Whether nothing in this value was refused. Where something was, a list or table means less
    /// than its author wrote, so it cannot be judged as a whole.
    pub fn is_sound(self) -> bool {
        let is_refused = |span: Range<usize>| self.refused.contains(&span);
        let Some(value) = self.value else { return true };
        !is_refused(value.span())
            && match value.get_ref() {
                DeValue::Table(table) => table.iter().all(|(key, value)| {
                    !is_refused(key.span()) && self.with(Some(value)).is_sound()
                }),
                DeValue::Array(items) => items.iter().all(|item| self.with(Some(item)).is_sound()),
                _ => true,
            }
    }

    /// The innermost value with this span, or whose key has it, and the keys that lead there.
    fn find(self, span: &Range<usize>, path: &mut Vec<&'a str>) -> Self {
        let Some(value) = self.value else { return self };
        match value.get_ref() {
            DeValue::Table(table) => {
                for (key, value) in table {
                    path.push(key.get_ref());
                    let found = self.with(Some(value)).find(span, path);
                    if found.value.is_some() {
                        return found;
                    }
                    if key.span() == *span {
                        return self.with(Some(value));
                    }
                    path.pop();
                }
            }
            DeValue::Array(items) => {
                for item in items {
                    let found = self.with(Some(item)).find(span, path);
                    if found.value.is_some() {
                        return found;
                    }
                }
            }
            _ => {}
        }
        self.with((value.span() == *span).then_some(value))
    }
}
