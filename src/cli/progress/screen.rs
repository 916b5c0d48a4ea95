//! The last lines of the terminal: they are drawn again and again, and give way to everything else
//! that is printed.
//!
//! The cursor is parked where the first of these lines begins. So nothing has to be counted to erase
//! them, however wide the terminal was when they were drawn, and what others print without asking
//! (the `^C` of the terminal itself) stands in a line that is drawn again. The cursor is never hidden:
//! whenever the process ends, the terminal is as it was.

use std::io::{IsTerminal, Write};

use parking_lot::Mutex;

use super::layout::Room;

/// From the cursor to the end of the screen.
const ERASE: &str = "\r\x1b[J";
/// The rest of a line.
const ERASE_REST: &str = "\x1b[K";
/// Where a terminal does not say how large it is.
const USUAL: Room = Room { columns: 80, lines: 24 };

/// The only one: a process has one terminal.
static SCREEN: Mutex<Screen> = Mutex::new(Screen { is_open: false, drawn: String::new() });

struct Screen {
    is_open: bool,
    /// What draws the lines that are shown; empty: there are none.
    drawn: String,
}

/// Whether standard error is a terminal on which lines can be drawn anew.
pub fn is_capable() -> bool {
    std::io::stderr().is_terminal() && can_move_cursor()
}

/// Whether the terminal understands more than text.
pub fn can_move_cursor() -> bool {
    std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb")
}

/// Whether the user wants colours, and the terminal understands them: <https://no-color.org>.
pub fn has_colours() -> bool {
    is_capable() && std::env::var_os("NO_COLOR").is_none_or(|unwanted| unwanted.is_empty())
}

/// How large the terminal is now.
pub fn room() -> Room {
    let Ok(size) = rustix::termios::tcgetwinsize(std::io::stderr()) else { return USUAL };
    match (size.ws_col, size.ws_row) {
        (0, _) | (_, 0) => USUAL,
        (columns, lines) => Room { columns: columns.into(), lines: lines.into() },
    }
}

/// From now on, lines may be drawn.
pub fn open() {
    SCREEN.lock().is_open = true;
}

/// Erases what is drawn; nothing is drawn any more.
pub fn close() {
    let mut screen = SCREEN.lock();
    screen.is_open = false;
    if !std::mem::take(&mut screen.drawn).is_empty() {
        print(ERASE);
    }
}

/// Draws these lines instead of those that are there. None of them may be as wide as the terminal.
pub fn draw(lines: &[String]) {
    let mut screen = SCREEN.lock();
    if screen.is_open {
        screen.drawn = drawn(lines);
        print(&screen.drawn);
    }
}

/// Prints whole lines where they stay: above those that are drawn.
pub fn above<T>(print_lines: impl FnOnce() -> T) -> T {
    let screen = SCREEN.lock();
    if !screen.is_open {
        // Nobody else waits for a reader that is slow.
        drop(screen);
        return print_lines();
    }
    print(ERASE);
    let printed = print_lines();
    print(&screen.drawn);
    printed
}

/// What writes the lines over those that are there, without a moment in which there are none.
fn drawn(lines: &[String]) -> String {
    let lines: Vec<String> = lines.iter().map(|line| format!("{line}{ERASE_REST}")).collect();
    let up = match lines.len() {
        0 | 1 => String::new(),
        more => format!("\x1b[{}A", more - 1),
    };
    format!("\r{}\x1b[J{up}\r", lines.join("\r\n"))
}

fn print(text: &str) {
    let mut stderr = std::io::stderr().lock();
    // There is no other place to say that it failed.
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

/// Standard error for whole lines, such as those of the log.
#[derive(Debug, Clone, Copy)]
pub struct Above;

impl Write for Above {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        above(|| std::io::stderr().lock().write_all(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().lock().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_ends_where_the_first_line_begins() {
        let lines = |count: usize| vec!["x".to_owned(); count];
        assert_eq!(drawn(&lines(1)), "\rx\x1b[K\x1b[J\r");
        assert_eq!(drawn(&lines(3)), "\rx\x1b[K\r\nx\x1b[K\r\nx\x1b[K\x1b[J\x1b[2A\r");
    }
}
