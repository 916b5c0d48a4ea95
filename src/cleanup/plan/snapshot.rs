//! One repository as data: its tags and manifests, what points at what, and how much of it is
//! known. Compact enough for half a million manifests; made by a [`Builder`](super::Builder).

use serde::{Deserialize, Serialize};

use super::lists::Lists;
use crate::config::policy::ClockSource;
use crate::oci::{Digest, Tag};
use crate::repository::Untag;

/// A manifest of a snapshot, by its place among all digests in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node(pub(in crate::cleanup) u32);

impl Node {
    pub(in crate::cleanup) fn at(self) -> usize {
        self.0 as usize
    }
}

/// What the repository's registry can do, as far as a plan depends on it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Abilities {
    /// Whether it can take one tag from a manifest that has others, or that stays.
    pub untag: Untag,
    /// It lists all manifests, also those without a tag: what it does not list is not there.
    pub lists_untagged: bool,
}

/// Why a snapshot does not tell everything. Nothing is deleted then.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Incomplete {
    /// A list ended before its end, or changed while it was read.
    #[error("the list is not whole: {0}")]
    List(String),
    /// A manifest that is there could not be had or understood.
    #[error("{digest} cannot be read: {reason}")]
    Unreadable { digest: Digest, reason: String },
    /// Something refers to a manifest that nobody looked at.
    #[error("{0} is referred to, and was not looked at")]
    NotLookedAt(Digest),
}

/// Whether a manifest that is mentioned is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    Present,
    Absent,
    Unknown,
}

/// What kind of document a manifest is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Image,
    Index,
}

/// What is known of a manifest besides its references.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cleanup) struct Facts {
    pub presence: Presence,
    pub kind: Kind,
    pub locked: bool,
    /// The document itself, in bytes.
    pub size: u64,
    /// Microseconds since 1970 for each of [`ClockSource::ALL`]; [`NO_TIME`] where it says nothing.
    pub times: [i64; 3],
    /// When a person restored it, likewise.
    pub restored: i64,
    /// Place in the snapshot's artifact types.
    pub artifact_type: Option<u32>,
}

pub(in crate::cleanup) const NO_TIME: i64 = i64::MIN;

/// Whose a tag is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagKind {
    /// Made by people.
    Own,
    /// Made from a digest (a fallback tag, or cosign's): it belongs to this manifest.
    Of(Node),
    /// Made from the digest of a manifest that is gone, or a placeholder's.
    Dangling,
    /// Made from a digest that the tag does not tell in full.
    OfUnknown,
}

/// A tag and where it points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagRow {
    pub name: Tag,
    pub node: Node,
    pub kind: TagKind,
    /// The registry refuses to delete or move it.
    pub locked: bool,
}

/// One repository, as it was when it was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    pub(in crate::cleanup) repository: String,
    pub(in crate::cleanup) abilities: Abilities,
    /// Sorted; every digest that is there or mentioned.
    pub(in crate::cleanup) digests: Vec<Digest>,
    pub(in crate::cleanup) facts: Vec<Facts>,
    pub(in crate::cleanup) children: Lists,
    pub(in crate::cleanup) subjects: Vec<Option<Node>>,
    pub(in crate::cleanup) blobs: Lists,
    pub(in crate::cleanup) blob_sizes: Vec<u64>,
    /// Sorted by name.
    pub(in crate::cleanup) tags: Vec<TagRow>,
    pub(in crate::cleanup) artifact_types: Vec<String>,
    pub(in crate::cleanup) incomplete: Vec<Incomplete>,
}

impl Snapshot {
    /// `registry.example.com/acme/app`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    pub fn abilities(&self) -> Abilities {
        self.abilities
    }

    /// Why it does not tell everything; empty if it does. Sorted.
    pub fn incomplete(&self) -> &[Incomplete] {
        &self.incomplete
    }

    /// All tags, sorted by name.
    pub fn tags(&self) -> &[TagRow] {
        &self.tags
    }

    /// A tag, and its place among all tags.
    pub(in crate::cleanup) fn row(&self, tag: &Tag) -> Option<(usize, &TagRow)> {
        let at = self.tags.binary_search_by(|row| row.name.cmp(tag)).ok()?;
        Some((at, &self.tags[at]))
    }

    /// All manifests that are there, sorted by digest.
    pub fn manifests(&self) -> impl Iterator<Item = Node> {
        self.nodes().filter(|node| self.is_present(*node))
    }

    pub fn digest(&self, node: Node) -> &Digest {
        &self.digests[node.at()]
    }

    pub fn find(&self, digest: &Digest) -> Option<Node> {
        self.digests.binary_search(digest).ok().map(|at| Node(at as u32))
    }

    pub fn is_present(&self, node: Node) -> bool {
        self.facts[node.at()].presence == Presence::Present
    }

    pub fn kind(&self, node: Node) -> Kind {
        self.facts[node.at()].kind
    }

    pub fn artifact_type(&self, node: Node) -> Option<&str> {
        let at = self.facts[node.at()].artifact_type?;
        Some(&self.artifact_types[at as usize])
    }

    /// When a source says that a manifest is from, in microseconds since 1970.
    pub(in crate::cleanup) fn time(&self, node: Node, source: ClockSource) -> Option<i64> {
        let time = self.facts[node.at()].times[source as usize];
        (time != NO_TIME).then_some(time)
    }

    /// When a person restored a manifest, in microseconds since 1970.
    pub(in crate::cleanup) fn restored(&self, node: Node) -> Option<i64> {
        let time = self.facts[node.at()].restored;
        (time != NO_TIME).then_some(time)
    }

    /// So many digests are there or mentioned.
    pub(in crate::cleanup) fn len(&self) -> usize {
        self.digests.len()
    }

    /// Bytes of these manifests, by their places, and of the blobs that no other manifest has.
    pub(in crate::cleanup) fn freed_without(&self, gone: &[bool]) -> u64 {
        let mut used = vec![false; self.blob_sizes.len()];
        for (node, blob) in self.blobs.pairs() {
            used[blob as usize] |= !gone[node as usize];
        }
        let mut counted = used;
        let mut bytes = 0_u64;
        for node in self.manifests().filter(|node| gone[node.at()]) {
            bytes = bytes.saturating_add(self.facts[node.at()].size);
            for blob in self.blobs.row(node.at()).iter().map(|blob| *blob as usize) {
                if !std::mem::replace(&mut counted[blob], true) {
                    bytes = bytes.saturating_add(self.blob_sizes[blob]);
                }
            }
        }
        bytes
    }

    pub(in crate::cleanup) fn nodes(&self) -> impl Iterator<Item = Node> + use<> {
        (0..self.digests.len() as u32).map(Node)
    }

    /// The manifests that an index lists, whether they are there or not.
    pub fn children(&self, node: Node) -> impl Iterator<Item = Node> {
        self.children.row(node.at()).iter().copied().map(Node)
    }

    pub fn subject(&self, node: Node) -> Option<Node> {
        self.subjects[node.at()]
    }
}
