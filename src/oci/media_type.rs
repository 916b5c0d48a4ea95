//! The media types that decide how a document is walked. All others pass through untouched.

pub use oci_client::manifest::{
    IMAGE_CONFIG_MEDIA_TYPE as OCI_CONFIG, IMAGE_DOCKER_CONFIG_MEDIA_TYPE as DOCKER_CONFIG,
    IMAGE_MANIFEST_LIST_MEDIA_TYPE as DOCKER_LIST, IMAGE_MANIFEST_MEDIA_TYPE as DOCKER_MANIFEST,
    OCI_IMAGE_INDEX_MEDIA_TYPE as OCI_INDEX, OCI_IMAGE_MEDIA_TYPE as OCI_MANIFEST,
};

/// Docker schema 1, signed and unsigned: refused, because its digest covers only part of its bytes.
pub const DOCKER_SCHEMA1: [&str; 2] = [
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
    "application/vnd.docker.distribution.manifest.v1+json",
];

/// A manifest of blobs without a configuration, of the release candidates of image-spec 1.1. It was
/// dropped there, and some registries hold such manifests.
pub const ARTIFACT_MANIFEST: &str = "application/vnd.oci.artifact.manifest.v1+json";

/// What every manifest request accepts. A registry may convert or hide a manifest whose type is
/// not listed (distribution answers 404, or picks linux/amd64 out of a list).
pub const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
application/vnd.oci.image.manifest.v1+json, \
application/vnd.docker.distribution.manifest.list.v2+json, \
application/vnd.docker.distribution.manifest.v2+json, \
application/vnd.oci.artifact.manifest.v1+json";

/// The config media type of an artifact without a config (image-spec 1.1, "empty descriptor").
pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// Whether this is the configuration of a container image, and not of some other artifact.
pub fn is_image_config(media_type: &str) -> bool {
    [OCI_CONFIG, DOCKER_CONFIG].contains(&media_type)
}

/// Whether a layer of this type must not be pushed to other registries (image-spec layer.md,
/// "Non-Distributable Layers"; Docker's name for them is "foreign").
pub fn is_nondistributable(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.oci.image.layer.nondistributable.v1.")
        || media_type.starts_with("application/vnd.docker.image.rootfs.foreign.")
}

/// Whether a descriptor of this type points at a manifest or an index, which is walked.
pub fn is_manifest(media_type: &str) -> bool {
    is_index(media_type) || [OCI_MANIFEST, DOCKER_MANIFEST, ARTIFACT_MANIFEST].contains(&media_type)
}

/// Whether a descriptor of this type points at an index (or Docker's manifest list).
pub fn is_index(media_type: &str) -> bool {
    [OCI_INDEX, DOCKER_LIST].contains(&media_type)
}

/// The type without parameters and in lower case: `application/json; charset=utf-8` is
/// `application/json` (RFC 9110 §8.3.1).
pub fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}
