//! One image out of an index, where skopeo would copy only that.

use clap::ValueEnum;

use crate::copy::OfIndex;
use crate::oci::Platform;

/// skopeo's `--multi-arch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MultiArch {
    /// Only the image of this machine's platform, or of --override-os and --override-arch
    System,
    /// The index with all its images
    All,
    /// The index without its images; most registries refuse that
    IndexOnly,
}

/// What of an index is copied. `asked`: the platform of --override-os and its like. `all`: skopeo's
/// `--all` was given.
pub fn of_index(asked: Option<Platform>, all: bool, multi_arch: Option<MultiArch>) -> OfIndex {
    match (multi_arch, asked) {
        (Some(MultiArch::IndexOnly), _) => OfIndex::Only,
        (Some(MultiArch::All), _) => OfIndex::Whole,
        (Some(MultiArch::System), asked) => {
            OfIndex::One(asked.unwrap_or_else(Platform::of_this_machine))
        }
        // skopeo copies the one image that it is told to choose, unless it is to copy all.
        (None, Some(asked)) if !all => OfIndex::One(asked),
        (None, _) => OfIndex::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_image_is_copied_only_if_that_was_asked_for() {
        let arm: Platform = "linux/arm64".parse().unwrap();
        let one = || OfIndex::One(arm.clone());
        assert_eq!(of_index(None, false, None), OfIndex::Whole);
        assert_eq!(of_index(None, true, None), OfIndex::Whole);
        assert_eq!(of_index(Some(arm.clone()), false, None), one());
        assert_eq!(of_index(Some(arm.clone()), true, None), OfIndex::Whole);
        assert_eq!(of_index(Some(arm.clone()), false, Some(MultiArch::System)), one());
        assert_eq!(of_index(Some(arm), false, Some(MultiArch::All)), OfIndex::Whole);
        assert_eq!(of_index(None, false, Some(MultiArch::IndexOnly)), OfIndex::Only);
        let here = OfIndex::One(Platform::of_this_machine());
        assert_eq!(of_index(None, false, Some(MultiArch::System)), here);
    }
}
