//! Which bytes a request asks for, or brings. Pure.

/// What a `Range` header asks for of a content (RFC 9110 §14.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of it: no range, or one that may be ignored, such as several at once.
    Whole,
    /// From the first to the last byte, both included.
    Part(u64, u64),
    /// Nothing that is there.
    Nothing,
}

/// Reads a `Range` header for a content of `size` bytes.
pub(super) fn wanted(header: &str, size: u64) -> Wanted {
    let number = |text: &str| text.parse::<u64>().ok().filter(|_| !text.starts_with('+'));
    let spec = header.trim().strip_prefix("bytes=").and_then(|range| range.trim().split_once('-'));
    let Some((first, last)) = spec else { return Wanted::Whole };
    let (first, last) = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => (first, last.min(size.saturating_sub(1))),
        (Some(first), None) if last.is_empty() => (first, size.saturating_sub(1)),
        // The last so many bytes.
        (None, Some(0)) if first.is_empty() => return Wanted::Nothing,
        (None, Some(count)) if first.is_empty() => {
            (size.saturating_sub(count), size.saturating_sub(1))
        }
        _ => return Wanted::Whole,
    };
    if first < size { Wanted::Part(first, last) } else { Wanted::Nothing }
}

/// Reads the `Content-Range` of an uploaded chunk, `<first>-<last>` as distribution-spec has it
/// ("Pushing a blob in chunks"); with a unit and a total behind it as HTTP has it, too.
pub(super) fn chunk(header: &str) -> Option<(u64, u64)> {
    let range = header.trim();
    let range =
        range.strip_prefix("bytes").map_or(range, |rest| rest.trim_start_matches([' ', '=']));
    let (range, _total) = range.split_once('/').unwrap_or((range, ""));
    let (first, last) = range.split_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last && last < u64::MAX).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges_of_a_content_of_ten_bytes() {
        let cases = [
            ("bytes=0-3", Wanted::Part(0, 3)),
            ("bytes=4-", Wanted::Part(4, 9)),
            ("bytes=-3", Wanted::Part(7, 9)),
            ("bytes=-30", Wanted::Part(0, 9)),
            ("bytes=9-100", Wanted::Part(9, 9)),
            ("bytes=10-", Wanted::Nothing),
            ("bytes=10-11", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=3-1", Wanted::Whole),
            ("bytes=0-1,3-4", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("bytes=+1-2", Wanted::Whole),
            ("items=0-1", Wanted::Whole),
            ("", Wanted::Whole),
        ];
        for (header, expected) in cases {
            assert_eq!(wanted(header, 10), expected, "{header}");
        }
        assert_eq!(wanted("bytes=0-", 0), Wanted::Nothing);
        assert_eq!(wanted("bytes=-1", 0), Wanted::Nothing);
    }

    #[test]
    fn chunks_are_read_in_every_form_in_use() {
        for header in ["5-9", "bytes 5-9/10", "bytes=5-9", "bytes 5-9/*"] {
            assert_eq!(chunk(header), Some((5, 9)), "{header}");
        }
        for header in ["", "5", "9-5", "-5", "5-", "a-b", "0-18446744073709551615"] {
            assert_eq!(chunk(header), None, "{header}");
        }
    }

    proptest! {
        #[test]
        fn a_part_is_always_within_the_content(header in "bytes=[0-9]{0,20}-[0-9]{0,20}", size: u64) {
            if let Wanted::Part(first, last) = wanted(&header, size) {
                prop_assert!(first <= last && last < size);
            }
            let _ = chunk(&header);
        }
    }
}
