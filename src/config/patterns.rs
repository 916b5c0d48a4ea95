//! Warns of tag patterns that are valid and probably not what was meant.

use super::checker::Checker;
use super::document::Node;
use crate::oci::tag_pattern::TagPattern;

/// Warns of globs in this list that look like regular expressions without their slashes.
pub fn check(list: Node<'_>, checker: &mut Checker<'_>) {
    for node in list.items() {
        let Some(text) = node.as_str() else { continue };
        let Ok(pattern) = text.parse::<TagPattern>() else { continue };
        if let Some(expression) = pattern.likely_expression() {
            let message = format!("`{text}` is a glob, and looks like a regular expression");
            let hint = format!(
                "a regular expression stands between slashes: `{expression}`; in a glob, `*` means \
                 any text, and `.` and digits in braces mean themselves"
            );
            checker.warn(node.span(), message, &hint);
        }
    }
}
