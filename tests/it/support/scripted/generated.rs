//! Tags by the hundred thousand, computed instead of stored.

use std::collections::HashMap;

use bytes::Bytes;
use tranship::oci::{Digest, media_type};

pub struct Generated {
    count: usize,
    /// Which tag has a digest that was given out. Filled as tags are asked for.
    known: HashMap<Digest, usize>,
}

impl Generated {
    pub fn new(count: usize) -> Self {
        Self { count, known: HashMap::new() }
    }

    /// The one blob that every generated image has: the empty config.
    pub fn blob() -> (String, Bytes) {
        (Digest::of(b"{}").to_string(), Bytes::from_static(b"{}"))
    }

    /// The tags that stand behind `last`, at most `limit`, in order.
    pub fn tags_after(&self, last: &str, limit: usize) -> impl Iterator<Item = String> + use<> {
        let from = if last.is_empty() { 0 } else { position(last).map_or(0, |at| at + 1) };
        (from..self.count).take(limit).map(name)
    }

    /// The manifest of a tag.
    pub fn manifest(&self, tag: &str) -> Option<Bytes> {
        position(tag).filter(|at| *at < self.count).map(manifest)
    }

    /// A manifest by tag, or by a digest that was given out: media type, digest, bytes.
    pub fn resolve(&mut self, reference: &str) -> Option<(String, String, Bytes)> {
        let at = match reference.parse::<Digest>() {
            Ok(digest) => *self.known.get(&digest)?,
            Err(_) => position(reference).filter(|at| *at < self.count)?,
        };
        let bytes = manifest(at);
        let digest = Digest::of(&bytes);
        let answer = (media_type::OCI_MANIFEST.to_owned(), digest.to_string(), bytes);
        self.known.insert(digest, at);
        Some(answer)
    }
}

fn name(at: usize) -> String {
    format!("tag-{at:07}")
}

fn position(tag: &str) -> Option<usize> {
    tag.strip_prefix("tag-").filter(|digits| digits.len() == 7)?.parse().ok()
}

fn manifest(at: usize) -> Bytes {
    let (config, _) = Generated::blob();
    let empty = media_type::EMPTY;
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","artifactType":"application/vnd.tranship.test","config":{{"mediaType":"{empty}","digest":"{config}","size":2}},"layers":[{{"mediaType":"{empty}","digest":"{config}","size":2}}],"annotations":{{"number":"{at}"}}}}"#,
        media_type::OCI_MANIFEST
    )
    .into()
}
