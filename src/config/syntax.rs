//! Reads TOML, and goes on behind what is not TOML.
//!
//! The parser stops at the first mistake, or makes many mistakes of it. So the statement that has
//! it, a key with its value or the header of a table, is reported and blanked, and the rest is read
//! again. Blanks keep every other byte in its place.

use std::borrow::Cow;
use std::ops::Range;

use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

use super::habits::{self, OtherFormat};

/// Reading ends after this many mistakes: each of them costs another reading.
const MAX_MISTAKES: usize = 50;

/// What is not TOML.
pub struct Mistake {
    /// In bytes of the text.
    pub span: Range<usize>,
    pub message: String,
    pub hint: Option<String>,
    /// What was left out because of it.
    pub left_out: Statement,
    /// Where the header of its table begins; nothing at the top level.
    pub table: Option<usize>,
    /// The key of what was left out, if it is a single name.
    pub key: Option<String>,
}

/// A key with its value, or the header of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    pub span: Range<usize>,
    pub is_header: bool,
    /// The bracket that is not closed.
    unclosed: Option<usize>,
}

/// What is TOML in a text, each byte in its place, and the mistakes. Nothing is TOML if the mistakes
/// are too many, or the text is written in something else.
pub fn clean(text: &str) -> (Option<Cow<'_, str>>, Vec<Mistake>) {
    let mut mistakes: Vec<Mistake> = Vec::new();
    let mut clean = Cow::Borrowed(text);
    let mut statements = Vec::new();
    loop {
        let (_, errors) = DeTable::parse_recoverable(&clean);
        let span = |error: &toml::de::Error| error.span().unwrap_or(0..0);
        let Some(error) = errors.iter().min_by_key(|error| span(error).start) else {
            return (Some(clean), mistakes);
        };
        if statements.is_empty() {
            statements = self::statements(text);
        }
        // What follows from a bracket that is not closed is said of other lines.
        let open = statements.iter().find(|it| {
            it.unclosed.is_some() && !mistakes.iter().any(|mistake| mistake.left_out == **it)
        });
        let span = open.map_or_else(|| span(error), |open| open.span.start..open.span.start);
        let at = statements.partition_point(|it: &Statement| it.span.start <= span.start);
        let Some(statement) = at.checked_sub(1).map(|at| statements[at].clone()) else {
            mistakes.push(Mistake {
                left_out: Statement { span: span.clone(), is_header: false, unclosed: None },
                table: None,
                key: None,
                span,
                message: error.message().to_owned(),
                hint: None,
            });
            return (None, mistakes);
        };
        let header = statements[..at - 1].iter().rev().find(|it| it.is_header);
        let table = header.map(|header| header.span.start);
        let key = key_of(&text[statement.span.clone()]).map(str::to_owned);
        let described = describe(text, span, error.message(), &statement);
        let mistake = Mistake { table, key, ..described };
        if let Some(format) = OtherFormat::of(text) {
            let (message, hint) = format.words();
            let (message, hint) = (message.to_owned(), Some(hint.to_owned()));
            return (None, vec![Mistake { message, hint, ..mistake }]);
        }
        mistakes.push(mistake);
        if mistakes.len() >= MAX_MISTAKES {
            return (None, mistakes);
        }
        let end = match statement.is_header {
            // Without its header, nobody can tell what the keys below it belong to.
            true => statements[at..]
                .iter()
                .find(|it| it.is_header)
                .map_or(text.len(), |it| it.span.start),
            false => statement.span.end,
        };
        blank(clean.to_mut(), statement.span.start..end);
    }
}

fn describe(text: &str, span: Range<usize>, message: &str, statement: &Statement) -> Mistake {
    let line = text.get(statement.span.clone()).unwrap_or_default();
    let left_out = statement.clone();
    if let Some(bracket) = statement.unclosed {
        let open = text.get(bracket..=bracket).unwrap_or_default();
        let close = if open == "[" { "]" } else { "}" };
        let message = format!("this `{open}` has no `{close}`");
        return Mistake {
            span: bracket..bracket + 1,
            message,
            hint: None,
            left_out,
            table: None,
            key: None,
        };
    }
    let (message, hint) = habits::not_toml(message, line);
    Mistake { span, message, hint, left_out, table: None, key: None }
}

