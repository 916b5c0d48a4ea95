//! Images of the report, printed while the daemon is at others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use super::args::{Global, Output};
use super::lines::Lines;
use super::output;
use super::progress::{IMAGES, Items, Progress, Seen};
use super::report::image_lines;
use crate::sync::{Action, ImageReport};

/// Prints images as they are settled. Whoever tells of them does not wait for the reader of standard
/// output: a daemon gives up clients that do not read.
pub struct Printer {
    /// `None`: nothing is to be printed.
    lines: Option<UnboundedSender<Lines>>,
    printing: JoinHandle<()>,
    told: Arc<Told>,
    _progress: Progress,
}

/// What was told of until now.
#[derive(Default)]
struct Told {
    images: AtomicUsize,
    failed: AtomicUsize,
    bytes: AtomicU64,
}

impl Printer {
    pub fn start(global: &Global) -> Self {
        let (sender, mut lines) = unbounded_channel();
        let printing = tokio::task::spawn_blocking(move || {
            while let Some(lines) = lines.blocking_recv() {
                // A reader that has gone is noticed when the report is finished.
                let _ = output::print_lines(&lines);
            }
        });
        let is_wanted = !global.quiet && global.output == Output::Text;
        let told = Arc::<Told>::default();
        let shown = Arc::clone(&told);
        let progress = Progress::show(global, move || shown.seen());
        Self { lines: is_wanted.then_some(sender), printing, told, _progress: progress }
    }

    /// Those that failed are told at the end, with their reasons.
    pub fn image(&self, image: &ImageReport) {
        let has_failed = image.action == Action::Failed;
        self.told.images.fetch_add(1, Ordering::Relaxed);
        self.told.failed.fetch_add(usize::from(has_failed), Ordering::Relaxed);
        self.told.bytes.fetch_add(image.bytes, Ordering::Relaxed);
        if let (Some(lines), false) = (&self.lines, has_failed) {
            // It is there until the end.
            let _ = lines.send(image_lines(image));
        }
    }

    /// Waits until all are printed.
    pub async fn end(self) {
        drop(self.lines);
        // It does not panic.
        let _ = self.printing.await;
    }
}

impl Told {
    /// The daemon tells of each image, and not how many there will be.
    fn seen(&self) -> Seen {
        let done = self.images.load(Ordering::Relaxed);
        let failed = self.failed.load(Ordering::Relaxed);
        let items = Items { done, total: done, failed, noun: IMAGES, ..Items::default() };
        Seen { bytes: self.bytes.load(Ordering::Relaxed), ..Seen::of_items(items) }
    }
}
