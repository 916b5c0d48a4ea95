//! Images to copy: the odd ones among them, each the same on every run and machine.
//!
//! An `Image` is data; `push` brings it to a registry by HTTP, `load` puts it into a scripted
//! one without any request.
//!
//! ```text
//! let image = Image::single(Family::Oci, "app", &[1_000, 70_000]);
//! image.push(&registry, "acme/app", "v1").await;
//! ```

mod odd;
mod referring;

use bytes::Bytes;
use serde_json::{Value, json};
use tranship::oci::{Digest, media_type};

use super::endpoint::Place;
use super::scripted::Scripted;

pub use odd::schema1;

const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// Which specification an image follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    Oci,
    Docker,
}

impl Family {
    fn manifest(self) -> &'static str {
        if self == Self::Oci { media_type::OCI_MANIFEST } else { media_type::DOCKER_MANIFEST }
    }

    fn index(self) -> &'static str {
        if self == Self::Oci { media_type::OCI_INDEX } else { media_type::DOCKER_LIST }
    }

    fn config(self) -> &'static str {
        if self == Self::Oci { OCI_CONFIG } else { DOCKER_CONFIG }
    }

    fn layer(self) -> &'static str {
        if self == Self::Oci { OCI_LAYER } else { DOCKER_LAYER }
    }
}

/// Bytes that a manifest points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    pub media_type: String,
    pub digest: String,
    pub bytes: Bytes,
}

impl Blob {
    pub fn new(media_type: &str, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { media_type: media_type.to_owned(), digest: Digest::of(&bytes).to_string(), bytes }
    }

    /// Bytes that do not compress, the same for the same name and size.
    pub fn noise(media_type: &str, name: &str, size: usize) -> Self {
        Self::new(media_type, noise(name, size))
    }

    pub fn descriptor(&self) -> Value {
        json!({ "mediaType": self.media_type, "digest": self.digest, "size": self.bytes.len() })
    }
}

/// A manifest or index with everything below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    pub media_type: String,
    pub bytes: Bytes,
    pub digest: String,
    /// Config and layers, each once.
    pub blobs: Vec<Blob>,
    /// Of an index: what it points at.
    pub children: Vec<Image>,
    /// Manifests whose subject this one is; pushed after it.
    pub referrers: Vec<Image>,
    /// cosign's tags that belong to it: suffix and image.
    pub attached: Vec<(String, Image)>,
}

impl Image {
    /// An image of one platform with layers of these sizes in bytes. `name` makes its content:
    /// the same name and sizes give the same digests.
    pub fn single(family: Family, name: &str, layers: &[usize]) -> Self {
        Self::for_platform(family, name, "linux", "amd64", layers)
    }

    /// As `single`, for another platform.
    pub fn for_platform(
        family: Family,
        name: &str,
        os: &str,
        architecture: &str,
        layers: &[usize],
    ) -> Self {
        let config = json!({
            "architecture": architecture, "os": os,
            "config": { "Labels": { "name": name } },
            "rootfs": { "type": "layers", "diff_ids": [] },
        });
        let config = Blob::new(family.config(), config.to_string());
        let layers = layers.iter().enumerate().map(|(at, size)| {
            Blob::noise(family.layer(), &format!("{name}/{architecture}/{at}"), *size)
        });
        Self::of_blobs(family, config, layers.collect())
    }

