//! Signatures, SBOMs and other images that belong to an image.

use serde_json::{Value, json};
use tranship::oci::media_type;

use super::super::endpoint::{Endpoint, Place};
use super::{Blob, Family, Image, OCI_CONFIG};

impl Image {
    /// Adds a referrer with this artifact type; `name` makes its content.
    pub fn refer(mut self, name: &str, artifact_type: &str) -> Self {
        let referrer = Self::referrer_of(&self, name, artifact_type);
        self.referrers.push(referrer);
        self
    }

    /// Adds a referrer that has a referrer of its own: an SBOM, signed.
    pub fn refer_twice(mut self, name: &str) -> Self {
        let sbom = Self::referrer_of(&self, name, "application/spdx+json");
        let signed = sbom.refer(&format!("{name}/signature"), "application/vnd.example.signature");
        self.referrers.push(signed);
        self
    }

    /// Adds cosign's `.sig`, `.att` and `.sbom` tags.
    pub fn cosign(mut self) -> Self {
        for suffix in [".sig", ".att", ".sbom"] {
            let config = Blob::new(OCI_CONFIG, r#"{"architecture":"","os":""}"#);
            let payload = Blob::new(
                "application/vnd.dev.cosign.simplesigning.v1+json",
                format!(r#"{{"critical":{{"image":"{}"}},"kind":"{suffix}"}}"#, self.digest),
            );
            let image = Self::of_blobs(Family::Oci, config, vec![payload]);
            self.attached.push((suffix.to_owned(), image));
        }
        self
    }

    /// A manifest with a subject.
    pub fn referrer_of(subject: &Image, name: &str, artifact_type: &str) -> Self {
        let empty = Blob::new(media_type::EMPTY, "{}");
        let payload = Blob::noise(artifact_type, &format!("{name}/{}", subject.digest), 200);
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "artifactType": artifact_type,
            "config": empty.descriptor(), "layers": [payload.descriptor()],
            "subject": subject.descriptor(), "annotations": { "name": name },
        });
        Self::of_manifest(media_type::OCI_MANIFEST, &manifest, vec![empty, payload])
    }

    /// The descriptor that a referrers list shows.
    pub fn referrer_descriptor(&self) -> Value {
        let document: Value = serde_json::from_slice(&self.bytes).unwrap();
        let mut descriptor = self.descriptor();
        descriptor["artifactType"] = document["artifactType"].clone();
        descriptor["annotations"] = document["annotations"].clone();
        descriptor
    }

    /// The index that stands under the fallback tag of this image.
    pub fn fallback_index(&self) -> Value {
        let list: Vec<Value> = self.referrers.iter().map(Image::referrer_descriptor).collect();
        json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": list })
    }
}

/// Pushes what belongs to an image and to everything below it.
pub async fn push(image: &Image, place: &impl Place, repository: &str) {
    for part in image.manifests() {
        let mut listed = true;
        for referrer in &part.referrers {
            let headers = referrer.push_content(place, repository).await;
            listed &= headers.contains_key("oci-subject");
            Box::pin(push(referrer, place, repository)).await;
        }
        if !listed {
            put_fallback(part, place.endpoint(), repository).await;
        }
        for (suffix, attached) in &part.attached {
            Box::pin(attached.push(place, repository, &part.derived_tag(suffix))).await;
        }
    }
}

async fn put_fallback(image: &Image, endpoint: &Endpoint, repository: &str) {
    let index = image.fallback_index().to_string().into();
    endpoint.put_manifest(repository, &image.derived_tag(""), media_type::OCI_INDEX, index).await;
}
