//! One line that shows what is under way, on a terminal only.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::args::{Global, Output};
use super::lines::Lines;
use super::output;
use crate::text::counted;
use crate::transfer::Carrier;

/// How often the line is refreshed, a second.
const TICKS: u64 = 5;

/// A line on standard error that goes away when dropped.
pub struct Progress {
    bar: ProgressBar,
    refresher: Option<tokio::task::JoinHandle<()>>,
}

impl Progress {
    /// Shows what a carrier moves, if standard error is a terminal.
    pub fn start(global: &Global, carrier: Arc<Carrier>) -> Self {
        let mut before = 0;
        Self::show(global, move || {
            let now = carrier.totals();
            let rate = (now.sent_bytes - before) * TICKS;
            before = now.sent_bytes;
            format!(
                "{} sent, {} mounted, {} there already; {} sent, {}/s;",
                counted(now.blobs_sent, "blob", "blobs"),
                now.blobs_mounted,
                now.blobs_present,
                output::bytes(now.sent_bytes),
                output::bytes(rate),
            )
        })
    }

    /// Shows what `message` says, again and again, if standard error is a terminal.
    pub fn show(global: &Global, mut message: impl FnMut() -> String + Send + 'static) -> Self {
        if global.quiet || global.output == Output::Json || !std::io::stderr().is_terminal() {
            return Self { bar: ProgressBar::hidden(), refresher: None };
        }
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
            bar.set_style(style);
        }
        let shown = bar.clone();
        let refresher = tokio::spawn(async move {
            loop {
                shown.set_message(message());
                shown.tick();
                tokio::time::sleep(Duration::from_millis(1000 / TICKS)).await;
            }
        });
        Self { bar, refresher: Some(refresher) }
    }

    /// Prints lines of the report above the progress line.
    pub fn print(&self, lines: &Lines) {
        self.bar.suspend(|| {
            // A reader that has gone is noticed when the report is finished.
            let _ = output::print_lines(lines);
        });
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(refresher) = self.refresher.take() {
            refresher.abort();
        }
        self.bar.finish_and_clear();
    }
}
