//! Reads the tables of a configuration into types, and finds the place of each value in it.
//!
//! serde stops at the first value that it cannot use. To report all of them at once, each one is
//! reported and taken out, and the rest is read again. Checks that need more than one key come
//! afterwards; a [`Node`] tells them the spans.

use std::ops::Range;

use serde::de::DeserializeOwned;
use serde_spanned::Spanned;
use toml::de::{DeString, DeTable, DeValue, ValueDeserializer};

use super::checker::Checker;
use super::habits;
use super::wording::{backticked, describe, did_you_mean, explain, parts};

/// Reading ends after this many mistakes: each of them costs another reading.
const MAX_MISTAKES: usize = 200;

/// The TOML of a configuration as the files have it.
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

impl<'a> Document<'a> {
    /// `refused`: spans of what was reported already.
    pub fn new(root: DeTable<'a>, refused: Vec<Range<usize>>) -> Self {
        Self { root: Spanned::new(0..0, DeValue::Table(root)), refused }
    }

    pub fn root(&self) -> Node<'_> {
        Node { value: Some(&self.root), refused: &self.refused }
    }

    /// Adds a key whose value is not TOML, and was reported. `table`: where its table begins, if it
    /// is not the top level.
    pub fn add_refused(&mut self, table: Option<usize>, key: &'a str, span: Range<usize>) {
        let add = |table: &mut DeTable<'a>| {
            let value = Spanned::new(span.clone(), DeValue::String(DeString::Borrowed("")));
            table.entry(Spanned::new(span.clone(), DeString::Borrowed(key))).or_insert(value);
        };
        match table {
            None => change_table(&mut self.root, &|_| true, &add),
            Some(start) => {
                let begins = |table: &Range<usize>| table.start == start && !table.is_empty();
                change_innermost(&mut self.root, &begins, &add)
            }
        };
        self.refused.push(span);
    }

    /// Reads the tables into `T`, and reports whatever does not fit it. `None`: nothing can be made
    /// of it.
    pub fn read<T: DeserializeOwned>(&mut self, checker: &mut Checker<'_>) -> Option<T> {
        let mut rest = self.root.clone();
        for span in &self.refused {
            take_out(&mut rest, span);
        }
        for _ in 0..MAX_MISTAKES {
            let error = match T::deserialize(ValueDeserializer::from(rest.clone())) {
                Ok(value) => return Some(value),
                Err(error) => error,
            };
            let span = error.span().unwrap_or(0..0);
            if !self.repair(error.message(), &span, &mut rest, checker) {
                break;
            }
        }
        None
    }

    /// Reports an error of serde in the words of the configuration, unless it only follows from
    /// what was taken out before, and changes `rest` so that reading gets behind it.
    fn repair(
        &mut self,
        error: &str,
        span: &Range<usize>,
        rest: &mut Spanned<DeValue<'a>>,
        checker: &mut Checker<'_>,
    ) -> bool {
        let mut path = Vec::new();
        let node = self.root().find(span, &mut path);
        if let Some(key) = error.strip_prefix("missing field ") {
            let key = key.trim_matches('`');
            if !node.has(key) && !self.has_other_word(node, &path, key) {
                let message = format!("key `{key}` is missing {}", describe(&path));
                checker.report(span.clone(), message);
            }
            return fill_in(rest, span, &path, key);
        }
        if let Some((key, known)) = parts(error, "unknown field ") {
            let key = key.trim_matches('`');
            path.pop();
            let known: Vec<&str> = backticked(known).collect();
            let nearest = did_you_mean(key, &known);
            let hint = habits::unknown_key(&path, key, node)
                .unwrap_or_else(|| format!("allowed here: {}", known.join(", ")));
            let message = format!("unknown key `{key}` {}{nearest}", describe(&path));
            checker.report_with_hint(span.clone(), message, &hint);
        } else if node.is_sound() {
            let value = checker.texts.text(span).to_owned();
            let (message, hint) = explain(error, &value);
            let hint = habits::value(&path, node, &message).or(hint);
            checker.problems.push((span.clone(), message, hint));
            // A rule in single brackets is read like one in double brackets.
            if matches!(path[..], ["sync" | "cleanup" | "notify"]) && value.starts_with('[') {
                return make_list(rest, span);
            }
        }
        self.refused.push(span.clone());
        take_out(rest, span)
    }

    /// Whether an unknown key of the table, which was reported, is meant to be this one.
    fn has_other_word(&self, table: Node<'_>, path: &[&str], key: &str) -> bool {
        let unknown = table.entries().filter(|(word, _)| self.refused.contains(&word.span()));
        unknown.map(|(word, _)| word.get_ref()).any(|word| {
            habits::stands_for(path, word, key) || !did_you_mean(word, &[key]).is_empty()
        })
    }
}

