//! Pure data and rules of the OCI image and distribution specifications. No I/O here.

pub mod address;
pub mod derived;
pub mod digest;
pub mod manifest;
pub mod media_type;
pub mod pattern;
pub mod platform;
pub mod prefix;
pub mod reference;
pub mod selection;
pub mod tag_pattern;
pub mod template;
pub mod version;

pub use address::{Address, ImageAddress, Store};
pub use digest::{Digest, Hasher};
pub use manifest::{Descriptor, Document, Manifest};
pub use platform::Platform;
pub use prefix::ImagePrefix;
pub use reference::{ImageReference, RegistryHost, RepositoryName, Tag};
