//! Progress as lines that fit into a terminal. Pure.

use std::time::Duration;

use tokio::time::Instant;

use super::meter::{BlobPace, Pace};
use super::seen::{Items, Seen};
use crate::cli::fit::{beginning, columns, end, padded, with_short_digest};
use crate::cli::output::{bytes, counts, span};
use crate::text::inert;
use crate::transfer::BlobStatus;

/// Bars at most.
const BARS: usize = 6;
/// A blob has a bar from this size on …
const LARGE: u64 = 16 << 20;
/// … or if it has been on the wire for so long.
const SLOW: Duration = Duration::from_secs(2);
/// A name beside a bar gets so many columns, as long as anything can give way.
const NAME: usize = 20;
/// And no more than so many.
const LONGEST_NAME: usize = 44;
const INDENT: &str = "  ";

/// The part of a terminal that there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    pub columns: usize,
    pub lines: usize,
}

/// All lines, the summary first. None of them is as wide as the terminal, so none wraps.
pub fn lines(seen: &Seen, pace: &Pace, elapsed: Duration, now: Instant, room: Room) -> Vec<String> {
    let width = room.columns.saturating_sub(1);
    let mut lines = vec![summary(seen, pace, elapsed, width)];
    let is_shown =
        |blob: &BlobStatus| blob.size >= LARGE || now.duration_since(blob.started) >= SLOW;
    let shown = seen.blobs.iter().zip(&pace.blobs).filter(|(blob, _)| is_shown(blob));
    let shown: Vec<(&BlobStatus, &BlobPace)> = shown.collect();
    // The line below the last one stays free: what others print ends there.
    let most = room.lines.saturating_sub(2);
    let bars_at_most = BARS.min(most);
    let bars = match shown.len() {
        all if all <= bars_at_most => all,
        // The last line says how many others there are.
        _ => BARS.min(most.saturating_sub(1)),
    };
    lines.extend(self::bars(&shown[..bars], width));
    let others = shown.len() - bars;
    if others > 0 && bars < most {
        let noun = if others == 1 { "blob" } else { "blobs" };
        lines.push(beginning(&format!("{INDENT}and {others} more {noun}"), width));
    }
    lines
}

/// Everything but the bars, in one line that no width limits.
pub fn plain(seen: &Seen, pace: &Pace, elapsed: Duration) -> String {
    summary(seen, pace, elapsed, usize::MAX)
}

/// The most important comes first; what does not fit is left out.
fn summary(seen: &Seen, pace: &Pace, elapsed: Duration, width: usize) -> String {
    let mut parts = vec![done(&seen.items)];
    if seen.bytes > 0 || !seen.blobs.is_empty() {
        let rate = pace.bytes_per_second.map(|rate| format!(", {}", per_second(rate)));
        parts.push(format!("{} {}{}", bytes(seen.bytes), seen.moved, rate.unwrap_or_default()));
    }
    parts.extend(pace.left.map(|left| format!("about {} left", span(left.as_secs_f64()))));
    parts.extend(seen.words.iter().map(|word| inert(word).into_owned()));
    parts.push(format!("{} elapsed", span(elapsed.as_secs_f64())));
    let mut line = beginning(&parts.remove(0), width);
    for part in parts {
        if columns(&line) + 2 + columns(&part) > width {
            break;
        }
        line.push_str("; ");
        line.push_str(&part);
    }
    line
}

/// `12 of 40+ images`: the plus says that there may be more.
fn done(items: &Items) -> String {
    let Items { done, total, is_all, failed, noun } = *items;
    if total == 0 && !is_all {
        return "reading lists".to_owned();
    }
    let more = if is_all { "" } else { "+" };
    let name = if total == 1 && is_all { noun.one } else { noun.many };
    format!("{done} of {total}{more} {name}{}", counts([(failed, noun.failed)]))
}

fn per_second(rate: f64) -> String {
    format!("{}/s", bytes(rate as u64))
}

/// What stands beside the name of a bar.
struct Style {
    /// Columns of the bar itself.
    bar: usize,
    tail: fn(&BlobStatus, &BlobPace) -> String,
}

