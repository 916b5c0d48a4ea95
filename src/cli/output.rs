//! Standard output is for data; everything for people's eyes only goes to standard error.

use std::io::{IsTerminal, Write};

use serde::Serialize;

use super::args::{Global, Output};
use super::exit::{CliError, failed};
use super::lines::Lines;
use super::progress::screen;
use crate::oci::{Digest, Tag};
use crate::text::inert_json;

/// Prints a report in the format that the user wants: as one JSON document, or with `text`.
pub fn print(
    global: &Global,
    document: &impl Serialize,
    text: impl FnOnce() -> Result<(), CliError>,
) -> Result<(), CliError> {
    match global.output {
        Output::Json => print_json(document),
        Output::Text => text(),
    }
}

/// Prints one JSON document on standard output.
pub fn print_json(document: &impl Serialize) -> Result<(), CliError> {
    let text = serde_json::to_string_pretty(document).map_err(failed("write JSON"))?;
    write(format!("{}\n", inert_json(&text)).as_bytes()).map(drop)
}

/// Prints a line on standard output.
pub fn print_line(line: impl AsRef<str>) -> Result<(), CliError> {
    print_lines(&Lines::one(line))
}

/// Prints text on standard output. A reader that has gone (`| head`) is not an error.
pub fn print_lines(lines: &Lines) -> Result<(), CliError> {
    print_if_read(lines).map(drop)
}

/// The same; `false`: the reader has gone.
pub fn print_if_read(lines: &Lines) -> Result<bool, CliError> {
    write(lines.as_str().as_bytes())
}

/// Prints exactly these bytes of tranship's own on standard output.
pub fn print_bytes(bytes: &[u8]) -> Result<(), CliError> {
    write(bytes).map(drop)
}

/// Prints exactly these bytes of strangers for another program. On a terminal, they are text like
/// any other.
pub fn print_foreign(bytes: &[u8]) -> Result<(), CliError> {
    if std::io::stdout().is_terminal() {
        return print_lines(&Lines::of(&String::from_utf8_lossy(bytes)));
    }
    print_bytes(bytes)
}

fn write(bytes: &[u8]) -> Result<bool, CliError> {
    let print = || {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(bytes).and_then(|()| stdout.flush())
    };
    let is_terminal = std::io::stdout().is_terminal();
    let printed = if is_terminal { screen::above(print) } else { print() };
    match printed {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(failed("write to standard output")(error)),
    }
}

/// Rows in columns as wide as their widest cell, under their heads.
pub fn table<const N: usize>(
    heads: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> Lines {
    let rows: Vec<_> = std::iter::once(heads.map(str::to_owned)).chain(rows).collect();
    let widths: [usize; N] = std::array::from_fn(|column| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
    });
    let mut lines = Lines::default();
    for row in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        lines.line(cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    lines
}

/// Tags in a cell of a table.
pub fn tags<'a>(tags: impl IntoIterator<Item = &'a Tag>) -> String {
    tags.into_iter().map(Tag::as_str).collect::<Vec<_>>().join(", ")
}

/// The counts that are not zero, each with a comma before it: `, 3 kept, 1 failed`.
pub fn counts<'a>(counts: impl IntoIterator<Item = (usize, &'a str)>) -> String {
    let counts = counts.into_iter().filter(|(count, _)| *count > 0);
    counts.map(|(count, what)| format!(", {count} {what}")).collect()
}

/// Enough of a digest to tell it from the others.
pub fn short(digest: &Digest) -> String {
    let mut hex = digest.hex();
    hex.truncate(12);
    format!("{}:{hex}", digest.algorithm())
}

/// Bytes in a readable form: `3.4 MiB`.
pub fn bytes(count: u64) -> String {
    bytesize::ByteSize(count).display().iec().to_string()
}

/// A time that has passed or will, in its two largest units: `45s`, `12m`, `3h 5m`, `2d`.
pub fn span(seconds: f64) -> String {
    // Below a minute seconds count, and nothing finer.
    let whole = seconds.max(0.0) as u64;
    let (days, hours, minutes) = (whole / 86_400, whole / 3_600 % 24, whole / 60 % 60);
    let (large, small) = match (days, hours, minutes) {
        (0, 0, 0) => (format!("{whole}s"), None),
        (0, 0, _) => (format!("{minutes}m"), None),
        (0, _, _) => (format!("{hours}h"), (minutes > 0).then(|| format!("{minutes}m"))),
        _ => (format!("{days}d"), (hours > 0).then(|| format!("{hours}h"))),
    };
    small.map_or(large.clone(), |small| format!("{large} {small}"))
}

/// Seconds in a readable form.
pub fn seconds(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{seconds:.1} s");
    }
    let whole = std::time::Duration::from_secs(seconds as u64);
    humantime::format_duration(whole).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_their_two_largest_units() {
        for (seconds, expected) in [
            (-5.0, "0s"),
            (59.9, "59s"),
            (60.0, "1m"),
            (3_599.0, "59m"),
            (3_600.0, "1h"),
            (3_660.0, "1h 1m"),
            (86_400.0, "1d"),
            (90_059.0, "1d 1h"),
        ] {
            assert_eq!(span(seconds), expected);
        }
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["ä", "12"], ["abc", ""]].map(|row| row.map(str::to_owned));
        assert_eq!(table(["A", "B"], rows).as_str(), "A    B\nä    12\nabc\n");
    }
}