/// Puts spaces in the place of a part of the text, and leaves its lines.
fn blank(text: &mut String, span: Range<usize>) {
    let spaces: String = text
        .get(span.clone())
        .unwrap_or_default()
        .bytes()
        .map(|byte| if byte == b'\n' { '\n' } else { ' ' })
        .collect();
    if spaces.len() == span.len() {
        text.replace_range(span, &spaces);
    }
}

/// The statements of a text, without comments and empty lines.
fn statements(text: &str) -> Vec<Statement> {
    let bytes = text.as_bytes();
    let mut statements = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text[at..];
        let start = at + (rest.len() - rest.trim_start().len());
        let Some(first) = bytes.get(start) else { break };
        let line_end = end_of_line(text, start);
        if *first == b'#' {
            at = line_end;
            continue;
        }
        let is_header = *first == b'[';
        let (end, unclosed) = if is_header { (line_end, None) } else { end_of_value(text, start) };
        statements.push(Statement { span: start..end, is_header, unclosed });
        at = end.max(start + 1);
    }
    statements
}

fn end_of_line(text: &str, start: usize) -> usize {
    text[start..].find('\n').map_or(text.len(), |at| start + at)
}

/// Where a key with its value ends: at the end of a line, outside of brackets and of texts of
/// several lines. If a bracket is not closed, before the next line that looks like a statement.
fn end_of_value(text: &str, start: usize) -> (usize, Option<usize>) {
    let bytes = text.as_bytes();
    let mut open = Vec::new();
    let mut at = start;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\n' if open.is_empty() => return (at, None),
            b'#' => at = end_of_line(text, at),
            b'"' | b'\'' => at = end_of_text(text, at),
            b'[' | b'{' => {
                open.push(at);
                at += 1;
            }
            b']' | b'}' => {
                open.pop();
                at += 1;
            }
            _ => at += 1,
        }
    }
    let Some(bracket) = open.first().copied() else { return (text.len(), None) };
    let mut end = end_of_line(text, bracket);
    while end < text.len() {
        let next = end_of_line(text, end + 1);
        if looks_like_statement(&text[end + 1..next]) {
            break;
        }
        end = next;
    }
    (end, Some(bracket))
}

/// The byte behind a text in quotes; its line's end if it has no second quote.
fn end_of_text(text: &str, start: usize) -> usize {
    let rest = &text[start..];
    for quotes in ["\"\"\"", "'''"] {
        if let Some(inside) = rest.strip_prefix(quotes)
            && let Some(length) = inside.find(quotes)
        {
            return start + length + 6;
        }
    }
    let quote = rest.chars().next().unwrap_or_default();
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            '\n' => return start + at,
            _ if escaped => escaped = false,
            '\\' if quote == '"' => escaped = true,
            c if c == quote => return start + at + 1,
            _ => {}
        }
    }
    text.len()
}

fn looks_like_statement(line: &str) -> bool {
    let line = line.trim();
    let is_header = line.starts_with('[') && line.ends_with(']') && !line.contains(['"', ',']);
    // With a colon, it is the key of another format.
    let key = line.split_once('=').or_else(|| line.split_once(": ")).map(|(key, _)| key.trim());
    let is_name = |key: &str| {
        !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
    };
    is_header || line.starts_with("[registry.\"") || key.is_some_and(is_name)
}

/// The key of a statement that could not be read, if it is a single name.
fn key_of(statement: &str) -> Option<&str> {
    let key = statement.split(['=', ':', ' ', '\t', '\n']).next()?.trim_matches('"');
    let is_name = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    is_name.then_some(key)
}