/// From the widest to the narrowest.
const STYLES: [Style; 5] = [
    Style { bar: 24, tail: full },
    Style { bar: 12, tail: full },
    Style { bar: 12, tail: short },
    Style { bar: 0, tail: short },
    Style { bar: 0, tail: percent },
];

fn full(blob: &BlobStatus, pace: &BlobPace) -> String {
    let left = pace.left.map(|left| format!(", {} left", span(left.as_secs_f64())));
    format!("{}{}", short(blob, pace), left.unwrap_or_default())
}

fn short(blob: &BlobStatus, pace: &BlobPace) -> String {
    let rate = pace.bytes_per_second.map(|rate| format!(", {}", per_second(rate)));
    format!("{} of {}{}", bytes(blob.done), bytes(blob.size), rate.unwrap_or_default())
}

fn percent(blob: &BlobStatus, _: &BlobPace) -> String {
    let percent = u128::from(blob.done) * 100 / u128::from(blob.size.max(1));
    format!("{percent}%")
}

/// One line for each blob, in columns.
fn bars(blobs: &[(&BlobStatus, &BlobPace)], width: usize) -> Vec<String> {
    let names: Vec<String> =
        blobs.iter().map(|(blob, _)| with_short_digest(&inert(&blob.image))).collect();
    let longest = names.iter().map(|name| columns(name)).max().unwrap_or_default();
    let longest = longest.min(LONGEST_NAME);
    let mut lines = Vec::new();
    for style in &STYLES {
        let tails: Vec<String> =
            blobs.iter().map(|(blob, pace)| (style.tail)(blob, pace)).collect();
        let tail = tails.iter().map(|tail| columns(tail)).max().unwrap_or_default();
        // Two spaces, brackets.
        let bar = if style.bar > 0 { style.bar + 4 } else { 0 };
        let room = width.saturating_sub(INDENT.len() + bar + 2 + tail);
        let names =
            names.iter().map(|name| padded(&end(name, room.min(longest)), room.min(longest)));
        lines = names
            .zip(blobs)
            .zip(&tails)
            .map(|((name, (blob, _)), tail)| {
                let bar = match style.bar {
                    0 => String::new(),
                    columns => format!("  [{}]", self::bar(blob.done, blob.size, columns)),
                };
                beginning(&format!("{INDENT}{name}{bar}  {tail}"), width)
            })
            .collect();
        if room >= longest.min(NAME) {
            break;
        }
    }
    lines
}

