//! What of an image is copied.

use crate::config::{ForeignLayers, IndexMode};
use crate::oci::{Digest, Platform};

/// What of an image is copied.
#[derive(Debug, Clone)]
pub struct Options {
    /// Empty: all platforms.
    pub platforms: Vec<Platform>,
    pub index: IndexMode,
    /// Whether signatures, SBOMs and attestations are copied too.
    pub referrers: bool,
    pub foreign_layers: ForeignLayers,
}

impl Options {
    /// A number that identifies these options: it differs for other options and never changes for
    /// these, because the state keeps it.
    pub fn mark(&self) -> u64 {
        let platforms: Vec<String> = self.platforms.iter().map(Platform::to_string).collect();
        let index = match self.index {
            IndexMode::Rewrite => "rewrite",
            IndexMode::Sparse => "sparse",
        };
        let foreign = self.foreign_layers == ForeignLayers::Copy;
        let text = format!("{} {index} {} {foreign}", platforms.join(","), self.referrers);
        let digest = Digest::of(text.as_bytes());
        digest.as_bytes().iter().take(8).fold(0, |mark, byte| mark << 8 | u64::from(*byte))
    }

    /// The same for a referrer of the image: it is copied whole, whatever platforms the image is
    /// filtered for.
    pub fn of_referrer(&self) -> Self {
        Self { platforms: Vec::new(), ..self.clone() }
    }
}
