//! A terminal without a window: the binary runs in it, and the test reads its screen.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::process::Child;

use super::eventually;
use super::process::{PROGRAM, Tranship};

/// Longer than anything should take that is waited for.
const LIMIT: Duration = Duration::from_secs(30);
/// Lines above the screen that are remembered.
const SCROLLBACK: usize = 1_000;

/// A terminal, and the process in it; dropping it kills the process.
pub struct Terminal {
    child: Child,
    keyboard: File,
    shown: Arc<Mutex<Shown>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

struct Shown {
    parser: vt100::Parser,
    /// Everything that was ever written.
    written: Vec<u8>,
}

impl Terminal {
    /// Runs tranship in a terminal of so many lines and columns, of a kind that `TERM` names.
    pub fn start(
        tranship: &Tranship,
        term: &str,
        (lines, columns): (u16, u16),
        arguments: &[&str],
    ) -> Self {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        let name = ptsname(&keyboard, Vec::new()).unwrap().into_string().unwrap();
        let side = || {
            let file = File::options().read(true).write(true).open(&name).unwrap();
            std::process::Stdio::from(OwnedFd::from(file))
        };
        set_size(&keyboard, lines, columns);
        // Its terminal, so that Ctrl-C reaches it. It takes the place of `setsid`.
        let mut command = tranship.command_of("setsid");
        command.args(["--ctty", PROGRAM]).args(arguments).env("TERM", term);
        command.stdin(side()).stdout(side()).stderr(side()).kill_on_drop(true);
        let child = command.spawn().unwrap();
        // The sides that `command` holds would keep the terminal open.
        drop(command);
        let size = (lines.try_into().unwrap(), columns.try_into().unwrap());
        let parser = vt100::Parser::new(size.0, size.1, SCROLLBACK);
        let shown = Arc::new(Mutex::new(Shown { parser, written: Vec::new() }));
        let (mut screen, to) = (File::from(keyboard.try_clone().unwrap()), Arc::clone(&shown));
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // An error says that nobody has the terminal open any more.
            while let Ok(count @ 1..) = screen.read(&mut bytes) {
                let mut shown = to.lock().unwrap();
                shown.parser.process(&bytes[..count]);
                shown.written.extend_from_slice(&bytes[..count]);
            }
        });
        Self { child, keyboard: File::from(keyboard), shown, reader: Some(reader) }
    }

    /// The lines that are on the screen, without empty ones at its end.
    pub fn lines(&self) -> Vec<String> {
        let shown = self.shown.lock().unwrap();
        let contents = shown.parser.screen().contents();
        contents.lines().map(|line| line.trim_end().to_owned()).collect()
    }

    /// Waits until the screen is as it should be, and gives its lines.
    pub async fn until(&self, what: &str, is_so: impl Fn(&[String]) -> bool) -> Vec<String> {
        let seen = async || {
            let lines = self.lines();
            is_so(&lines).then_some(lines)
        };
        let waited = eventually(what, LIMIT, seen);
        let waited = std::panic::AssertUnwindSafe(waited);
        match futures_util::FutureExt::catch_unwind(waited).await {
            Ok(lines) => lines,
            Err(_) => panic!("waited in vain for {what}: {:#?}", self.lines()),
        }
    }

    /// Waits for a line with all of these words.
    pub async fn line(&self, words: &[&str]) -> String {
        let has_words = |line: &&String| words.iter().all(|word| line.contains(word));
        let lines = self
            .until(&format!("{words:?}"), |lines| lines.iter().any(|line| has_words(&line)))
            .await;
        lines.iter().find(has_words).unwrap().clone()
    }

    pub fn resize(&self, lines: u16, columns: u16) {
        set_size(&self.keyboard, lines, columns);
        let (lines, columns) = (lines.try_into().unwrap(), columns.try_into().unwrap());
        self.shown.lock().unwrap().parser.screen_mut().set_size(lines, columns);
    }

    /// Types.
    pub fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for the end. Gives the exit code; the screen stays readable.
    pub async fn finish(&mut self) -> Option<i32> {
        let ended = tokio::time::timeout(LIMIT, self.child.wait()).await;
        let Ok(status) = ended else {
            panic!("tranship did not end within {LIMIT:?}: {:#?}", self.lines());
        };
        let reader = self.reader.take().unwrap();
        tokio::task::spawn_blocking(move || reader.join()).await.unwrap().unwrap();
        status.unwrap().code()
    }

    /// Everything that was ever written.
    pub fn written(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap().written).into_owned()
    }

    /// Whether a person sees the cursor, and in which line and column.
    pub fn cursor(&self) -> (bool, (u16, u16)) {
        let shown = self.shown.lock().unwrap();
        let screen = shown.parser.screen();
        (!screen.hide_cursor(), screen.cursor_position())
    }
}

fn set_size(terminal: &impl std::os::fd::AsFd, lines: u16, columns: u16) {
    let size = Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(terminal, size).unwrap();
}
