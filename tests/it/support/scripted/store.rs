//! What a scripted registry holds, in memory.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use serde_json::Value;
use tranship::oci::Digest;

use super::generated::Generated;

#[derive(Default)]
pub struct Store {
    repositories: BTreeMap<String, Repository>,
    generated: Option<(String, Generated)>,
}

#[derive(Default)]
pub struct Repository {
    /// By digest: media type and bytes.
    pub manifests: BTreeMap<String, (String, Bytes)>,
    pub tags: BTreeMap<String, String>,
    pub blobs: HashMap<String, Bytes>,
    /// Blobs too large to hold: bytes, and how often they are repeated.
    pub repeated: HashMap<String, (Bytes, usize)>,
    pub uploads: HashMap<String, Vec<u8>>,
    pub created: bool,
}

impl Store {
    /// A repository, made if it is new.
    pub fn repository(&mut self, name: &str) -> &mut Repository {
        self.repositories.entry(name.to_owned()).or_default()
    }

    pub fn existing(&self, name: &str) -> Option<&Repository> {
        self.repositories.get(name)
    }

    pub fn generate(&mut self, repository: &str, count: usize) {
        let (digest, empty) = Generated::blob();
        self.repository(repository).insert_blob(&digest, empty);
        self.generated = Some((repository.to_owned(), Generated::new(count)));
    }

    /// The names of all repositories that have content.
    pub fn names(&self) -> Vec<String> {
        self.repositories.iter().filter(|(_, r)| !r.is_empty()).map(|(n, _)| n.clone()).collect()
    }

    /// Every tag after `last`, sorted; at most `limit`. `None`: no such repository.
    pub fn tags(&self, name: &str, last: &str, limit: usize) -> Option<Vec<String>> {
        let repository = self.existing(name).filter(|repository| !repository.is_empty())?;
        let stored = repository.tags.keys().filter(|tag| tag.as_str() > last).cloned();
        let Some(generated) = self.generated(name) else {
            return Some(stored.take(limit).collect());
        };
        let mut tags: Vec<String> = generated.tags_after(last, limit).collect();
        tags.extend(stored.take(limit));
        tags.sort();
        tags.dedup();
        tags.truncate(limit);
        Some(tags)
    }

    /// What a tag points at.
    pub fn tag(&self, name: &str, tag: &str) -> Option<String> {
        let stored = self.existing(name)?.tags.get(tag).cloned();
        stored.or_else(|| Some(Digest::of(&self.generated(name)?.manifest(tag)?).to_string()))
    }

    /// A manifest by tag or digest: media type, digest, bytes.
    pub fn manifest(&mut self, name: &str, reference: &str) -> Option<(String, String, Bytes)> {
        let repository = self.existing(name)?;
        let digest = repository.tags.get(reference).map_or(reference, String::as_str).to_owned();
        if let Some((media_type, bytes)) = repository.manifests.get(&digest) {
            return Some((media_type.clone(), digest, bytes.clone()));
        }
        let (_, generated) = self.generated.as_mut().filter(|(owner, _)| owner == name)?;
        generated.resolve(reference)
    }

    fn generated(&self, name: &str) -> Option<&Generated> {
        self.generated.as_ref().filter(|(owner, _)| owner == name).map(|(_, generated)| generated)
    }

    pub fn open_uploads(&self) -> usize {
        self.repositories.values().map(|repository| repository.uploads.len()).sum()
    }
}

impl Repository {
    fn is_empty(&self) -> bool {
        self.manifests.is_empty() && self.blobs.is_empty() && !self.created
    }

    pub fn insert_blob(&mut self, digest: &str, bytes: Bytes) {
        self.blobs.insert(digest.to_owned(), bytes);
    }

    pub fn insert_repeated(&mut self, bytes: Bytes, times: usize) -> String {
        let mut hasher = Digest::of(&bytes).hasher();
        (0..times).for_each(|_| hasher.update(&bytes));
        let digest = hasher.finish().to_string();
        self.repeated.insert(digest.clone(), (bytes, times));
        digest
    }

    pub fn insert_manifest(&mut self, tag: Option<&str>, media_type: &str, bytes: Bytes) -> String {
        let digest = Digest::of(&bytes).to_string();
        if let Some(tag) = tag {
            self.tags.insert(tag.to_owned(), digest.clone());
        }
        self.manifests.insert(digest.clone(), (media_type.to_owned(), bytes));
        digest
    }

    /// The parts that a manifest names and that are not here, at any depth.
    pub fn missing(&self, manifest: &[u8]) -> Vec<String> {
        let Ok(document) = serde_json::from_slice::<Value>(manifest) else { return Vec::new() };
        let list = |key: &str| document[key].as_array().cloned().unwrap_or_default();
        let mut missing = Vec::new();
        for child in list("manifests") {
            let digest = child["digest"].as_str().unwrap_or_default();
            match self.manifests.get(digest) {
                Some((_, bytes)) => missing.extend(self.missing(bytes)),
                None => missing.push(format!("manifest {digest}")),
            }
        }
        let config = document.get("config").cloned();
        for blob in config.into_iter().chain(list("layers")) {
            let digest = blob["digest"].as_str().unwrap_or_default();
            // Layers that lie elsewhere need not be here.
            let elsewhere = blob["urls"].as_array().is_some_and(|urls| !urls.is_empty());
            if !elsewhere && !self.blobs.contains_key(digest) {
                missing.push(format!("blob {digest}"));
            }
        }
        missing
    }

    /// The parts of this one document that are not here.
    pub fn missing_directly(&self, manifest: &[u8]) -> Vec<String> {
        let missing = self.missing(manifest);
        let text = String::from_utf8_lossy(manifest);
        let named = |part: &String| part.split(' ').nth(1).is_some_and(|d| text.contains(d));
        missing.into_iter().filter(named).collect()
    }
}
