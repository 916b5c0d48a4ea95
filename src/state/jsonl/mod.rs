//! Append-only logs of records, one JSON line each, that survive crashes and full disks.
//!
//! ```text
//! DIR/lock                  held as long as a process writes the log
//! DIR/000000000001.jsonl    segments in the order in which they were written, each mode 0600
//! ```
//!
//! A record is in the log once its line feed is. So if a killed process or a full disk cuts the log
//! off, what can be read is a prefix of what was written; the next writer removes the piece of a line
//! that may be left at the end. A line that is not a record is skipped and counted.
//!
//! - `writer`: appends, rotates, makes durable. `reader`: reads the newest record first, in bounded
//!   memory, even while another process writes. `segments`: the files and their names.

mod reader;
mod segments;
#[cfg(test)]
mod tests;
mod writer;

pub use reader::NewestFirst;
pub use segments::is_being_written;
pub use writer::{Limits, Log};

/// The longest line, in bytes: longer ones are not written, and not read.
pub const MAX_LINE: usize = 1 << 20;
