//! The identity of a policy: a hash of an encoding that no other purpose may change, because
//! marks stand in states that were written long ago.
//!
//! This is version 1 of the encoding. A later one begins with `version = `, as no policy of
//! version 1 does.
//!
//! The encoding is TOML. States keep it beside the mark, so that a policy can be compared with one
//! that the configuration does not have any more.

use std::fmt::{self, Display, Write};
use std::time::Duration;

use serde::Deserialize;

use super::limits::MaxDelete;
use super::policy::{ClockSource, DeleteKeys, Doomed, KeepKeys, Policy, TagSelector};
use super::text::Period;
use crate::oci::Digest;

/// Differs if other images would be deleted; limits do not matter.
pub fn mark(policy: &Policy) -> u64 {
    let digest = Digest::of(text(policy).as_bytes());
    digest.as_bytes().iter().take(8).fold(0, |mark, byte| mark << 8 | u64::from(*byte))
}

/// What the mark is made from.
pub fn text(policy: &Policy) -> String {
    let mut encoding = String::new();
    // Writing to a string cannot fail.
    let _ = encode(policy, &mut encoding);
    encoding
}

/// The policy that was encoded, without its limits. `None`: it cannot be understood any more.
pub fn read(text: &str) -> Option<Policy> {
    #[derive(Deserialize)]
    struct Encoded {
        clock: Vec<ClockSource>,
        grace: Period,
        cleanup: Lines,
    }
    #[derive(Deserialize)]
    struct Lines {
        #[serde(default)]
        keep: Vec<KeepKeys>,
        #[serde(default)]
        delete: Vec<DeleteKeys>,
    }
    let Encoded { clock, grace, cleanup } = toml::from_str(text).ok()?;
    Some(Policy {
        keep: cleanup.keep.into_iter().map(KeepKeys::build).collect(),
        delete: cleanup.delete.into_iter().map(DeleteKeys::build).collect(),
        clock,
        grace: grace.into(),
        max_delete: MaxDelete::default(),
        untag_by_overwriting: false,
    })
}

fn encode(policy: &Policy, out: &mut String) -> fmt::Result {
    let Policy { keep, delete, clock, grace, max_delete: _, untag_by_overwriting: _ } = policy;
    writeln!(out, "clock = {}", list(clock.iter().map(|clock| clock.as_str())))?;
    writeln!(out, "grace = {}", duration(*grace))?;
    for line in keep {
        writeln!(out, "\n[[cleanup.keep]]\nid = {}", quoted(&line.id))?;
        encode_selector(&line.selector, out)?;
        if let Some(newest) = line.newest {
            writeln!(out, "newest = {newest}")?;
        }
    }
    for line in delete {
        writeln!(out, "\n[[cleanup.delete]]\nid = {}", quoted(&line.id))?;
        match &line.what {
            Doomed::Tags { selector, beyond_newest } => {
                encode_selector(selector, out)?;
                if let Some(count) = beyond_newest {
                    writeln!(out, "beyond_newest = {count}")?;
                }
            }
            Doomed::Untagged => writeln!(out, "untagged = true")?,
            Doomed::Orphans => writeln!(out, "orphans = true")?,
        }
        if let Some(age) = line.older_than {
            writeln!(out, "older_than = {}", duration(age))?;
        }
    }
    Ok(())
}

fn encode_selector(selector: &TagSelector, out: &mut String) -> fmt::Result {
    let TagSelector { tags, semver, per } = selector;
    if let Some(tags) = tags {
        writeln!(out, "tags = {}", list(tags.entries()))?;
    }
    if let Some(range) = semver {
        writeln!(out, "semver = {}", quoted(range))?;
    }
    if let Some(per) = per {
        writeln!(out, "per = {}", quoted(per))?;
    }
    Ok(())
}

fn list(items: impl IntoIterator<Item = impl Display>) -> String {
    let items: Vec<_> = items.into_iter().map(quoted).collect();
    format!("[{}]", items.join(", "))
}

fn quoted(text: impl Display) -> String {
    let escape = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_control() => format!("\\U{:08X}", u32::from(c)),
        c => c.to_string(),
    };
    format!("\"{}\"", text.to_string().chars().map(escape).collect::<String>())
}

/// Like `"1day 2h"`; a year has 365.25 days and a month 30.44.
fn duration(duration: Duration) -> String {
    let (seconds, nanos) = (duration.as_secs(), u64::from(duration.subsec_nanos()));
    let plural = |count, unit: &str| match count {
        0 | 1 => format!("{count}{unit}"),
        _ => format!("{count}{unit}s"),
    };
    let parts = [
        (seconds / 31_557_600, "year"),
        (seconds % 31_557_600 / 2_630_016, "month"),
        (seconds % 31_557_600 % 2_630_016 / 86_400, "day"),
        (seconds % 31_557_600 % 2_630_016 % 86_400 / 3600, "h"),
        (seconds % 31_557_600 % 2_630_016 % 86_400 % 3600 / 60, "m"),
        (seconds % 31_557_600 % 2_630_016 % 86_400 % 60, "s"),
        (nanos / 1_000_000, "ms"),
        (nanos / 1000 % 1000, "us"),
        (nanos % 1000, "ns"),
    ];
    let parts: Vec<_> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| match *unit {
            "year" | "month" | "day" => plural(*count, unit),
            _ => format!("{count}{unit}"),
        })
        .collect();
    quoted(if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The encoding began as what humantime made of durations.
        #[test]
        fn durations_are_as_they_always_were(seconds in prop_oneof![0..200_000_u64, 0..200_000_000_u64], nanos in prop_oneof![Just(0), 0..1_000_000_000_u32]) {
            let value = Duration::new(seconds, nanos);
            prop_assert_eq!(duration(value), quoted(humantime::format_duration(value)));
        }
    }
}
