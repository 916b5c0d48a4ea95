//! What runs somewhere, as the sources of `[in_use.NAME]` tell: no cleanup deletes it.
//!
//! A source's text is read into sightings, each an image with the places where it runs. What was
//! seen lately counts as well, and an image counts under the names that aliases give it, too.
//! Whatever cannot be understood is an error: what is not known to be unused is not deleted.
//!
//! - `used`: what a text names: an image or a digest. `sightings`: where each was seen.
//! - `kubernetes`, `pods`, `list`: what a source's text says; pure.
//! - `usage`: what all sources of a rule come to, asked for one repository; by the name that an
//!   image has where it is kept, too, if it is run by the name of a mirror.
//! - [`read()`] does the I/O. `error`: why a source cannot be had.

mod error;
mod kubernetes;
mod list;
mod pods;
mod read;
mod sightings;
#[cfg(test)]
mod tests;
mod usage;
mod used;

pub use error::{InUseError, Problem, Unreadable};
pub use read::{SIZE_LIMIT, read};
pub use usage::Usage;
