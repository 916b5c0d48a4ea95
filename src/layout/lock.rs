//! Locks on a layout, against other processes and other tasks of this one.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{files, no_links};

/// How long others may hold a lock, which they need for moments only.
const TIMEOUT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(5);

/// What is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    /// `index.json`: nobody else edits it meanwhile.
    Index,
    /// The blobs: nothing is removed meanwhile. Several can hold them so.
    Blobs,
    /// The blobs: nobody else looks for them or freshens them meanwhile.
    BlobsAlone,
}

/// Waits for a lock, which is held until the result is dropped. Blocks.
#[expect(clippy::disallowed_methods, reason = "it is only called where blocking is allowed")]
pub(super) fn hold(layout: &Path, what: Hold) -> io::Result<File> {
    let own = files::own(layout);
    let path = own.join(if what == Hold::Index { "lock" } else { "blobs.lock" });
    let file = match no_links::open_or_create(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            files::create_folders(&own)?;
            no_links::open_or_create(&path)
        }
        opened => opened,
    };
    let file = file.map_err(files::at(&path))?;
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let attempt = match what {
            Hold::Blobs => file.try_lock_shared(),
            Hold::Index | Hold::BlobsAlone => file.try_lock(),
        };
        match attempt {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(PAUSE),
            Err(error) => return Err(files::at(&path)(error.into())),
        }
    }
}
