//! Tags read as versions, more leniently than semver 2.0 has it.

use std::cmp::Ordering;

use semver::{BuildMetadata, Prerelease, Version};

use super::reference::Tag;

/// The version that a tag stands for, or `None` if it stands for none.
///
/// Accepted are one to three numbers with an optional `v` before them; missing ones are zero and
/// leading zeros are dropped (`v1.2` is 1.2.0, `2024.01.05` is 2024.1.5). `-…` is a pre-release.
/// A tag cannot hold the `+` of build metadata; like Helm, `_…` is read as that, and ignored.
pub fn parse(tag: &Tag) -> Option<Version> {
    let text = tag.as_str();
    let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
    let text = text.split_once('_').map_or(text, |(version, _build)| version);
    let (numbers, pre) = match text.split_once('-') {
        Some((numbers, pre)) => (numbers, prerelease(pre)?),
        None => (text, Prerelease::EMPTY),
    };
    let mut parts = [0; 3];
    for (n, number) in numbers.split('.').enumerate() {
        if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        *parts.get_mut(n)? = number.parse().ok()?;
    }
    let [major, minor, patch] = parts;
    Some(Version { major, minor, patch, pre, build: BuildMetadata::EMPTY })
}

fn prerelease(text: &str) -> Option<Prerelease> {
    let identifier = |text: &str| {
        let significant = text.trim_start_matches('0');
        match (text.bytes().all(|b| b.is_ascii_digit()), significant) {
            (true, "") if !text.is_empty() => "0".to_owned(),
            (true, number) => number.to_owned(),
            (false, _) => text.to_owned(),
        }
    };
    let identifiers: Vec<_> = text.split('.').map(identifier).collect();
    // Prerelease::new takes the empty text for "none", which `1.2-` does not mean.
    Prerelease::new(&identifiers.join(".")).ok().filter(|pre| !pre.is_empty())
}

/// The order in which people expect tags: names before versions, versions as versions, and numbers
/// in names as numbers.
pub fn order(a: &Tag, b: &Tag) -> Ordering {
    let text = || natural(a.as_str(), b.as_str()).then_with(|| a.cmp(b));
    match (parse(a), parse(b)) {
        (Some(a), Some(b)) => a.cmp(&b).then_with(text),
        (None, None) => text(),
        (a, b) => a.is_some().cmp(&b.is_some()),
    }
}

/// Compares numbers in texts as numbers.
fn natural(a: &str, b: &str) -> Ordering {
    let number = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let (mut a, mut b) = (a, b);
    loop {
        let lengths = (number(a), number(b));
        let order = if let (1.., 1..) = lengths {
            let ((first, rest), (second, other)) = (a.split_at(lengths.0), b.split_at(lengths.1));
            (a, b) = (rest, other);
            let [first, second] = [first, second].map(|number| number.trim_start_matches('0'));
            first.len().cmp(&second.len()).then_with(|| first.cmp(second))
        } else {
            let (mut left, mut right) = (a.chars(), b.chars());
            let (first, second) = (left.next(), right.next());
            if first.is_none() && second.is_none() {
                return Ordering::Equal;
            }
            (a, b) = (left.as_str(), right.as_str());
            first.cmp(&second)
        };
        if order.is_ne() {
            return order;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tags_are_read_leniently() {
        let cases = [
            ("1", Some("1.0.0")),
            ("v1.2", Some("1.2.0")),
            ("V1.2.3", Some("1.2.3")),
            ("2024.01.05", Some("2024.1.5")),
            ("000.00", Some("0.0.0")),
            ("1.2-rc.01", Some("1.2.0-rc.1")),
            ("1.2.3-00", Some("1.2.3-0")),
            ("1.25-alpine3.20", Some("1.25.0-alpine3.20")),
            ("1.2.3_build.7", Some("1.2.3")),
            ("1.2.3-rc1_a_b", Some("1.2.3-rc1")),
            ("1.2.3.4", None),
            ("1.2-", None),
            ("1..2", None),
            ("1.2.", None),
            ("1.2-a..b", None),
            ("_1", None),
            ("v", None),
            ("latest", None),
            ("version1", None),
            ("99999999999999999999", None),
        ];
        for (tag, expected) in cases {
            let version = parse(&tag.parse().unwrap()).map(|version| version.to_string());
            assert_eq!(version.as_deref(), expected, "{tag}");
        }
    }

    #[test]
    fn tags_stand_in_the_order_that_people_expect() {
        let expected = [
            "latest",
            "main",
            "pr-2",
            "pr-010",
            "pr-10",
            "pr-10-b",
            "1.2.0",
            "1.9.0",
            "v1.9.0",
            "1.10.0-rc.1",
            "1.10.0",
        ];
        let mut tags: Vec<Tag> = expected.iter().rev().map(|tag| tag.parse().unwrap()).collect();
        tags.sort_by(order);
        assert_eq!(tags.iter().map(Tag::as_str).collect::<Vec<_>>(), expected);
    }

    proptest! {
        #[test]
        fn it_is_an_order(a in "[va0-2.-]{1,5}", b in "[va0-2.-]{1,5}", c in "[va0-2.-]{1,5}") {
            let tags = [a, b, c].map(|text| text.parse::<Tag>());
            let [Ok(a), Ok(b), Ok(c)] = tags else { return Ok(()) };
            prop_assert_eq!(order(&a, &b), order(&b, &a).reverse());
            prop_assert_eq!(order(&a, &b).is_eq(), a == b);
            if order(&a, &b).is_le() && order(&b, &c).is_le() {
                prop_assert!(order(&a, &c).is_le());
            }
        }

        /// Whatever semver itself accepts (and a tag can hold) means the same here.
        #[test]
        fn agrees_with_semver(text in "(0|[1-9][0-9]{0,3})\\.(0|[1-9][0-9]{0,3})\\.(0|[1-9][0-9]?)(-[0-9a-z.-]{1,8})?") {
            let tag: Tag = text.parse().unwrap();
            if let Ok(version) = text.parse::<Version>() {
                prop_assert_eq!(parse(&tag), Some(version));
            }
        }

        #[test]
        fn never_panics(text in "[vV]?[0-9a-z._-]{1,30}") {
            if let Ok(tag) = text.parse() {
                let _ = parse(&tag);
            }
        }
    }
}