/// `=====>    `
pub fn bar(done: u64, total: u64, columns: usize) -> String {
    let size = u128::from(total.max(1));
    // No more than `columns`.
    let full = (u128::from(done.min(total)) * columns as u128 / size) as usize;
    let head = if full < columns { ">" } else { "" };
    let line = format!("{}{head}", "=".repeat(full));
    padded(&line, columns)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::seen::IMAGES;
    use super::*;

    const MIB: u64 = 1 << 20;

    fn blob(image: &str, done: u64, size: u64) -> BlobStatus {
        BlobStatus { number: 0, image: image.to_owned(), done, size, started: Instant::now() }
    }

    fn seen(blobs: Vec<BlobStatus>) -> (Seen, Pace) {
        let items = Items { done: 12, total: 40, is_all: false, failed: 1, noun: IMAGES };
        let pace = BlobPace {
            bytes_per_second: Some(2.0 * MIB as f64),
            left: Some(Duration::from_secs(95)),
        };
        let pace = Pace {
            bytes_per_second: Some(3.5 * MIB as f64),
            left: Some(Duration::from_secs(200)),
            blobs: blobs.iter().map(|_| pace).collect(),
        };
        let words = vec!["3 mounted".to_owned()];
        (Seen { items, words, bytes: 700 * MIB, blobs, ..Seen::sample() }, pace)
    }

    fn drawn_in(columns: usize, lines: usize, blobs: Vec<BlobStatus>) -> Vec<String> {
        let (seen, pace) = seen(blobs);
        let (now, room) = (Instant::now(), Room { columns, lines });
        super::lines(&seen, &pace, Duration::from_secs(45), now, room)
    }

    #[test]
    fn a_wide_terminal_has_everything() {
        let blobs = vec![
            blob("registry.example.com/acme/app:1.0", 50 * MIB, 100 * MIB),
            blob("registry.example.com/b:2", 200 * MIB, 200 * MIB),
            blob("registry.example.com/small:2", 0, MIB),
        ];
        assert_eq!(
            drawn_in(120, 24, blobs),
            [
                "12 of 40+ images, 1 FAILED; 700.0 MiB sent, 3.5 MiB/s; about 3m left; 3 mounted; 45s elapsed",
                "  registry.example.com/acme/app:1.0  [============>           ]  50.0 MiB of 100.0 MiB, 2.0 MiB/s, 1m left",
                "  registry.example.com/b:2           [========================]  200.0 MiB of 200.0 MiB, 2.0 MiB/s, 1m left",
            ]
        );
    }

    #[test]
    fn narrow_terminals_have_less_of_it() {
        let app = || vec![blob("registry.example.com/acme/app:1.0", 50 * MIB, 100 * MIB)];
        assert_eq!(
            drawn_in(80, 24, app()),
            [
                "12 of 40+ images, 1 FAILED; 700.0 MiB sent, 3.5 MiB/s; about 3m left; 3 mounted",
                "  …y.example.com/acme/app:1.0  [======>     ]  50.0 MiB of 100.0 MiB, 2.0 MiB/s",
            ]
        );
        assert_eq!(
            drawn_in(40, 24, app()),
            ["12 of 40+ images, 1 FAILED", "  …gistry.example.com/acme/app:1.0  50%"]
        );
        assert_eq!(drawn_in(12, 24, app()), ["12 of 40+ …", "  …1.0  50%"]);
        assert_eq!(drawn_in(1, 24, app()), ["", ""]);
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let blobs = |count: usize| vec![blob("a:1", 0, 100 * MIB); count];
        assert_eq!(drawn_in(80, 24, blobs(6)).len(), 7);
        let lines = drawn_in(80, 24, blobs(11));
        assert_eq!((lines.len(), lines[7].as_str()), (8, "  and 5 more blobs"));
        let lines = drawn_in(80, 5, blobs(11));
        assert_eq!((lines.len(), lines[3].as_str()), (4, "  and 9 more blobs"));
        assert_eq!(drawn_in(80, 2, blobs(11)).len(), 1);
        assert_eq!(drawn_in(80, 1, blobs(11)).len(), 1);
    }

    #[test]
    fn small_blobs_have_a_bar_if_they_are_slow() {
        let (seen, pace) = seen(vec![blob("a:1", 0, MIB)]);
        let at = |seconds| {
            let (room, now) = (Room { columns: 80, lines: 24 }, Instant::now());
            let now = now + Duration::from_secs(seconds);
            super::lines(&seen, &pace, Duration::ZERO, now, room).len()
        };
        assert_eq!((at(1), at(3)), (1, 2));
    }

    #[test]
    fn totals_say_whether_they_may_grow() {
        let words = |settled, total, is_all| {
            done(&Items { done: settled, total, is_all, failed: 0, noun: IMAGES })
        };
        assert_eq!(words(0, 0, false), "reading lists");
        assert_eq!(words(3, 9, false), "3 of 9+ images");
        assert_eq!(words(0, 1, true), "0 of 1 image");
        assert_eq!(words(0, 0, true), "0 of 0 images");
    }

    proptest! {
        /// Whatever strangers call their images, and however small the terminal is: every line fits,
        /// is one line, and commands nothing.
        #[test]
        fn lines_fit_and_are_inert(
            columns in 0_usize..200,
            lines in 0_usize..30,
            images in prop::collection::vec((".{0,60}", any::<u64>(), any::<u64>()), 0..12),
        ) {
            let blobs = images.iter().map(|(image, done, size)| {
                blob(image, *done.min(size), *size)
            });
            let drawn = drawn_in(columns, lines, blobs.collect());
            prop_assert!(drawn.len() <= lines.saturating_sub(1).max(1));
            for line in &drawn {
                prop_assert!(super::columns(line) < columns.max(1), "{line:?}");
                let inert = inert(line);
                prop_assert_eq!(inert.as_ref(), line.as_str());
            }
        }
    }
}
