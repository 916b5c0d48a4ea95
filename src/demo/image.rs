//! Images as data: manifests, indexes, attestations, and what refers to them.

use std::io;

use serde_json::{Value, json};

use super::blob::Blob;
use super::layer::Layer;
use crate::oci::{Digest, Manifest, media_type};

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const IN_TOTO: &str = "application/vnd.in-toto+json";
const SIGNATURE: &str = "application/vnd.example.signature.v1+json";
const COSIGN: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// A manifest or an index, with everything below it.
#[derive(Debug, Clone)]
pub(super) struct Image {
    pub manifest: Manifest,
    pub blobs: Vec<Blob>,
    pub children: Vec<Image>,
}

impl Image {
    fn new(document: &Value, blobs: Vec<Blob>, children: Vec<Self>) -> io::Result<Self> {
        let manifest = Manifest::parse(document.to_string().into(), None, None);
        Ok(Self { manifest: manifest.map_err(io::Error::other)?, blobs, children })
    }

    /// An image for Linux that starts `/bin/app`.
    pub fn linux(architecture: &str, version: &str, layers: &[Layer]) -> io::Result<Self> {
        let diff_ids: Vec<&Digest> = layers.iter().map(|layer| &layer.diff_id).collect();
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "created": "2024-01-01T00:00:00Z",
            "config": {
                "Entrypoint": ["/bin/app"],
                "Labels": { "org.opencontainers.image.version": version },
            },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = Blob::new(CONFIG, config.to_string());
        let layers: Vec<Blob> = layers.iter().map(|layer| layer.blob.clone()).collect();
        Self::of_blobs(config, layers)
    }

    fn of_blobs(config: Blob, layers: Vec<Blob>) -> io::Result<Self> {
        Self::new(&document(&config, &layers), [vec![config], layers].concat(), Vec::new())
    }

    /// An index as BuildKit writes it: each image with its platform, then an attestation of how
    /// each was built.
    pub fn index(images: Vec<(&str, Self)>) -> io::Result<Self> {
        let (mut entries, mut attestations) = (Vec::new(), Vec::new());
        let mut children = Vec::new();
        for (architecture, image) in images {
            let mut entry = image.descriptor();
            entry["platform"] = json!({ "os": "linux", "architecture": architecture });
            entries.push(entry);
            let attestation = image.attestation()?;
            let mut entry = attestation.descriptor();
            entry["platform"] = json!({ "os": "unknown", "architecture": "unknown" });
            entry["annotations"] = json!({
                "vnd.docker.reference.type": "attestation-manifest",
                "vnd.docker.reference.digest": image.manifest.digest,
            });
            attestations.push(entry);
            children.extend([image, attestation]);
        }
        entries.append(&mut attestations);
        let document = json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_INDEX,
            "manifests": entries,
        });
        Self::new(&document, Vec::new(), children)
    }

    fn attestation(&self) -> io::Result<Self> {
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v0.1",
            "predicateType": "https://slsa.dev/provenance/v0.2",
            "subject": [{ "name": "app", "digest": { "sha256": self.manifest.digest.hex() } }],
            "predicate": { "builder": { "id": "tranship demo" }, "buildType": "sample" },
        });
        let statement = Blob::new(IN_TOTO, statement.to_string());
        let config = json!({
            "architecture": "unknown", "os": "unknown", "config": {},
            "rootfs": { "type": "layers", "diff_ids": [statement.digest] },
        });
        Self::of_blobs(Blob::new(CONFIG, config.to_string()), vec![statement])
    }

    /// A signature that names this image as its subject (image-spec manifest.md, `subject`).
    pub fn signature(&self) -> io::Result<Self> {
        let config = Blob::new(media_type::EMPTY, "{}");
        let payload = json!({ "signed": self.manifest.digest, "by": "the demo, with no key" });
        let payload = Blob::new(SIGNATURE, payload.to_string());
        let mut document = document(&config, std::slice::from_ref(&payload));
        document["artifactType"] = json!(SIGNATURE);
        document["subject"] = self.descriptor();
        Self::new(&document, vec![config, payload], Vec::new())
    }

    /// A signature as cosign stores it, under a tag made from this image's digest.
    pub fn cosign(&self, repository: &str) -> io::Result<Self> {
        let payload = json!({
            "critical": {
                "identity": { "docker-reference": repository },
                "image": { "docker-manifest-digest": self.manifest.digest },
                "type": "cosign container image signature",
            },
            "optional": null,
        });
        let payload = Blob::new(COSIGN, payload.to_string());
        let config = json!({
            "architecture": "", "os": "", "config": {},
            "rootfs": { "type": "layers", "diff_ids": [payload.digest] },
        });
        Self::of_blobs(Blob::new(CONFIG, config.to_string()), vec![payload])
    }

    fn descriptor(&self) -> Value {
        json!(self.manifest.descriptor())
    }

    /// This image and everything below it, children before parents.
    pub fn all(&self) -> Vec<&Self> {
        let mut all: Vec<&Self> = self.children.iter().flat_map(Self::all).collect();
        all.push(self);
        all
    }
}

fn document(config: &Blob, layers: &[Blob]) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_MANIFEST,
        "config": config.descriptor(),
        "layers": layers.iter().map(Blob::descriptor).collect::<Vec<_>>(),
    })
}
