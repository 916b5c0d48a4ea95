//! The line of a configuration that an error is about, with carets below the spot.
//!
//! It must never show a secret, also where one was typed in the wrong place: of lines that may
//! hold one, only the key is shown.

use std::fmt;
use std::ops::Range;

/// One line of the text and a spot in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snippet {
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
    shown: String,
    /// How many spaces to draw before the carets.
    indent: usize,
    /// How many carets to draw.
    width: usize,
}

/// Longer lines are cut.
const MAX_SHOWN: usize = 160;

/// The keys of a registry whose values are not secrets.
const OPEN_KEYS: [&str; 10] = [
    "username",
    "insecure",
    "ca_file",
    "client_cert",
    "client_key",
    "parallel",
    "requests_per_second",
    "idle_timeout",
    "auth_realms",
    "product",
];

/// The keys of a source of events whose values are not secrets.
const OPEN_EVENT_KEYS: [&str; 2] = ["format", "registry"];
/// The same of a webhook.
const OPEN_NOTIFY_KEYS: [&str; 3] = ["format", "on", "rules"];

impl Snippet {
    /// `span` is in bytes of the text; one that does not fit is made to.
    pub fn new(text: &str, span: Range<usize>) -> Self {
        let start = text.floor_char_boundary(span.start);
        let end = text.floor_char_boundary(span.end).max(start);
        let line_start = text[..start].rfind('\n').map_or(0, |n| n + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |n| start + n);
        let line = text[line_start..line_end].trim_end_matches('\r');
        let private = is_private(text, line_start, line);
        let shown = if private { key_of(line) } else { line.to_owned() };
        let column = text[line_start..start].chars().count() + 1;
        let width = text[start..end.min(line_end)].chars().count();
        // The carets stay below what is shown; of a hidden value, below its `…`.
        let length = shown.chars().count().min(MAX_SHOWN);
        let indent = (column - 1).min(if private { length.saturating_sub(1) } else { length });
        let cut = shown.chars().nth(MAX_SHOWN).is_some();
        let plain = shown.chars().take(MAX_SHOWN).map(|c| if c.is_control() { ' ' } else { c });
        Self {
            line: text[..line_start].matches('\n').count() + 1,
            column,
            shown: plain.chain(cut.then_some('…')).collect(),
            indent,
            width: width.min(length.saturating_sub(indent)).max(1),
        }
    }
}

/// Whether the line may hold a secret: it mentions a password, or is in the table of a
/// registry, a source of events or a webhook and is not known to hold something else.
fn is_private(text: &str, line_start: usize, line: &str) -> bool {
    let line = line.trim_start();
    let key = line.split(['=', ' ', '\t', '.']).next().unwrap_or_default();
    let secretive = ["passw", "pwd", "secret", "token"];
    if line.contains("password") || secretive.iter().any(|word| key.contains(word)) {
        return true;
    }
    if line.is_empty() || line.starts_with(['[', '#']) {
        return false;
    }
    let section =
        text[..line_start].lines().rev().map(str::trim_start).find(|l| l.starts_with('['));
    let open_keys: &[&str] = match section {
        Some(section) if section.starts_with("[event") => &OPEN_EVENT_KEYS,
        Some(section) if section.contains("registr") => &OPEN_KEYS,
        Some(section) if section.contains("notif") => &OPEN_NOTIFY_KEYS,
        _ => return ["registr", "event", "notif"].iter().any(|part| key.contains(part)),
    };
    !open_keys.contains(&key)
}

/// The line up to its first value: `password = …`.
fn key_of(line: &str) -> String {
    match line.split_once('=') {
        Some((key, _)) => format!("{}= …", key),
        None => "…".to_owned(),
    }
}

impl fmt::Display for Snippet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:>5} | {}", self.line, self.shown)?;
        write!(f, "      | {}{}", " ".repeat(self.indent), "^".repeat(self.width))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn snippet(text: &str, spot: &str) -> String {
        let start = text.find(spot).unwrap();
        Snippet::new(text, start..start + spot.len()).to_string()
    }

    #[test]
    fn carets_stand_below_the_spot() {
        assert_eq!(
            snippet("a = 1\n\tbü = 22 # x\n", "22"),
            "    2 |  bü = 22 # x\n      |       ^^"
        );
        assert_eq!(snippet("a = [1,\n 2]\n", "[1,\n 2"), "    1 | a = [1,\n      |     ^^^");
        assert_eq!(Snippet::new("a", 1..1).to_string(), "    1 | a\n      |  ^");
        assert_eq!(Snippet::new("", 0..0).to_string(), "    1 | \n      | ^");
    }

    #[test]
    fn secrets_are_not_shown() {
        for text in [
            "password = \"hunter2\"",
            "[registry.\"ghcr.io\"]\npasswrod = \"hunter2\"",
            "[registry.\"ghcr.io\"]\nparallel = 3\n# why\ntoken = \"hunter2\"",
            "[registry.\"ghcr.io\"]\nx = \"\"\"\nhunter2",
            "[registries.x]\nuser = \"hunter2\"",
            "registry = { \"ghcr.io\" = { pass = \"hunter2\" } }",
            "[events.ghcr]\nformat = \"ghcr\"\nsecrte = \"hunter2\"",
            "[events]\nghcr = { secret = \"hunter2\" }",
            "events.ghcr.x = \"hunter2\"",
            "[[sync]]\nx = { password = \"hunter2\" }",
            "[[sync]]\ntoken = \"hunter2\"",
        ] {
            let shown = snippet(text, "hunter2");
            assert!(!shown.contains("hunter2") && shown.contains('…'), "{shown}");
        }
        let shown = snippet("[registry.\"ghcr.io\"]\nca_file = \"x\"", "x\"");
        assert!(shown.contains("ca_file = \"x\""), "{shown}");
        let shown = snippet("[events.my-registry]\nregistry = \"x\"", "x\"");
        assert!(shown.contains("registry = \"x\""), "{shown}");
    }

    proptest! {
        #[test]
        fn any_span_can_be_shown(text in "[a-zä\n\t =]{0,300}", start in 0..320_usize, length in 0..50_usize) {
            let snippet = Snippet::new(&text, start..start + length).to_string();
            prop_assert_eq!(snippet.lines().count(), 2);
        }
    }
}
