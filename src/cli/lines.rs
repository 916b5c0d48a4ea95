//! Text for people, line by line: whatever strangers have written into a line, it stays one line and
//! commands no terminal. All text for people is made of these.

use std::io::Write;

use super::progress::screen;
use crate::text::inert;

/// Text for people, line by line.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Lines(String);

impl Lines {
    /// Text of tranship's own that has its line breaks already.
    pub fn of(text: &str) -> Self {
        let mut lines = Self::default();
        text.lines().for_each(|line| lines.line(line.replace('\t', "    ")));
        lines
    }

    pub fn one(line: impl AsRef<str>) -> Self {
        let mut lines = Self::default();
        lines.line(line);
        lines
    }

    /// Adds a line: what is in it cannot break it.
    pub fn line(&mut self, line: impl AsRef<str>) {
        self.0.push_str(&inert(line.as_ref()));
        self.0.push('\n');
    }

    pub fn add(&mut self, more: &Self) {
        self.0.push_str(&more.0);
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Tells people a line, on standard error.
pub fn tell_line(line: impl AsRef<str>) {
    tell_lines(&Lines::one(line));
}

/// The same with several lines.
pub fn tell_lines(lines: &Lines) {
    // There is no other place to say that it failed.
    let _ = screen::Above.write_all(lines.as_str().as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_one_line() {
        let mut lines = Lines::of("two\nlines\n");
        lines.line("a\nb\u{1b}[2J");
        lines.add(&Lines::one("c\r\n"));
        let expected = "two\nlines\na\u{fffd}b\u{fffd}[2J\nc\u{fffd}\u{fffd}\n";
        assert_eq!(lines.as_str(), expected);
    }
}
