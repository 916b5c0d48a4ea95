//! Makes text from servers and programs fit for a message, a terminal and a log, and names of enums.

use std::borrow::Cow;

use crate::redact;

/// Displays enums of plain names as they are serialized.
macro_rules! display_as_serialized {
    ($($name:ty),+) => {
        $(impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                serde::Serialize::serialize(self, f)
            }
        })+
    };
}
pub(crate) use display_as_serialized;

/// Cuts a text to at most `limit` bytes, not counting the mark that something is left out.
pub fn cut(text: &mut String, limit: usize) {
    if text.len() > limit {
        text.truncate(text.floor_char_boundary(limit));
        text.push('…');
    }
}

/// The beginning of a text: one line of at most `limit` characters, inert and without secrets in
/// use. White space counts as one space.
pub fn shorten(text: &str, limit: usize) -> String {
    beginning(&redact::hide(text).split_whitespace().collect::<Vec<_>>().join(" "), limit)
}

/// The same with all its white space, as it is needed where that may be the mistake.
pub fn quote(text: &str, limit: usize) -> String {
    beginning(&redact::hide(text), limit)
}

fn beginning(text: &str, limit: usize) -> String {
    let mut short: String = text.chars().take(limit).map(harmless).collect();
    if text.chars().nth(limit).is_some() {
        short.push('…');
    }
    short
}

/// A number with its noun: `1 tag`, `3 tags`.
pub fn counted(count: impl TryInto<u64>, one: &str, many: &str) -> String {
    // What does not fit is more than one.
    match count.try_into().unwrap_or(u64::MAX) {
        1 => format!("1 {one}"),
        count => format!("{count} {many}"),
    }
}

/// Words of strangers, fit for a terminal and a log: what would command a terminal, break the line,
/// or hide or reorder other text is replaced by U+FFFD.
pub fn inert(text: &str) -> Cow<'_, str> {
    if text.chars().any(is_harmful) { text.chars().map(harmless).collect() } else { text.into() }
}

/// A JSON document with the same content that is inert: JSON itself escapes only the control
/// characters of ASCII. Everything else that is harmful can stand in strings only.
pub fn inert_json(document: &str) -> Cow<'_, str> {
    // The white space of a document is no part of its strings.
    let escaped = |c: char| !c.is_ascii_control() && is_harmful(c) || c == '\u{7f}';
    if !document.chars().any(escaped) {
        return document.into();
    }
    let mut text = String::with_capacity(document.len());
    for c in document.chars() {
        if escaped(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            text.push(c);
        }
    }
    text.into()
}

fn harmless(c: char) -> char {
    if is_harmful(c) { '\u{fffd}' } else { c }
}

/// Control characters (C0, DEL, C1), the separators of lines and paragraphs, and format characters
/// that cannot be seen (category Cf of Unicode), such as those that change the direction of text.
fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    const HARMFUL: &str = "\0\t\n\r\u{1b}\u{7f}\u{80}\u{85}\u{9b}\u{9f}\u{ad}\u{61c}\u{200b}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202e}\u{2060}\u{2066}\u{2069}\u{feff}\u{fffb}\u{e0041}";

    #[test]
    fn what_commands_or_hides_is_replaced_and_nothing_else() {
        assert!(inert(HARMFUL).chars().all(|c| c == '\u{fffd}'), "{:?}", inert(HARMFUL));
        assert_eq!(inert(HARMFUL).chars().count(), HARMFUL.chars().count());
        for text in ["", "a b", "Grüße, 世界 🚀 שלום مرحبا … \u{a0}\u{fffd}"] {
            assert!(matches!(inert(text), Cow::Borrowed(same) if same == text), "{text}");
        }
        assert_eq!(shorten("a\u{202e}b\n c\u{9b}d", 6), "a\u{fffd}b c\u{fffd}…");
    }

    #[test]
    fn nouns_follow_their_number() {
        let counted = |count: usize| counted(count, "tag", "tags");
        assert_eq!([0, 1, 2].map(counted), ["0 tags", "1 tag", "2 tags"]);
    }

    #[test]
    fn inert_json_says_the_same() {
        let document = serde_json::json!({ HARMFUL: [HARMFUL, "ü\\\""] });
        for text in [document.to_string(), serde_json::to_string_pretty(&document).unwrap()] {
            let inert = inert_json(&text);
            assert!(!inert.chars().any(|c| c != '\n' && is_harmful(c)), "{inert:?}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&inert).unwrap(), document);
        }
    }
}
