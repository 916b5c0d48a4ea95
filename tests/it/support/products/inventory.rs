//! What a product knows about its images beside their bytes: numbers, times, and what has which tag.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tranship::oci::{Digest, media_type};

use crate::support::images::{Blob, Family, Image};

/// A manifest or index.
#[derive(Debug, Clone)]
pub struct Version {
    pub id: u64,
    pub digest: String,
    pub media_type: String,
    pub bytes: Bytes,
    pub created: Timestamp,
    pub updated: Timestamp,
}

#[derive(Debug, Clone)]
pub struct Tag {
    pub digest: String,
    pub created: Timestamp,
    /// When it last began to point at what it points at.
    pub updated: Timestamp,
    /// When it was last pushed, moved or not.
    pub pushed: Timestamp,
}

/// What a tag pointed at before it moved or went.
#[derive(Debug, Clone)]
pub struct Past {
    pub tag: String,
    pub digest: String,
    pub from: Timestamp,
    pub until: Timestamp,
}

#[derive(Debug, Clone)]
pub struct Repository {
    pub id: u64,
    pub created: Timestamp,
    pub updated: Timestamp,
    /// By digest.
    pub versions: BTreeMap<String, Version>,
    pub tags: BTreeMap<String, Tag>,
    pub past: Vec<Past>,
}

pub type Repositories = BTreeMap<String, Repository>;

#[derive(Default)]
pub struct Inventory {
    live: Repositories,
    /// What the product's API shows while it lags.
    frozen: Option<Repositories>,
    clock: Timestamp,
    serial: u64,
}

impl Version {
    pub fn document(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_default()
    }

    pub fn is_index(&self) -> bool {
        [media_type::OCI_INDEX, media_type::DOCKER_LIST].contains(&&*self.media_type)
    }

    /// The digests of an index's entries.
    pub fn children(&self) -> Vec<String> {
        let document = self.document();
        let entries = document["manifests"].as_array().cloned().unwrap_or_default();
        entries.iter().filter_map(|entry| entry["digest"].as_str().map(str::to_owned)).collect()
    }

    /// The digest of what it refers to.
    pub fn subject(&self) -> Option<String> {
        Some(self.document()["subject"]["digest"].as_str()?.to_owned())
    }

    /// Bytes of the blobs that it names.
    pub fn blob_bytes(&self) -> u64 {
        let document = self.document();
        let layers = document["layers"].as_array().cloned().unwrap_or_default();
        let config = document["config"]["size"].as_u64().unwrap_or_default();
        layers.iter().filter_map(|layer| layer["size"].as_u64()).sum::<u64>() + config
    }
}

impl Repository {
    /// The tags of a manifest, sorted.
    pub fn tags_of(&self, digest: &str) -> Vec<String> {
        let own = self.tags.iter().filter(|(_, tag)| tag.digest == digest);
        own.map(|(name, _)| name.clone()).collect()
    }

    /// Manifests, the newest first.
    pub fn newest_first(&self) -> Vec<&Version> {
        let mut versions: Vec<&Version> = self.versions.values().collect();
        versions.sort_by_key(|version| std::cmp::Reverse(version.id));
        versions
    }

    /// The indexes that a manifest is part of.
    pub fn parents_of(&self, digest: &str) -> Vec<&Version> {
        let contains = |version: &&Version| version.children().iter().any(|child| child == digest);
        self.versions.values().filter(|version| version.is_index()).filter(contains).collect()
    }
}

impl Inventory {
    /// The time of the next push.
    pub fn set_clock(&mut self, at: Timestamp) {
        self.clock = at - SignedDuration::from_millis(1);
    }

    /// What the product's API shows.
    pub fn shown(&self) -> &Repositories {
        self.frozen.as_ref().unwrap_or(&self.live)
    }

    /// What there is.
    pub fn live(&self) -> &Repositories {
        &self.live
    }

    pub fn freeze(&mut self, freeze: bool) {
        self.frozen = freeze.then(|| self.live.clone());
    }

    /// A repository, made if it is new.
    pub fn repository(&mut self, name: &str) -> &mut Repository {
        if !self.live.contains_key(name) {
            let (at, id) = (self.tick(), self.number());
            let new = Repository {
                id,
                created: at,
                updated: at,
                versions: BTreeMap::new(),
                tags: BTreeMap::new(),
                past: Vec::new(),
            };
            self.live.insert(name.to_owned(), new);
        }
        self.live.get_mut(name).unwrap()
    }

    /// Notes a push of a manifest by digest or tag.
    pub fn put(&mut self, name: &str, reference: &str, media_type: &str, bytes: &Bytes) {
        let (at, id) = (self.tick(), self.number());
        let digest = Digest::of(bytes).to_string();
        let repository = self.repository(name);
        repository.updated = at;
        let new = Version {
            id,
            digest: digest.clone(),
            media_type: media_type.to_owned(),
            bytes: bytes.clone(),
            created: at,
            updated: at,
        };
        repository.versions.entry(digest.clone()).or_insert(new).updated = at;
        if reference.contains(':') {
            return;
        }
        let new = Tag { digest: digest.clone(), created: at, updated: at, pushed: at };
        let tag = repository.tags.entry(reference.to_owned()).or_insert(new);
        if tag.digest != digest {
            let past = Past {
                tag: reference.to_owned(),
                digest: tag.digest.clone(),
                from: tag.updated,
                until: at,
            };
            repository.past.push(past);
            *tag = Tag { digest, updated: at, ..tag.clone() };
        }
        tag.pushed = at;
    }

    /// Notes that a tag, or a manifest with all its tags, is gone.
    pub fn remove(&mut self, name: &str, reference: &str) {
        let until = self.tick();
        let Some(repository) = self.live.get_mut(name) else { return };
        repository.versions.remove(reference);
        let gone = |tag: &str, of: &Tag| tag == reference || of.digest == reference;
        for (tag, of) in repository.tags.extract_if(.., |tag, of| gone(tag, of)) {
            repository.past.push(Past { tag, digest: of.digest, from: of.updated, until });
        }
    }

    /// Notes an image with its referrers and attached tags, children before parents.
    pub fn load(&mut self, image: &Image, name: &str, tag: &str) {
        self.load_part(image, name, tag);
        for (suffix, attached) in &image.attached {
            self.load_part(attached, name, &image.derived_tag(suffix));
        }
    }

    fn load_part(&mut self, image: &Image, name: &str, reference: &str) {
        for child in &image.children {
            self.load_part(child, name, &child.digest);
        }
        self.put(name, reference, &image.media_type, &image.bytes);
        for referrer in &image.referrers {
            self.load_part(referrer, name, &referrer.digest);
        }
    }

    /// A time later than any before: now, unless the clock was set ahead or back.
    fn tick(&mut self) -> Timestamp {
        let next = self.clock + SignedDuration::from_millis(1);
        self.clock = if self.clock == Timestamp::UNIX_EPOCH { Timestamp::now() } else { next };
        self.clock
    }

    fn number(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }
}

/// An index of manifests without layers: the least that is an image.
pub fn bare_index(number: usize, children: usize) -> Image {
    let config = Blob::new(media_type::EMPTY, "{}");
    let entries = (0..children).map(|child| {
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
            "config": config.descriptor(), "layers": [config.descriptor()],
            "annotations": { "number": format!("{number}/{child}") },
        });
        let child = Image::of_manifest(media_type::OCI_MANIFEST, &manifest, vec![config.clone()]);
        (child, json!({ "annotations": { "of": number } }))
    });
    Image::index(Family::Oci, entries.collect())
}
