//! Reading a log from its end, a piece of a file at a time.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde::de::DeserializeOwned;

use super::MAX_LINE;
use super::segments::{self, Segment};

/// How many bytes are read at once.
const PIECE: u64 = 64 << 10;

/// The records of a log, the newest first, as of the time when it was opened. Segments that are
/// removed meanwhile are left out.
#[derive(Debug)]
pub struct NewestFirst {
    /// Those not begun yet, the oldest first.
    segments: Vec<Segment>,
    current: Option<Backward>,
    garbage: u64,
}

impl NewestFirst {
    /// Opens the log in a directory; one that is not there is an empty log.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn open(dir: &Path) -> io::Result<Self> {
        Ok(Self { segments: segments::list(dir)?, current: None, garbage: 0 })
    }

    /// The next record, or `None` at the end. Lines that are not `wanted` are skipped without being
    /// parsed; lines that are no records are counted.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn next<R: DeserializeOwned>(
        &mut self,
        wanted: impl Fn(&[u8]) -> bool,
    ) -> io::Result<Option<R>> {
        loop {
            let Some(current) = &mut self.current else {
                let Some(segment) = self.segments.pop() else { return Ok(None) };
                self.current = match File::open(&segment.path) {
                    Err(error) if error.kind() == ErrorKind::NotFound => None,
                    file => Some(Backward::new(file?)?),
                };
                continue;
            };
            match current.line()? {
                None => self.current = None,
                Some(Line::TooLong) => self.garbage += 1,
                Some(Line::Whole(line)) if wanted(&line) => match serde_json::from_slice(&line) {
                    Ok(record) => return Ok(Some(record)),
                    Err(_) => self.garbage += 1,
                },
                Some(Line::Whole(_)) => {}
            }
        }
    }

    /// How many lines were no records until now.
    pub fn garbage(&self) -> u64 {
        self.garbage
    }
}

/// The lines of a file, the last one first.
#[derive(Debug)]
struct Backward {
    file: File,
    /// Where `rest` begins in the file.
    start: u64,
    /// Whole lines that were read and not returned yet, or the end of a line.
    rest: Vec<u8>,
    /// The line that `rest` is the end of is too long: its bytes are dropped.
    too_long: bool,
}

enum Line {
    Whole(Vec<u8>),
    TooLong,
}

impl Backward {
    fn new(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        // What has no line feed after it was torn, or is being written.
        let start = last_line_feed(&file, length)?.map_or(0, |at| at + 1);
        Ok(Self { file, start, rest: Vec::new(), too_long: false })
    }

    fn line(&mut self) -> io::Result<Option<Line>> {
        // `rest` is empty or ends where the line does, with its line feed or, in a line that is
        // too long, without.
        let mut searched = 0;
        loop {
            let end = self.rest.len() - searched;
            let before = self.rest.get(..end).unwrap_or_default();
            let own = usize::from(searched == 0 && !self.too_long && !before.is_empty());
            let found = before[..end - own].iter().rposition(|byte| *byte == b'\n');
            if let Some(at) = found {
                let line = self.rest.split_off(at + 1);
                return Ok(Some(self.finish(line)));
            }
            if self.start == 0 {
                let line = std::mem::take(&mut self.rest);
                let nothing = line.is_empty() && !self.too_long;
                return Ok((!nothing).then(|| self.finish(line)));
            }
            searched = self.rest.len();
            if searched > MAX_LINE {
                self.too_long = true;
                self.rest.clear();
                searched = 0;
            }
            self.read_piece()?;
        }
    }

    fn finish(&mut self, mut line: Vec<u8>) -> Line {
        if std::mem::take(&mut self.too_long) || line.len() > MAX_LINE {
            return Line::TooLong;
        }
        line.pop();
        Line::Whole(line)
    }

    fn read_piece(&mut self) -> io::Result<()> {
        let length = self.start.min(PIECE);
        let mut piece = read(&self.file, self.start - length, length)?;
        self.start -= length;
        piece.append(&mut self.rest);
        self.rest = piece;
        Ok(())
    }
}

/// So many bytes of a file. `length` is at most `PIECE`.
fn read(file: &File, start: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut piece = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut piece, start)?;
    Ok(piece)
}

/// Where the last line feed within the first `length` bytes of a file is. The file may lose its
/// last, torn line meanwhile.
pub(super) fn last_line_feed(file: &File, length: u64) -> io::Result<Option<u64>> {
    let mut start = length;
    while start > 0 {
        let size = start.min(PIECE);
        match read(file, start - size, size) {
            Ok(piece) => {
                start -= size;
                if let Some(at) = piece.iter().rposition(|byte| *byte == b'\n') {
                    return Ok(Some(start + at as u64));
                }
            }
            // What is cut off meanwhile had no line feed.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                start = start.saturating_sub(1).min(file.metadata()?.len());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}
