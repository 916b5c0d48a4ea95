//! Lines that are made of the value of an unknown key.

use crate::config::document::Node;
use crate::config::show::{list, quoted};
use crate::config::text::Period;
use crate::oci::tag_pattern::TagPattern;
use crate::schedule::Schedule;

/// The value of an unknown key under its right name, if it is good there.
pub fn renamed(name: &str, value: Node<'_>) -> Option<String> {
    let texts: Option<Vec<&str>> = value.all_items().map(Node::as_str).collect();
    let texts = texts.filter(|texts| !texts.is_empty())?;
    let is_list = value.as_str().is_none();
    match (name, &texts[..]) {
        ("every", [text]) => text.parse::<Period>().is_ok(),
        ("schedule", [text]) => text.parse::<Schedule>().is_ok(),
        ("every" | "schedule", _) => false,
        _ => true,
    }
    .then(|| match is_list || matches!(name, "tags" | "platforms") {
        true => format!("{name} = {}", list(texts)),
        false => format!("{name} = {}", quoted(texts[0])),
    })
}

/// regsync's `allow`.
pub fn included(value: Node<'_>) -> Option<String> {
    Some(format!("include = {}", list(patterns(value)?)))
}

/// regsync's `deny`.
pub fn excluded(value: Node<'_>) -> Option<String> {
    Some(format!("exclude = {}", list(patterns(value)?)))
}

/// How often GitLab cleans up.
pub fn cadence(value: Node<'_>) -> Option<String> {
    match value.as_str()? {
        "1month" => Some("schedule = \"0 3 1 * *\"".to_owned()),
        "3month" => Some("schedule = \"0 3 1 */3 *\"".to_owned()),
        text => text.parse::<Period>().is_ok().then(|| format!("every = {}", quoted(text))),
    }
}

/// GitLab's `keep_n`.
pub fn kept_newest(value: Node<'_>) -> Option<String> {
    let count: u32 = value.as_number()?.parse().ok().filter(|count| *count > 0)?;
    Some(format!("keep = [{{ id = \"newest\", tags = [\"*\"], newest = {count} }}]"))
}

/// GitLab's `name_regex_keep`.
pub fn kept_names(value: Node<'_>) -> Option<String> {
    Some(format!("keep = [{{ id = \"kept\", tags = {} }}]", list(patterns(value)?)))
}

/// GitLab's `name_regex_delete`.
pub fn deleted_names(value: Node<'_>) -> Option<String> {
    let tags = list(patterns(value)?);
    Some(format!(
        "delete = [{{ id = \"old\", tags = {tags}, older_than = \"30d\", beyond_newest = 5 }}]"
    ))
}

/// An age outside of the lines of a policy.
pub fn deleted_of_age(value: Node<'_>) -> Option<String> {
    let age = match (value.as_str(), value.as_number()) {
        (Some(text), _) => text.to_owned(),
        (None, days) => format!("{}d", days?),
    };
    age.parse::<Period>().ok()?;
    let age = quoted(age);
    Some(format!(
        "delete = [{{ id = \"old\", tags = [\"*\"], older_than = {age}, beyond_newest = 5 }}]"
    ))
}

/// The patterns that are meant by texts which are regular expressions in other tools.
fn patterns(value: Node<'_>) -> Option<Vec<String>> {
    let texts: Option<Vec<_>> = value.all_items().map(|item| pattern(item.as_str()?)).collect();
    texts.filter(|texts| !texts.is_empty())
}

fn pattern(text: &str) -> Option<String> {
    let is_good = |text: &str| text.parse::<TagPattern>().is_ok();
    match text {
        ".*" => Some("*".to_owned()),
        // In a glob, the dot means itself.
        text if is_good(text) && !text.contains(".*") => Some(text.to_owned()),
        text => Some(format!("/{text}/")).filter(|text| is_good(text)),
    }
}
