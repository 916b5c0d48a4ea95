//! A list of images, one a line. Empty lines, and those that begin with `#`, say nothing.

use super::error::Unreadable;
use super::sightings::Sightings;
use super::used::Used;
use crate::text::shorten;

/// Notes all images of a list. `place` is the list's own name.
///
/// # Errors
/// A line names no image. It was written for a reason, so it is not passed over.
pub fn read(bytes: &[u8], place: &str, sightings: &mut Sightings) -> Result<(), Unreadable> {
    let text = std::str::from_utf8(bytes).map_err(|_| Unreadable::NotText)?;
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let used = Used::parse(line).map_err(|error| Unreadable::Line {
            line: at + 1,
            text: shorten(line, 100),
            problem: error.to_string(),
        })?;
        sightings.note(used, place);
    }
    Ok(())
}
