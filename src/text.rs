//! Makes text from servers and programs fit for a message, and names of enums.

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

/// The beginning of a text: one line of at most `limit` characters, without control characters and
/// secrets in use.
pub fn shorten(text: &str, limit: usize) -> String {
    let text = redact::hide(text);
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut short: String =
        line.chars().take(limit).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if line.chars().nth(limit).is_some() {
        short.push('…');
    }
    short
}
