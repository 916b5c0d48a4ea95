//! Legal but unusual images, which copiers are known to stumble over.

use bytes::Bytes;
use serde_json::json;
use tranship::oci::media_type;

use super::{Blob, Family, Image, OCI_CONFIG, OCI_LAYER};

impl Image {
    /// An index as BuildKit makes it: each platform with an attestation manifest beside it.
    pub fn with_attestations(name: &str, architectures: &[&str]) -> Self {
        let mut entries = Vec::new();
        for architecture in architectures {
            let image = Self::for_platform(Family::Oci, name, "linux", architecture, &[2_000]);
            let statement = Blob::new(
                "application/vnd.in-toto+json",
                format!(r#"{{"subject":"{}"}}"#, image.digest),
            );
            let config = Blob::new(OCI_CONFIG, r#"{"architecture":"unknown","os":"unknown"}"#);
            let attestation = Self::of_blobs(Family::Oci, config, vec![statement]);
            let annotations = json!({
                "vnd.docker.reference.type": "attestation-manifest",
                "vnd.docker.reference.digest": image.digest,
            });
            let unknown = json!({ "os": "unknown", "architecture": "unknown" });
            entries.push((
                image,
                json!({ "platform": { "os": "linux", "architecture": architecture } }),
            ));
            entries.push((attestation, json!({ "platform": unknown, "annotations": annotations })));
        }
        Self::index(Family::Oci, entries)
    }

    /// An index of an index and an image.
    pub fn nested_index(name: &str) -> Self {
        let inner = Self::platforms(Family::Oci, &format!("{name}/inner"), &["amd64", "arm64"]);
        let outer = Self::single(Family::Oci, &format!("{name}/outer"), &[1_500]);
        Self::index(Family::Oci, vec![(inner, json!({})), (outer, json!({}))])
    }

    pub fn empty_index() -> Self {
        Self::index(Family::Oci, Vec::new())
    }

    /// An artifact with the empty config of image-spec 1.1, and one file.
    pub fn artifact(name: &str, artifact_type: &str) -> Self {
        let file = Blob::noise("text/plain", name, 300);
        let config = Blob::new(media_type::EMPTY, "{}");
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "artifactType": artifact_type,
            "config": { "mediaType": media_type::EMPTY, "digest": config.digest, "size": 2, "data": "e30=" },
            "layers": [file.descriptor()],
            "annotations": { "org.opencontainers.image.title": name },
        });
        Self::of_manifest(media_type::OCI_MANIFEST, &manifest, vec![config, file])
    }

    /// As `helm push` makes them.
    pub fn helm(name: &str) -> Self {
        let config = Blob::new(
            "application/vnd.cncf.helm.config.v1+json",
            json!({ "name": name, "version": "0.1.0", "apiVersion": "v2" }).to_string(),
        );
        let chart = Blob::noise("application/vnd.cncf.helm.chart.content.v1.tar+gzip", name, 900);
        Self::of_blobs(Family::Oci, config, vec![chart])
    }

    /// A WebAssembly component.
    pub fn wasm(name: &str) -> Self {
        let config = Blob::new(
            "application/vnd.wasm.config.v0+json",
            json!({ "architecture": "wasm", "os": "wasip2", "name": name }).to_string(),
        );
        Self::of_blobs(Family::Oci, config, vec![Blob::noise("application/wasm", name, 800)])
    }

    /// An image whose layer is said to be zstd.
    pub fn zstd(name: &str) -> Self {
        let layer = Blob::noise("application/vnd.oci.image.layer.v1.tar+zstd", name, 700);
        Self::of_blobs(
            Family::Oci,
            Blob::new(OCI_CONFIG, format!(r#"{{"name":"{name}"}}"#)),
            vec![layer],
        )
    }

    /// The same layer three times in one manifest.
    pub fn repeated_layer(name: &str) -> Self {
        let layer = Blob::noise(OCI_LAYER, name, 4_000);
        let config = Blob::new(OCI_CONFIG, format!(r#"{{"name":"{name}"}}"#));
        Self::of_blobs(Family::Oci, config, vec![layer.clone(), layer.clone(), layer])
    }

    /// A Docker image with a layer that lies at `url` and in no registry.
    pub fn foreign_layer(name: &str, url: &str) -> Self {
        let own = Blob::noise(Family::Docker.layer(), name, 1_000);
        let elsewhere = Blob::noise(
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            &format!("{name}/foreign"),
            600,
        );
        let mut foreign = elsewhere.descriptor();
        foreign["urls"] = json!([url]);
        let config =
            Blob::new(Family::Docker.config(), format!(r#"{{"os":"windows","name":"{name}"}}"#));
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media_type::DOCKER_MANIFEST,
            "config": config.descriptor(), "layers": [foreign, own.descriptor()],
        });
        Self::of_manifest(media_type::DOCKER_MANIFEST, &manifest, vec![config, own])
    }
}

/// A Docker schema 1 manifest (unsigned): no current registry takes one, so it is for
/// `Scripted::insert_manifest`. Media type and bytes.
pub fn schema1(name: &str) -> (&'static str, Bytes) {
    let text = format!(
        r#"{{"schemaVersion":1,"name":"{name}","tag":"old","architecture":"amd64","fsLayers":[],"history":[]}}"#
    );
    (media_type::DOCKER_SCHEMA1[1], text.into())
}
