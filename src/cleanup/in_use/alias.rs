//! The name that an image has where it is kept, if it is run by the name of a mirror.

use std::collections::BTreeMap;

use crate::oci::{ImagePrefix, ImageReference};

/// The other name of an image: the longest alias that fits is put in its place. `None`: none fits,
/// or what it makes cannot be the name of an image, so that there is none.
pub fn other_name(
    image: &ImageReference,
    aliases: &BTreeMap<ImagePrefix, ImagePrefix>,
) -> Option<ImageReference> {
    let fitting = aliases.iter().filter_map(|(run, kept)| Some((run, kept, run.strip(image)?)));
    let (_, kept, rest) = fitting.max_by_key(|(run, ..)| run.length())?;
    kept.join(rest, image)
}
