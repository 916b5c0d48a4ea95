//! Blobs of the sample images.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::oci::Digest;

/// Bytes that a manifest points at.
#[derive(Debug, Clone)]
pub(super) struct Blob {
    pub media_type: String,
    pub digest: Digest,
    pub bytes: Bytes,
}

impl Blob {
    pub fn new(media_type: &str, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { media_type: media_type.to_owned(), digest: Digest::of(&bytes), bytes }
    }

    pub fn descriptor(&self) -> Value {
        json!({ "mediaType": self.media_type, "digest": self.digest, "size": self.bytes.len() })
    }
}
