//! Ranges of versions: those that no version is in, and those that have pre-releases.

use semver::{BuildMetadata, Comparator, Op, Prerelease, Version, VersionReq};

/// Whether no version at all is in the range, as in `>=3, <2`.
pub fn is_empty(range: &VersionReq) -> bool {
    // Every comparator is an interval, and what all of them have in common begins where one of them
    // begins.
    let begins = range.comparators.iter().flat_map(beginnings);
    !begins.chain([Version::new(0, 0, 0)]).any(|version| range.matches(&version))
}

/// Whether no version is in both ranges.
pub fn are_disjoint(one: &VersionReq, other: &VersionReq) -> bool {
    let comparators = one.comparators.iter().chain(&other.comparators).cloned().collect();
    is_empty(&VersionReq { comparators })
}

/// Whether a version is in the range if pre-releases are versions like others: `2.0.0-rc1` is in
/// `>=1`, but neither in `>=2` nor in `<2`.
pub fn has_with_prereleases(range: &VersionReq, version: &Version) -> bool {
    let release = Version { pre: Prerelease::EMPTY, ..version.clone() };
    let is_below = |comparator: &Comparator| {
        !matches!(comparator.op, Op::Less | Op::LessEq)
            && beginnings(comparator).iter().all(|begin| version < begin)
    };
    range.matches(version) || (range.matches(&release) && !range.comparators.iter().any(is_below))
}

/// The lowest versions that could be in the interval.
fn beginnings(comparator: &Comparator) -> Vec<Version> {
    let Comparator { op, major, minor, patch, pre } = comparator;
    let (minor_or, patch_or) = (minor.unwrap_or(0), patch.unwrap_or(0));
    let first = Version { pre: pre.clone(), ..Version::new(*major, minor_or, patch_or) };
    match (op, minor, patch) {
        (Op::Greater, None, _) => vec![Version::new(major.saturating_add(1), 0, 0)],
        (Op::Greater, Some(minor), None) => {
            vec![Version::new(*major, minor.saturating_add(1), 0)]
        }
        (Op::Greater, ..) => {
            let release = Version::new(*major, minor_or, patch_or);
            let next = match pre.is_empty() {
                true => Version::new(*major, minor_or, patch_or.saturating_add(1)),
                false => release,
            };
            [just_above(&first), Some(next)].into_iter().flatten().collect()
        }
        // Of versions below something, the lowest pre-release of it.
        (Op::Less | Op::LessEq, ..) if !pre.is_empty() => {
            let lowest = Prerelease::new("0").map(|pre| Version { pre, ..first.clone() });
            lowest.into_iter().collect()
        }
        // Other comparators may admit the release only.
        _ if !pre.is_empty() => vec![first, Version::new(*major, minor_or, patch_or)],
        _ => vec![first],
    }
}

/// The lowest pre-release above a pre-release.
fn just_above(version: &Version) -> Option<Version> {
    if version.pre.is_empty() {
        return None;
    }
    let pre = Prerelease::new(&format!("{}.0", version.pre)).ok()?;
    Some(Version { pre, build: BuildMetadata::EMPTY, ..version.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn empty_ranges_are_recognised() {
        for (range, expected) in [
            (">=3, <2", true),
            (">1, <2", true),
            (">1.4, <1.5", true),
            (">1.4.2, <1.4.3", true),
            ("<0.0.0", true),
            ("1.2, 1.3", false),
            ("~1.2, ~1.3", true),
            ("=1.2.3, =1.2.4", true),
            ("^1, ^2", true),
            ("*", false),
            (">=1", false),
            ("<1", false),
            (">1.0.0-a, <1.0.0-b", false),
            (">1.0.0-rc1, <1.0.0", false),
            (">1.0.0-rc1, <=1.0.0", false),
            ("<1.0.0-rc1, >=1.0.0", true),
            ("1.*, 2.*", true),
            (">=2, ^2.0.1-0", false),
            ("", false),
        ] {
            let range = if range.is_empty() { VersionReq::STAR } else { range.parse().unwrap() };
            assert_eq!(is_empty(&range), expected, "{range}");
        }
        let range = |text: &str| text.parse::<VersionReq>().unwrap();
        assert!(are_disjoint(&range("<2"), &range(">=2")));
        assert!(!are_disjoint(&range("<=2"), &range(">=2")));
    }

    #[test]
    fn prereleases_can_be_versions_like_others() {
        for (range, version, expected) in [
            (">=1", "2.0.0-rc1", true),
            (">=1", "1.0.0-rc1", false),
            (">0.9", "1.0.0-rc1", true),
            ("<2", "2.0.0-rc1", false),
            ("<=2", "2.0.0-rc1", true),
            ("^1.2", "1.3.0-rc1", true),
            ("^1.2", "2.0.0-rc1", false),
            ("*", "2.0.0-rc1", true),
            (">=2.0.0-rc0", "2.0.0-rc1", true),
            (">=2.0.0-rc2", "2.0.0-rc1", false),
            (">=1", "2.0.0", true),
        ] {
            let found = has_with_prereleases(&range.parse().unwrap(), &version.parse().unwrap());
            assert_eq!(found, expected, "{range} {version}");
        }
    }

    proptest! {
        #[test]
        fn no_version_is_in_an_empty_range(
            range in "(>=|>|<=|<|=|~|\\^)[0-2](\\.[0-2](\\.[0-2](-[0-1a])?)?)?(, (>=|>|<=|<|=|~|\\^)[0-2](\\.[0-2](\\.[0-2](-[0-1a])?)?)?)?",
            version in "[0-3]\\.[0-3]\\.[0-3](-[0-1ab])?",
        ) {
            let range: VersionReq = range.parse().unwrap();
            let version: Version = version.parse().unwrap();
            prop_assert!(!(is_empty(&range) && range.matches(&version)), "{range} {version}");
        }
    }
}
