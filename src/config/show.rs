//! Writes TOML (`config show`): defaults filled in, paths absolute, secrets only by their source.
//! Reading it again gives the same configuration, except for the paths of webhooks, which may be
//! secrets and are left out.

use std::fmt::{Display, Write};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

/// TOML in the making.
#[derive(Default)]
pub struct Writer(String);

impl Writer {
    pub fn into_text(self) -> String {
        self.0
    }

    pub fn header(&mut self, header: &str) {
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        self.0.push_str(header);
        self.0.push('\n');
    }

    pub fn key(&mut self, key: &str, value: impl Display) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{key} = {value}");
    }

    pub fn optional(&mut self, key: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.key(key, value);
        }
    }
}

pub fn shown_duration(duration: Duration) -> String {
    quoted(humantime::format_duration(duration))
}

/// In the largest unit that loses nothing.
pub fn shown_size(bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let fitting = units.iter().find(|(_, shift)| bytes.trailing_zeros() >= *shift);
    quoted(match fitting {
        Some((unit, shift)) if bytes > 0 => format!("{}{unit}", bytes >> shift),
        _ => format!("{bytes}B"),
    })
}

/// The name of a value of an enum, as serde knows it. JSON's quotes are TOML's.
pub fn word(value: impl Serialize) -> String {
    serde_json::to_string(&value).unwrap_or_default()
}

pub fn path(path: &Path) -> String {
    quoted(path.display())
}

pub fn list(items: impl IntoIterator<Item = impl Display>) -> String {
    let items: Vec<_> = items.into_iter().map(quoted).collect();
    format!("[{}]", items.join(", "))
}

/// An inline table; each part is a key with its value.
pub fn inline_table(parts: impl IntoIterator<Item = String>) -> String {
    let parts: Vec<_> = parts.into_iter().collect();
    format!("{{ {} }}", parts.join(", "))
}

/// A TOML basic string.
pub fn quoted(text: impl Display) -> String {
    let mut out = String::from("\"");
    for c in text.to_string().chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\U{:08X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
