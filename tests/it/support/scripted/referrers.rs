//! The referrers API of a scripted registry (distribution-spec, "Listing Referrers").

use serde_json::{Value, json};
use tranship::oci::{Digest, media_type};

use super::serial;
use super::store::Store;
use crate::support::wire::{Head, Response};

/// The digest of the manifest that this one refers to.
pub fn subject(manifest: &[u8]) -> Option<String> {
    let document: Value = serde_json::from_slice(manifest).ok()?;
    Some(document["subject"]["digest"].as_str()?.to_owned())
}

pub fn answer(store: &Store, head: &Head, name: &str, digest: &str) -> Response {
    let filter = head.parameter("artifactType");
    let manifests = store.existing(name).into_iter().flat_map(|repository| &repository.manifests);
    let list: Vec<Value> = manifests
        .filter(|(_, (_, bytes))| subject(bytes).as_deref() == Some(digest))
        .map(|(digest, (media_type, bytes))| descriptor(digest, media_type, bytes))
        .filter(|entry| filter.as_ref().is_none_or(|wanted| entry["artifactType"] == **wanted))
        .collect();
    let index =
        json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": list });
    let response = Response::json(200, &index).header("content-type", media_type::OCI_INDEX);
    if filter.is_some() { response.header("oci-filters-applied", "artifactType") } else { response }
}

/// A page with one referrer and a large annotation, which leads to ever new ones.
pub fn endless_page(head: &Head, annotation: usize) -> Response {
    let number = serial();
    let digest = Digest::of(number.to_string().as_bytes()).to_string();
    let mut entry = json!({ "mediaType": media_type::OCI_MANIFEST, "digest": digest, "size": 1 });
    entry["annotations"] = json!({ "large": "x".repeat(annotation) });
    let index =
        json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [entry] });
    Response::json(200, &index)
        .header("content-type", media_type::OCI_INDEX)
        .header("link", format!("<{}?last={number}>; rel=\"next\"", head.path))
}

fn descriptor(digest: &str, media_type: &str, bytes: &[u8]) -> Value {
    let document: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let artifact_type =
        document.get("artifactType").or_else(|| document["config"].get("mediaType"));
    let mut entry = json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() });
    if let Some(artifact_type) = artifact_type {
        entry["artifactType"] = artifact_type.clone();
    }
    if let Some(annotations) = document.get("annotations") {
        entry["annotations"] = annotations.clone();
    }
    entry
}
