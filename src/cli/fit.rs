//! Text that fits into so many columns of a terminal.

/// Hexadecimal digits of a digest that people need to tell images apart.
const DIGITS: usize = 12;
/// Stands for what is left out.
const MARK: char = '…';

/// The columns that a text takes at most: what is not ASCII may be wide.
pub fn columns(text: &str) -> usize {
    text.chars().map(width).sum()
}

fn width(c: char) -> usize {
    if c.is_ascii() || c == MARK { 1 } else { 2 }
}

/// The beginning of a text, in so many columns at most.
pub fn beginning(text: &str, room: usize) -> String {
    if columns(text) <= room {
        return text.to_owned();
    }
    let mut cut = within(text.chars(), room);
    cut.extend((room > 0).then_some(MARK));
    cut
}

/// The end of a name, which says most: the repository and the tag.
pub fn end(name: &str, room: usize) -> String {
    if columns(name) <= room {
        return name.to_owned();
    }
    let backwards = within(name.chars().rev(), room);
    let mark = (room > 0).then_some(MARK);
    mark.into_iter().chain(backwards.chars().rev()).collect()
}

/// The first of these characters that leave room for a mark.
fn within(chars: impl Iterator<Item = char>, room: usize) -> String {
    let mut left = room.saturating_sub(1);
    chars
        .take_while(|c| {
            let fits = width(*c) <= left;
            left = left.saturating_sub(width(*c));
            fits
        })
        .collect()
}

/// The text with spaces behind it, so that it takes so many columns.
pub fn padded(text: &str, room: usize) -> String {
    let spaces = room.saturating_sub(columns(text));
    format!("{text}{}", " ".repeat(spaces))
}

/// A name as it is, but for the most of its digest.
pub fn with_short_digest(name: &str) -> String {
    match name.split_once("@sha256:") {
        Some((repository, hash)) if hash.len() > DIGITS => {
            format!("{repository}@sha256:{}{MARK}", within(hash.chars(), DIGITS + 1))
        }
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_keep_their_end_and_sentences_their_beginning() {
        assert_eq!(end("registry.example.com/app:1.0", 8), "…app:1.0");
        assert_eq!(end("app:1.0", 7), "app:1.0");
        assert_eq!(beginning("three images", 6), "three…");
        assert_eq!(beginning("日本語", 5), "日本…");
        assert_eq!([beginning("ab", 1), end("ab", 1), end("ab", 0)], ["…", "…", ""]);
        assert_eq!(padded("日", 4), "日  ");
        let name = format!("a.io/app@sha256:{}", "0123456789abcdef".repeat(4));
        assert_eq!(with_short_digest(&name), "a.io/app@sha256:0123456789ab…");
    }

    proptest! {
        #[test]
        fn nothing_is_wider_than_its_room(text in "\\PC{0,30}", room in 0_usize..40) {
            for cut in [beginning(&text, room), end(&text, room)] {
                prop_assert!(columns(&cut) <= room, "{cut:?}");
                prop_assert_eq!(columns(&text) <= room, cut == text);
            }
            prop_assert_eq!(columns(&padded(&text, room)), room.max(columns(&text)));
        }
    }
}
