//! How much is kept of what came from outside: of lists, and of texts.

use crate::repository::Failure;
use crate::sync::ImageReport;
use crate::text::cut;

/// How many failures, notes and errors are kept of one run, and of one image.
pub(super) const MAX_ENTRIES: usize = 20;

/// How many bytes of a text are kept.
const MAX_TEXT: usize = 2 << 10;

/// An image, with everything that came from outside cut to these limits.
pub(super) fn bounded(image: &ImageReport) -> ImageReport {
    let mut image = image.clone();
    image.notes.truncate(MAX_ENTRIES);
    image.notes.iter_mut().for_each(shorten);
    image.errors.truncate(MAX_ENTRIES);
    image.errors.iter_mut().for_each(shorten_failure);
    image
}

pub(super) fn shorten_failure(failure: &mut Failure) {
    shorten(&mut failure.subject);
    shorten(&mut failure.message);
    failure.hint.iter_mut().for_each(shorten);
}

pub(super) fn shorten(text: &mut String) {
    cut(text, MAX_TEXT);
}
