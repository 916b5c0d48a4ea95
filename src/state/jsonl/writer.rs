//! Writing a log: buffered, then handed to the system, then durable.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::MAX_LINE;
use super::reader::last_line_feed;
use super::segments::{self, Segment};

/// How many bytes are buffered while the disk takes none; after that, records are refused.
const MAX_PENDING: usize = 2 * MAX_LINE;

/// The largest segment, in bytes: if the log is too large, a whole segment is removed.
const MAX_SEGMENT: u64 = 8 << 20;
/// A log with a limit has at least so many segments, so that a removal takes a small part of it.
const SEGMENTS: u64 = 16;

/// How large a log and its files may become, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    segment: u64,
    total: Option<u64>,
}

impl Limits {
    /// The oldest segments are removed so that the log stays within `total` bytes.
    pub fn rotating(total: u64) -> Self {
        Self { segment: (total / SEGMENTS).clamp(1, MAX_SEGMENT), total: Some(total) }
    }

    /// Nothing is ever removed.
    pub fn keep_all() -> Self {
        Self { segment: MAX_SEGMENT, total: None }
    }
}

/// A log that only this process writes.
#[derive(Debug)]
pub struct Log {
    dir: PathBuf,
    limits: Limits,
    /// The newest segment, once there is one.
    pub(super) current: Option<Current>,
    /// Whole lines that are in no file yet.
    pending: Vec<u8>,
    _lock: File,
}

#[derive(Debug)]
pub(super) struct Current {
    segment: Segment,
    pub(super) file: File,
    /// The length of the whole lines in the file.
    written: u64,
    /// A write failed, so that a piece of a line may follow.
    torn: bool,
    /// Something was written that is not durable yet.
    dirty: bool,
}

impl Log {
    /// Opens the log in a directory, which is created with mode 0700 if it is not there, and
    /// removes what a killed process left of its last line. Blocks, as all of this does.
    ///
    /// # Errors
    /// Another process writes the log, or the directory cannot be written to.
    pub fn open(dir: &Path, limits: Limits) -> io::Result<Self> {
        let lock = segments::lock(dir)?;
        let current = match segments::list(dir)?.pop() {
            None => None,
            Some(segment) => {
                let file = segments::open(&segment)?;
                let length = file.metadata()?.len();
                let written = last_line_feed(&file, length)?.map_or(0, |at| at + 1);
                if written < length {
                    file.set_len(written)?;
                    file.sync_all()?;
                }
                Some(Current { segment, file, written, torn: false, dirty: false })
            }
        };
        let dir = dir.to_owned();
        Ok(Self { dir, limits, current, pending: Vec::new(), _lock: lock })
    }

    /// Many small segments instead of few large ones.
    #[cfg(test)]
    pub(super) fn limit_segments(&mut self, bytes: u64) {
        self.limits.segment = bytes;
    }

    /// Adds a record to the buffer. It is durable after the next `sync` that returns no error.
    ///
    /// # Errors
    /// The record is longer than `MAX_LINE`, or the buffer is full because the disk takes nothing. The
    /// record is not added then.
    pub fn append(&mut self, record: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        if line.len() > MAX_LINE {
            let message = format!("a record of {} bytes is too long", line.len());
            return Err(io::Error::new(ErrorKind::InvalidInput, message));
        }
        if self.pending.len() + line.len() > MAX_PENDING {
            self.flush()?;
        }
        self.pending.extend_from_slice(&line);
        Ok(())
    }

    /// Hands the buffer to the system: then it survives this process, but not a loss of power.
    ///
    /// # Errors
    /// The disk does not take it, for instance because it is full. It stays buffered, and the next
    /// call tries again.
    pub fn flush(&mut self) -> io::Result<()> {
        while !self.pending.is_empty() {
            let room = self.current.as_ref().map(|current| {
                self.limits.segment.saturating_sub(current.written).try_into().unwrap_or(usize::MAX)
            });
            match (room.map(|room| whole_lines(&self.pending, room)), &mut self.current) {
                (Some(fitting @ 1..), Some(current)) => {
                    current.write(&self.pending[..fitting])?;
                    self.pending.drain(..fitting);
                }
                // A line that is larger than a segment has one to itself.
                (Some(0), Some(current)) if current.written == 0 => {
                    let first = self.pending.iter().position(|byte| *byte == b'\n');
                    let length = first.map_or(self.pending.len(), |at| at + 1);
                    current.write(&self.pending[..length])?;
                    self.pending.drain(..length);
                }
                _ => self.rotate()?,
            }
        }
        Ok(())
    }

    /// Makes everything that was appended until now durable, against the loss of power too.
    ///
    /// # Errors
    /// As `flush`.
    pub fn sync(&mut self) -> io::Result<()> {
        self.flush()?;
        self.current.as_mut().map_or(Ok(()), Current::sync)
    }

    /// Begins a new segment, and makes room for it first: the disk may be full.
    fn rotate(&mut self) -> io::Result<()> {
        let mut number = 1;
        if let Some(current) = &mut self.current {
            current.sync()?;
            number = current.segment.number + 1;
        }
        if let Some(total) = self.limits.total {
            let mut size = self.limits.segment;
            for segment in segments::list(&self.dir)?.iter().rev() {
                size = size.saturating_add(fs::metadata(&segment.path)?.len());
                if size > total {
                    fs::remove_file(&segment.path)?;
                }
            }
        }
        let segment = Segment::new(&self.dir, number);
        let file = segments::create(&self.dir, &segment)?;
        self.current = Some(Current { segment, file, written: 0, torn: false, dirty: false });
        Ok(())
    }
}

impl Current {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.torn {
            self.file.set_len(self.written)?;
            self.torn = false;
        }
        self.dirty = true;
        self.torn = true;
        self.file.write_all(lines)?;
        self.torn = false;
        self.written += lines.len() as u64;
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.dirty {
            self.file.sync_data()?;
            self.dirty = false;
        }
        Ok(())
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // Best effort: callers that must know call `sync`.
        let _ = self.flush();
    }
}

/// The length of the whole lines at the beginning of `lines` that fit into `room` bytes.
fn whole_lines(lines: &[u8], room: usize) -> usize {
    let within = &lines[..lines.len().min(room)];
    within.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
}
