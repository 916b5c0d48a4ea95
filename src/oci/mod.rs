//! Pure data and rules of the OCI image and distribution specifications. No I/O here.

pub mod address;
pub mod derived;
pub mod digest;
pub mod footprint;
mod lenient;
pub mod listing;
pub mod manifest;
pub mod media_type;
mod overlap;
pub mod pattern;
pub mod platform;
pub mod prefix;
pub mod range;
pub mod reference;
pub mod selection;
pub mod tag_pattern;
pub mod template;
pub mod version;

/// Shows types that hold a valid text in this field.
macro_rules! shown_as_text {
    ($($name:ident . $field:tt),+) => {$(
        impl $name {
            pub fn as_str(&self) -> &str {
                &self.$field
            }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.$field)
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.$field
            }
        }
    )+};
}
pub(crate) use shown_as_text;

/// Deserialises types from their text.
macro_rules! read_from_text {
    ($($name:ty),+) => {$(impl<'de> serde::Deserialize<'de> for $name {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
        }
    })+};
}
pub(crate) use read_from_text;

pub use address::{Address, ImageAddress, Store};
pub use digest::{Digest, Hasher};
pub use manifest::{Descriptor, Document, Manifest};
pub use platform::Platform;
pub use prefix::ImagePrefix;
pub use reference::{ImageReference, RegistryHost, RepositoryName, Tag};

/// Each of these texts is refused with one line that contains the words beside it.
#[cfg(test)]
pub(crate) fn assert_refused<T>(cases: &[(&str, &str)])
where
    T: std::str::FromStr<Err: std::fmt::Display> + std::fmt::Debug,
{
    for (text, expected) in cases {
        let message = text.parse::<T>().unwrap_err().to_string();
        assert!(message.contains(expected), "{text}: {message}");
        assert_eq!(message.lines().count(), 1, "{message}");
    }
}
