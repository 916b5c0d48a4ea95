//! `max_delete`: the limits of what a rule may delete.

use std::fmt;

use schemars::JsonSchema;
use serde::de::Error;
use serde::{Deserialize, Deserializer};

use super::checker::Checker;
use super::document::Node;
use super::show::inline_table;

/// Limit on what one run may delete in one repository; tags and manifests are counted separately.
/// A plan that exceeds it deletes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MaxDelete {
    /// Maximum number of tags, and maximum number of manifests.
    pub count: Option<u32>,
    /// Maximum percentage of all tags, and of all manifests, rounded down; 0 to 100.
    #[serde(default, deserialize_with = "percent")]
    pub percent: Option<u8>,
}

/// The defaults. A limit that a rule leaves out keeps its default.
const DEFAULT: MaxDelete = MaxDelete { count: Some(200), percent: Some(20) };

fn percent<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u8>, D::Error> {
    match u8::deserialize(deserializer)? {
        101.. => Err(D::Error::custom("a percentage cannot be above 100")),
        percent => Ok(Some(percent)),
    }
}

/// The limits with the defaults filled in.
pub(super) fn check(
    limits: Option<MaxDelete>,
    node: Node<'_>,
    checker: &mut Checker<'_>,
) -> MaxDelete {
    if limits == Some(MaxDelete::default()) && node.is_sound() {
        let hint = "write count = 200 or percent = 20, or leave it out for both";
        checker.report_with_hint(node.span(), "an empty table limits nothing", hint);
    }
    let MaxDelete { count, percent } = limits.unwrap_or_default();
    MaxDelete { count: count.or(DEFAULT.count), percent: percent.or(DEFAULT.percent) }
}

/// As written in a rule.
impl fmt::Display for MaxDelete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.count.map(|count| format!("count = {count}"));
        let percent = self.percent.map(|percent| format!("percent = {percent}"));
        f.write_str(&inline_table(count.into_iter().chain(percent)))
    }
}