/// A table of the text, moved behind the texts of other files.
pub fn moved(table: DeTable<'_>, start: usize) -> DeTable<'_> {
    table
        .into_iter()
        .map(|(key, value)| {
            let span = key.span();
            let key = Spanned::new(span.start + start..span.end + start, key.into_inner());
            (key, moved_value(value, start))
        })
        .collect()
}

fn moved_value(value: Spanned<DeValue<'_>>, start: usize) -> Spanned<DeValue<'_>> {
    let span = value.span();
    let value = match value.into_inner() {
        DeValue::Table(table) => DeValue::Table(moved(table, start)),
        DeValue::Array(items) => {
            DeValue::Array(items.into_iter().map(|item| moved_value(item, start)).collect())
        }
        other => other,
    };
    Spanned::new(span.start + start..span.end + start, value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Where the mistakes of a text are, and what is left of it.
    fn outcome(text: &str) -> (Vec<&str>, String) {
        let (clean, mistakes) = clean(text);
        let places = mistakes.iter().map(|it| &text[it.left_out.span.clone()]).collect();
        let table = |text: &str| shown(&DeValue::Table(DeTable::parse(text).unwrap().into_inner()));
        (places, clean.map(|text| table(&text)).unwrap_or_default())
    }

    fn shown(value: &DeValue<'_>) -> String {
        match value {
            DeValue::Table(table) => {
                let parts =
                    table.iter().map(|(k, v)| format!("{}={}", k.get_ref(), shown(v.get_ref())));
                format!("{{{}}}", parts.collect::<Vec<_>>().join(" "))
            }
            DeValue::Array(items) => {
                let parts: Vec<_> = items.iter().map(|item| shown(item.get_ref())).collect();
                format!("[{}]", parts.join(" "))
            }
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) => number.to_string(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn reading_goes_on_behind_each_mistake() {
        let cases: [(&str, &[&str], &str); 9] = [
            ("a = 1\nb = x y\nc = 3\n", &["b = x y"], "{a=1 c=3}"),
            ("a = 1\nfoo\nb: 2\nc = 3\nd = \n", &["foo", "b: 2", "d = "], "{a=1 c=3}"),
            ("a = \"x\nb = 'y\nc = 3", &["a = \"x", "b = 'y"], "{c=3}"),
            ("a = [1,\n  2\nb = 3\n", &["a = [1,\n  2"], "{b=3}"),
            ("a = [\n  1 2,\n]\nb = 3\n", &["a = [\n  1 2,\n]"], "{b=3}"),
            ("a = { x = 1,\n[[sync]]\nname = \"r\"\n", &["a = { x = 1,"], "{sync=[{name=r}]}"),
            ("[a]\nx = 1\n[b\ny = 2\n[c]\nz = 3\n", &["[b"], "{a={x=1} c={z=3}}"),
            ("x = 1\nx = 2\n[a]\n[a]\ny = 1\n[b]\n", &["x = 2", "[a]"], "{a={} b={} x=1}"),
            ("# c = [\na = \"\"\"\n[ x\n\"\"\"\nb\n", &["b"], "{a=[ x\n}"),
        ];
        for (text, mistakes, rest) in cases {
            assert_eq!(outcome(text), (mistakes.to_vec(), rest.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_not_toml_at_all_is_said_once() {
        for text in
            ["sync:\n  - source: a\n    target: b\n", "---\nsync:\n", "{\n  \"sync\": [\n  ]\n}\n"]
        {
            let (clean, mistakes) = clean(text);
            assert!(clean.is_none() && mistakes.len() == 1, "{text}");
            let format = if text.starts_with('{') { "JSON" } else { "YAML" };
            let message = format!("this is {format}, and the configuration of tranship is TOML");
            assert_eq!(mistakes[0].message, message);
        }
        let many = "x y\n".repeat(200);
        assert_eq!(clean(&many).1.len(), MAX_MISTAKES);
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in "[a\\[\\]{}\"'=#\n .:,ü1]{0,60}") {
            let (_, mistakes) = clean(&text);
            for mistake in mistakes {
                prop_assert!(text.get(mistake.left_out.span).is_some());
            }
        }

        #[test]
        fn what_is_toml_has_no_mistakes(text in "([a-d] = (1|\"x\"|\\[1,\n 2\\])\n){0,1}(\\[[e-g]\\]\n)?") {
            prop_assert!(clean(&text).1.is_empty(), "{}", text);
        }
    }
}
