//! Makes text from servers and programs fit for a message.

/// The beginning of a text: one line of at most `limit` characters, without control characters.
pub fn shorten(text: &str, limit: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut short: String =
        line.chars().take(limit).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if line.chars().nth(limit).is_some() {
        short.push('…');
    }
    short
}