/// Removes the keys or values with this span: several if they are copies of each other. Of those
/// within each other it is the innermost: a list of tables has the span of its first one.
fn take_out(value: &mut Spanned<DeValue<'_>>, span: &Range<usize>) -> bool {
    match value.get_mut() {
        DeValue::Table(table) => {
            let mut inside = false;
            for (_, value) in table.iter_mut() {
                inside |= take_out(value, span);
            }
            if inside {
                return true;
            }
            let mut entries = table.iter();
            let found = entries.find(|(key, value)| key.span() == *span || value.span() == *span);
            let key = found.map(|(key, _)| key.get_ref().to_string());
            key.is_some_and(|key| table.remove(key.as_str()).is_some())
        }
        DeValue::Array(items) => {
            let mut inside = false;
            for item in items.iter_mut() {
                inside |= take_out(item, span);
            }
            if inside {
                return true;
            }
            let before = items.len();
            *items = items.iter().filter(|item| item.span() != *span).cloned().collect();
            items.len() < before
        }
        _ => false,
    }
}

/// Changes the innermost tables with this span.
fn change_innermost<'a>(
    value: &mut Spanned<DeValue<'a>>,
    is_it: &dyn Fn(&Range<usize>) -> bool,
    change: &dyn Fn(&mut DeTable<'a>),
) -> bool {
    let mut inside = false;
    match value.get_mut() {
        DeValue::Table(table) => {
            for (_, value) in table.iter_mut() {
                inside |= change_innermost(value, is_it, change);
            }
        }
        DeValue::Array(items) => {
            for item in items.iter_mut() {
                inside |= change_innermost(item, is_it, change);
            }
        }
        _ => {}
    }
    inside || change_table(value, is_it, change)
}

fn change_table<'a>(
    value: &mut Spanned<DeValue<'a>>,
    is_it: &dyn Fn(&Range<usize>) -> bool,
    change: &dyn Fn(&mut DeTable<'a>),
) -> bool {
    let fits = is_it(&value.span());
    let DeValue::Table(table) = value.get_mut() else { return false };
    if fits {
        change(table);
    }
    fits
}

/// Puts a valid value in the place of one that is missing or was refused, so that the rest of its
/// table is checked. Whoever checks it asks the [`Node`] whether there is a value.
fn fill_in<'a>(
    rest: &mut Spanned<DeValue<'a>>,
    span: &Range<usize>,
    path: &[&str],
    key: &str,
) -> bool {
    let Some(stand_in) = stand_in(path, key) else { return false };
    let key = key.to_owned();
    change_innermost(rest, &|table| table == span, &|table| {
        let key = Spanned::new(0..0, DeString::Owned(key.clone()));
        table.insert(key, Spanned::new(0..0, stand_in.clone()));
    })
}

/// A valid value for a key that a table must have.
pub fn stand_in(path: &[&str], key: &str) -> Option<DeValue<'static>> {
    let text = |text: &'static str| DeValue::String(DeString::Borrowed(text));
    let list = |items: Vec<DeValue<'static>>| {
        DeValue::Array(items.into_iter().map(|item| Spanned::new(0..0, item)).collect())
    };
    Some(match (key, path.first()) {
        ("name" | "id", _) => text("?"),
        ("source" | "target", _) => text("stand-in.invalid/x"),
        ("repositories", _) => list(vec![text("stand-in.invalid/x")]),
        ("delete", _) => list(Vec::new()),
        ("registry", _) => text("stand-in.invalid"),
        ("format", Some(&"events")) => text("distribution"),
        ("format", _) => text("kubernetes"),
        ("url", _) => {
            let command = Spanned::new(0..0, list(vec![text("?")]));
            let key = Spanned::new(0..0, DeString::Borrowed("command"));
            DeValue::Table([(key, command)].into_iter().collect())
        }
        ("to", _) => text("oci:stand-in"),
        _ => return None,
    })
}

/// Makes a list of the table with this span.
fn make_list(rest: &mut Spanned<DeValue<'_>>, span: &Range<usize>) -> bool {
    let DeValue::Table(root) = rest.get_mut() else { return false };
    let Some((_, value)) = root.iter_mut().find(|(_, value)| value.span() == *span) else {
        return false;
    };
    let table = value.clone();
    *value.get_mut() = DeValue::Array(std::iter::once(table).collect());
    true
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

    /// Whether there is a value and nothing in it was refused.
    pub fn is_usable(self) -> bool {
        self.exists() && self.is_sound()
    }

    /// Whether this table has the key.
    pub fn has(self, key: &str) -> bool {
        self.get(key).exists()
    }

    pub fn as_str(self) -> Option<&'a str> {
        self.value?.get_ref().as_str()
    }

    /// The text, or nothing if it is something else.
    pub fn text(self) -> &'a str {
        self.as_str().unwrap_or_default()
    }

    pub fn as_bool(self) -> Option<bool> {
        self.value?.get_ref().as_bool()
    }

    /// The digits of a whole number.
    pub fn as_number(self) -> Option<&'a str> {
        self.value?.get_ref().as_integer().map(|number| number.as_str())
    }

    pub fn is_table(self) -> bool {
        self.value.is_some_and(|value| value.get_ref().as_table().is_some())
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
