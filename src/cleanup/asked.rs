//! One image about which a rule is asked.

use std::fmt;

use super::repositories::canonical;
use crate::oci::{Address, ImageAddress};
use crate::repository::Reference;

/// An image whose fate is to be explained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// A layout's path is the canonical one, as rules have it.
    pub address: Address,
    pub reference: Reference,
}

impl Asked {
    /// # Errors
    /// Why that cannot be explained: fits after the name of the option that names the image.
    pub fn of(image: ImageAddress) -> Result<Self, &'static str> {
        let address = match image.repository {
            place @ (Address::Registry(..) | Address::Layout(_)) => canonical(place),
            _ => return Err("does not support archives"),
        };
        let reference = match (image.tag, image.digest) {
            (Some(tag), None) => Reference::Tag(tag),
            (None, Some(digest)) => Reference::Digest(digest),
            (Some(_), Some(_)) => return Err("takes a tag or a digest, not both"),
            (None, None) => return Err("needs a tag or a digest"),
        };
        Ok(Self { address, reference })
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.address, self.reference.suffix())
    }
}
