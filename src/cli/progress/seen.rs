//! What a command says of its progress at one moment.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::sync::RunProgress;
use crate::transfer::{BlobStatus, Carrier, TransferStatus};

/// What most commands work on.
pub const IMAGES: Noun = Noun { one: "image", many: "images", failed: "FAILED" };

/// A command's work at one moment.
#[derive(Debug)]
pub struct Seen {
    pub items: Items,
    /// Further words, the most important first.
    pub words: Vec<String>,
    /// Bytes that were moved, and how: `sent`, `read`.
    pub bytes: u64,
    pub moved: &'static str,
    /// Bytes that are still to be moved, if that is known.
    pub bytes_left: Option<u64>,
    pub blobs: Vec<BlobStatus>,
}

/// What the work consists of.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Items {
    pub done: usize,
    /// As far as is known.
    pub total: usize,
    /// The total does not grow any more.
    pub is_all: bool,
    /// Of those that are done.
    pub failed: usize,
    pub noun: Noun,
}

/// What items are called: one of them, several, and those that failed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Noun {
    pub one: &'static str,
    pub many: &'static str,
    pub failed: &'static str,
}

impl Seen {
    /// Work that moves nothing here.
    pub fn of_items(items: Items) -> Self {
        let (words, blobs) = (Vec::new(), Vec::new());
        Self { items, words, bytes: 0, moved: "sent", bytes_left: None, blobs }
    }

    /// What a carrier moves for these items. The bytes that are left are known when every item is done
    /// or under way, and its manifests were read.
    pub fn of_carrier(carrier: &Carrier, items: Items) -> Self {
        Self {
            bytes: carrier.totals().sent_bytes,
            bytes_left: bytes_left(&items, &carrier.transfers()),
            blobs: carrier.blobs(),
            ..Self::of_items(items)
        }
    }

    /// What a carrier moves in these runs of sync rules.
    pub fn of_runs(carrier: &Carrier, runs: &[RunProgress]) -> Self {
        let mut items = Items { is_all: true, noun: IMAGES, ..Items::default() };
        let (mut listed, mut repositories) = (0, 0);
        for run in runs {
            // First: what is listed afterwards is counted the next time.
            let lists = run.listed();
            items.is_all &= lists.is_some_and(|(listed, all)| listed == all);
            let (read, all) = lists.unwrap_or_default();
            listed += read;
            repositories += all;
            let now = run.snapshot();
            items.done += now.counts.settled();
            items.failed += now.counts.failed;
            items.total += now.considered;
        }
        let words = match items.is_all || repositories < 2 {
            true => Vec::new(),
            false => vec![format!("{listed} of {repositories} repositories listed")],
        };
        Self { words, ..Self::of_carrier(carrier, items) }
    }

    #[cfg(test)]
    pub fn sample() -> Self {
        Self::of_items(Items { noun: IMAGES, ..Items::default() })
    }
}

fn bytes_left(items: &Items, transfers: &[TransferStatus]) -> Option<u64> {
    let under_way: usize = transfers.iter().map(|transfer| transfer.id.targets.len()).sum();
    let is_known = items.is_all
        && items.done + under_way >= items.total
        && transfers.iter().all(|transfer| transfer.bytes_total > 0);
    is_known.then(|| {
        let left = |one: &TransferStatus| {
            one.bytes_total.saturating_sub(one.bytes_done).saturating_sub(one.bytes_awaited)
        };
        transfers.iter().map(left).fold(0, u64::saturating_add)
    })
}

/// Items that a command counts by itself.
#[derive(Debug, Default)]
pub struct Tally {
    total: AtomicUsize,
    done: AtomicUsize,
    failed: AtomicUsize,
    is_all: AtomicBool,
}

impl Tally {
    /// There are so many, and no more to come.
    pub fn found(&self, items: usize) {
        self.total.store(items, Ordering::Relaxed);
        self.is_all.store(true, Ordering::Release);
    }

    pub fn settled(&self, has_failed: bool) {
        self.failed.fetch_add(usize::from(has_failed), Ordering::Relaxed);
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    pub fn items(&self) -> Items {
        Items {
            is_all: self.is_all.load(Ordering::Acquire),
            done: self.done.load(Ordering::Relaxed),
            total: self.total.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            noun: IMAGES,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::fair::Flow;
    use crate::transfer::TransferId;

    fn transfer(done: u64, total: u64, awaited: u64) -> TransferStatus {
        let (source, targets) = ("s/a".to_owned(), vec!["t/a".to_owned(), "u/a".to_owned()]);
        let (started, last_progress) = (Instant::now(), Instant::now());
        TransferStatus {
            id: TransferId { number: 1, flow: Flow::ALONE, source, targets },
            started,
            bytes_done: done,
            bytes_total: total,
            bytes_awaited: awaited,
            bytes_sent: 0,
            last_progress,
        }
    }

    #[test]
    fn what_is_left_is_known_when_everything_is_under_way() {
        let items = |done, is_all| Items { done, total: 10, is_all, ..Items::default() };
        let transfers = [transfer(40, 100, 0), transfer(0, 100, 90)];
        assert_eq!(bytes_left(&items(6, true), &transfers), Some(60 + 10));
        assert_eq!(bytes_left(&items(5, true), &transfers), None, "one has not begun");
        assert_eq!(bytes_left(&items(6, false), &transfers), None, "more may come");
        let unread = [transfer(40, 100, 0), transfer(0, 0, 0)];
        assert_eq!(bytes_left(&items(6, true), &unread), None, "a manifest is still being read");
        assert_eq!(bytes_left(&items(10, true), &[]), Some(0));
    }

    #[test]
    fn a_tally_knows_what_it_was_told() {
        let tally = Tally::default();
        assert_eq!(tally.items(), Items { noun: IMAGES, ..Items::default() });
        tally.found(3);
        tally.settled(false);
        tally.settled(true);
        let expected = Items { done: 2, total: 3, is_all: true, failed: 1, noun: IMAGES };
        assert_eq!(tally.items(), expected);
    }
}
