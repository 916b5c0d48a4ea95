//! The version constraints of skopeo's `images-by-semver`, as ranges of versions.

use semver::VersionReq;

/// The ranges of a constraint such as `>= 3.12.0, < 4 || ~5.1`: one for each alternative.
///
/// # Errors
/// It is none, or has what no range can say.
pub fn ranges(constraint: &str) -> Result<Vec<VersionReq>, String> {
    constraint.split("||").map(range).collect()
}

fn range(alternative: &str) -> Result<VersionReq, String> {
    let text = alternative.trim();
    let wrong = |why: &str| Err(format!("`{text}` is not a range of versions: {why}"));
    let comparators = match text.split_once(" - ") {
        Some((from, to)) => vec![format!(">={}", plain(from)), format!("<={}", plain(to))],
        None => comparators(text),
    };
    if comparators.is_empty() {
        return wrong("it is empty");
    }
    if comparators.iter().any(|comparator| comparator.starts_with('!')) {
        return wrong("`!=` is not supported, use a rule with `exclude` in tranship.toml");
    }
    comparators.join(", ").parse().or_else(|error| wrong(&format!("{error}")))
}

/// What is parted by commas or spaces; a space may stand behind an operator, too.
fn comparators(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut operator = String::new();
    for word in text.split([',', ' ']).filter(|word| !word.is_empty()) {
        let version = word.trim_start_matches(['<', '>', '=', '!', '~', '^']);
        operator.push_str(&word[..word.len() - version.len()]);
        if version.is_empty() {
            continue;
        }
        let written = match std::mem::take(&mut operator).as_str() {
            // Without an operator, this version is meant, and not the compatible ones.
            "" => "=".to_owned(),
            "=>" => ">=".to_owned(),
            "=<" => "<=".to_owned(),
            "~>" => "~".to_owned(),
            other => other.to_owned(),
        };
        let version = plain(version);
        found.push(if version == "*" { version } else { format!("{written}{version}") });
    }
    if !operator.is_empty() {
        found.push(operator);
    }
    found
}

/// A version as ranges have it: without `v`, with `*` for any number.
fn plain(version: &str) -> String {
    let version = version.trim();
    let version = version.strip_prefix(['v', 'V']).unwrap_or(version);
    let parts = version.split('.').map(|part| if matches!(part, "x" | "X") { "*" } else { part });
    parts.collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn constraints_mean_what_skopeo_takes_them_for() {
        let cases = [
            (">= 3.12.0", "3.12.0 3.13.1 4.0.0", "3.11.9"),
            (">=1.2, <2", "1.2.0 1.9.9", "2.0.0 1.1.0"),
            (">=1.2 <2", "1.2.0 1.9.9", "2.0.0"),
            ("1.2.3", "1.2.3", "1.2.4 1.3.0"),
            ("=1.2", "1.2.0 1.2.9", "1.3.0"),
            ("~1.2.3", "1.2.3 1.2.9", "1.3.0"),
            ("~> 1.2.3", "1.2.9", "1.3.0"),
            ("^1.2.3", "1.9.0", "2.0.0"),
            ("1.x", "1.0.0 1.9.0", "2.0.0"),
            ("1.2.*", "1.2.0", "1.3.0"),
            ("*", "0.0.1 9.9.9", ""),
            ("v1.2.3 - v1.4", "1.2.3 1.4.9", "1.5.0 1.2.2"),
            ("<1 || >=3", "0.9.0 3.0.0", "1.0.0 2.9.9"),
            ("=> 2.0", "2.0.0", "1.9.9"),
        ];
        for (constraint, within, beyond) in cases {
            let ranges = ranges(constraint).unwrap();
            let matches = |version: &str| {
                let version = version.parse().unwrap();
                ranges.iter().any(|range| range.matches(&version))
            };
            for version in within.split(' ') {
                assert!(matches(version), "{constraint} {version}");
            }
            for version in beyond.split(' ').filter(|version| !version.is_empty()) {
                assert!(!matches(version), "{constraint} {version}");
            }
        }
        for wrong in ["", ">=", "1.2 ||", "newest", "!=1.2", ">=1 !=1.2.3"] {
            assert!(ranges(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_constraint_panics(text in "\\PC{0,20}|[<>=!~^0-9.xv*|, -]{0,20}") {
            let _ = ranges(&text);
        }
    }
}