    /// An image of exactly these blobs.
    pub fn of_blobs(family: Family, config: Blob, layers: Vec<Blob>) -> Self {
        let list: Vec<Value> = layers.iter().map(Blob::descriptor).collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": family.manifest(),
            "config": config.descriptor(), "layers": list,
        });
        let mut blobs = vec![config];
        blobs.extend(layers);
        Self::of_manifest(family.manifest(), &manifest, blobs)
    }

    /// A manifest with this text, pretty-printed as Docker does: whoever re-serialises it
    /// changes its digest.
    pub fn of_manifest(media_type: &str, manifest: &Value, mut blobs: Vec<Blob>) -> Self {
        let bytes = Bytes::from(serde_json::to_vec_pretty(manifest).unwrap());
        let mut known = std::collections::HashSet::new();
        blobs.retain(|blob| known.insert(blob.digest.clone()));
        Self {
            media_type: media_type.to_owned(),
            digest: Digest::of(&bytes).to_string(),
            bytes,
            blobs,
            children: Vec::new(),
            referrers: Vec::new(),
            attached: Vec::new(),
        }
    }

    /// An index of these entries: each a child and what its descriptor says beside the digest.
    pub fn index(family: Family, entries: Vec<(Image, Value)>) -> Self {
        let list: Vec<Value> =
            entries.iter().map(|(child, more)| merged(child.descriptor(), more)).collect();
        let index = json!({ "schemaVersion": 2, "mediaType": family.index(), "manifests": list });
        let children = entries.into_iter().map(|(child, _)| child).collect();
        Self { children, ..Self::of_manifest(family.index(), &index, Vec::new()) }
    }

    /// An index of images for these architectures of Linux, each with one layer of 2 KB.
    pub fn platforms(family: Family, name: &str, architectures: &[&str]) -> Self {
        let entries = architectures.iter().map(|architecture| {
            let child = Self::for_platform(family, name, "linux", architecture, &[2_000]);
            (child, json!({ "platform": { "os": "linux", "architecture": architecture } }))
        });
        Self::index(family, entries.collect())
    }

    pub fn descriptor(&self) -> Value {
        json!({ "mediaType": self.media_type, "digest": self.digest, "size": self.bytes.len() })
    }

    /// The fallback tag for referrers, `sha256-<hex>`; with a suffix it is cosign's.
    pub fn derived_tag(&self, suffix: &str) -> String {
        format!("{}{suffix}", self.digest.replace(':', "-"))
    }

    /// This image and everything below it, children before parents. Not its referrers.
    pub fn manifests(&self) -> Vec<&Image> {
        let mut all: Vec<&Image> = self.children.iter().flat_map(Image::manifests).collect();
        all.push(self);
        all
    }

    /// The distinct blobs of the image and everything below it.
    pub fn all_blobs(&self) -> Vec<&Blob> {
        let mut known = std::collections::HashSet::new();
        let blobs = self.manifests().into_iter().flat_map(|image| &image.blobs);
        blobs.filter(|blob| known.insert(&blob.digest)).collect()
    }

    /// Bytes of all distinct blobs.
    pub fn blob_bytes(&self) -> u64 {
        self.all_blobs().iter().map(|blob| blob.bytes.len() as u64).sum()
    }

    /// Pushes the image with its referrers and attached tags. Where the registry does not list
    /// referrers by itself, the fallback tag is written.
    pub async fn push(&self, place: &impl Place, repository: &str, tag: &str) {
        self.push_content(place, repository).await;
        let endpoint = place.endpoint();
        endpoint.put_manifest(repository, tag, &self.media_type, self.bytes.clone()).await;
        Box::pin(referring::push(self, place, repository)).await;
    }

    /// Pushes blobs, children and the manifest by its digest, without a tag.
    pub async fn push_content(&self, place: &impl Place, repository: &str) -> http::HeaderMap {
        let endpoint = place.endpoint();
        for blob in self.all_blobs() {
            endpoint.put_blob(repository, &blob.digest, blob.bytes.clone()).await;
        }
        let mut headers = http::HeaderMap::new();
        for manifest in self.manifests() {
            let bytes = manifest.bytes.clone();
            headers = endpoint
                .put_manifest(repository, &manifest.digest, &manifest.media_type, bytes)
                .await;
        }
        headers
    }

    /// Puts the image, its referrers and attached tags into a scripted registry without any
    /// request. No fallback tag is written.
    pub fn load(&self, registry: &Scripted, repository: &str, tag: &str) {
        self.load_content(registry, repository, Some(tag));
        for (suffix, image) in &self.attached {
            image.load_content(registry, repository, Some(&self.derived_tag(suffix)));
        }
    }

    fn load_content(&self, registry: &Scripted, repository: &str, tag: Option<&str>) {
        for blob in self.all_blobs() {
            registry.insert_blob(repository, &blob.digest, blob.bytes.clone());
        }
        for image in self.manifests() {
            let tag = tag.filter(|_| std::ptr::eq(image, self));
            registry.insert_manifest(repository, tag, &image.media_type, image.bytes.clone());
            for referrer in &image.referrers {
                referrer.load_content(registry, repository, None);
            }
        }
    }
}

/// `base` with the fields of `more`.
fn merged(mut base: Value, more: &Value) -> Value {
    for (key, value) in more.as_object().into_iter().flatten() {
        base[key] = value.clone();
    }
    base
}

/// Bytes that look random (xorshift64*), seeded by a name.
fn noise(name: &str, size: usize) -> Vec<u8> {
    let seed = Digest::of(name.as_bytes());
    let first: [u8; 8] = seed.as_bytes()[..8].try_into().unwrap();
    // Zero is the one state that xorshift never leaves.
    let mut state = u64::from_le_bytes(first) | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}
