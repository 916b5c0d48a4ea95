//! How much memory documents take. A document of a few bytes a field takes many times its own size.

use std::collections::BTreeMap;

use super::{Descriptor, Document, Manifest};

/// An entry of a map with two texts: the texts' headers, their allocations, and the map's own nodes,
/// which are half full at worst.
const MAP_ENTRY: usize = 160;

/// About how many bytes a manifest takes: its document, what was read from it, and a copy of its
/// descriptors, because lists of blobs and of children are made of them.
pub fn of_manifest(manifest: &Manifest) -> usize {
    let parts = match &manifest.document {
        Document::Image { blobs: parts } | Document::Index { children: parts } => parts,
    };
    let descriptors: usize = parts.iter().chain(&manifest.subject).map(of_descriptor).sum();
    size_of::<Manifest>()
        + manifest.raw.len()
        + manifest.media_type.len()
        + manifest.artifact_type.as_ref().map_or(0, String::len)
        + of_annotations(manifest.annotations.as_ref())
        + 2 * descriptors
}

fn of_descriptor(descriptor: &Descriptor) -> usize {
    let platform = descriptor.platform.as_ref().map_or(0, |platform| {
        platform.os.len()
            + platform.architecture.len()
            + platform.variant.as_ref().map_or(0, String::len)
    });
    size_of::<Descriptor>()
        + descriptor.media_type.len()
        + descriptor.artifact_type.as_ref().map_or(0, String::len)
        + platform
        + of_annotations(descriptor.annotations.as_ref())
}

fn of_annotations(annotations: Option<&BTreeMap<String, String>>) -> usize {
    let entries = annotations.into_iter().flatten();
    entries.map(|(key, value)| MAP_ENTRY + key.len() + value.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same number of bytes takes more memory the more fields there are.
    #[test]
    fn many_small_fields_take_more_than_one_large_one() {
        let footprint = |annotations: serde_json::Value| {
            let document = serde_json::json!({ "manifests": [], "annotations": annotations });
            let manifest = Manifest::parse(document.to_string().into(), None, None).unwrap();
            (manifest.raw.len(), of_manifest(&manifest))
        };
        let (raw, one) = footprint(serde_json::json!({ "a": "x".repeat(50_000) }));
        assert!((2 * raw - 1_000..3 * raw).contains(&one), "{one} of {raw}");
        let many: BTreeMap<String, &str> = (10_000..15_000).map(|n| (n.to_string(), "")).collect();
        let (raw, many) = footprint(serde_json::json!(many));
        assert!(many > 10 * raw, "{many} of {raw}");
    }
}
