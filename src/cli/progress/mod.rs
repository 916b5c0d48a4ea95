//! What is under way: bars on a terminal, a line now and then elsewhere.
//!
//! - `seen`: what a command says of its progress. `meter`: rates and the time left (pure).
//!   `layout`: lines that fit (pure). `screen`: lines that are drawn again and again.

mod layout;
mod meter;
pub mod screen;
mod seen;

use std::time::Duration;

use tokio::time::Instant;

use super::args::{Global, Output};
use super::lines::tell_line;
pub use layout::{Room, bar};
use meter::Meter;
pub use seen::{IMAGES, Items, Noun, Seen, Tally};

/// How often the terminal is drawn anew.
const TICK: Duration = Duration::from_millis(200);
/// How often numbers are looked at where nothing is drawn.
const LOOK: Duration = Duration::from_secs(1);
/// Where there is no terminal, only what takes long says how far it has come …
const FIRST_LINE: Duration = Duration::from_secs(30);
/// … and then so often.
const NEXT_LINE: Duration = Duration::from_secs(60);

/// Shows progress on standard error, and leaves nothing on a terminal when dropped.
pub struct Progress {
    task: Option<tokio::task::JoinHandle<()>>,
}

impl Progress {
    /// Shows what `look` sees, again and again, for people who want to know.
    pub fn show(global: &Global, look: impl FnMut() -> Seen + Send + 'static) -> Self {
        if global.quiet || global.output == Output::Json {
            return Self { task: None };
        }
        let task = if screen::is_capable() {
            screen::open();
            tokio::spawn(draw(look))
        } else {
            tokio::spawn(tell(look, tell_line))
        };
        Self { task: Some(task) }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            screen::close();
        }
    }
}

async fn draw(mut look: impl FnMut() -> Seen) {
    let (begin, mut meter) = (Instant::now(), Meter::new());
    loop {
        let (now, seen) = (Instant::now(), look());
        let pace = meter.look(now, &seen);
        let elapsed = now.duration_since(begin);
        screen::draw(&layout::lines(&seen, &pace, elapsed, now, screen::room()));
        tokio::time::sleep(TICK).await;
    }
}

async fn tell(mut look: impl FnMut() -> Seen, tell: impl Fn(String)) {
    let (begin, mut meter, mut next) = (Instant::now(), Meter::new(), FIRST_LINE);
    loop {
        let (now, seen) = (Instant::now(), look());
        let pace = meter.look(now, &seen);
        let elapsed = now.duration_since(begin);
        if elapsed >= next {
            tell(format!("progress: {}", layout::plain(&seen, &pace, elapsed)));
            next += NEXT_LINE;
        }
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn without_a_terminal_only_what_takes_long_tells_of_itself() {
        let told = Mutex::new(Vec::new());
        let begin = Instant::now();
        let look = || {
            let sent = begin.elapsed().as_secs() * 1024;
            let items = Items { done: 3, total: 7, is_all: true, failed: 0, noun: IMAGES };
            Seen { items, bytes: sent, ..Seen::sample() }
        };
        let telling = tell(look, |line| told.lock().push((begin.elapsed().as_secs(), line)));
        let _ = tokio::time::timeout(Duration::from_secs(100), telling).await;
        let line = |sent, elapsed| {
            format!("progress: 3 of 7 images; {sent} KiB sent, 1.0 KiB/s; {elapsed} elapsed")
        };
        assert_eq!(*told.lock(), [(30, line("30.0", "30s")), (90, line("90.0", "1m"))]);
    }
}
