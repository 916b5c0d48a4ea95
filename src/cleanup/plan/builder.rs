//! Puts a snapshot together from what is found, in any order, and notices what is missing.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;

use super::lists::Lists;
use super::snapshot::{
    Abilities, Facts, Incomplete, Kind, NO_TIME, Node, Presence, Snapshot, TagKind, TagRow,
};
use crate::config::policy::ClockSource;
use crate::oci::{Digest, Document, Manifest, Tag, derived};
use crate::state::ManifestSummary;

impl ManifestSummary {
    /// The summary of a manifest.
    ///
    /// # Errors
    /// Names the media type of an entry of an index that cannot be walked: what it refers to is
    /// not known.
    pub fn of(manifest: &Manifest) -> Result<Self, String> {
        let walked = |child: &&crate::oci::Descriptor| child.may_be_manifest();
        if let Some(child) = manifest.children().iter().find(|child| !walked(child)) {
            return Err(format!("it lists something of the unknown type `{}`", child.media_type));
        }
        Ok(Self {
            is_index: matches!(manifest.document, Document::Index { .. }),
            children: manifest.children().iter().map(|child| child.digest.clone()).collect(),
            subject: manifest.subject.as_ref().map(|subject| subject.digest.clone()),
            artifact_type: manifest.artifact_type.clone(),
            size: manifest.raw.len() as u64,
            blobs: manifest.blobs().iter().map(|blob| (blob.digest.clone(), blob.size)).collect(),
        })
    }
}

/// A snapshot that is being built. It does not matter if something is added twice.
#[derive(Debug, Default)]
pub struct Builder {
    repository: String,
    abilities: Abilities,
    numbers: HashMap<Digest, u32>,
    /// By number, in the order in which digests were met first.
    facts: Vec<Facts>,
    children: Vec<(u32, u32)>,
    subjects: Vec<(u32, u32)>,
    blob_numbers: HashMap<Digest, u32>,
    blob_sizes: Vec<u64>,
    blobs: Vec<(u32, u32)>,
    /// Number of the manifest, and whether it is locked.
    tags: BTreeMap<Tag, (u32, bool)>,
    artifact_types: BTreeMap<String, u32>,
    incomplete: BTreeSet<Incomplete>,
}

impl Builder {
    pub fn new(repository: impl Into<String>, abilities: Abilities) -> Self {
        Self { repository: repository.into(), abilities, ..Self::default() }
    }

    /// A manifest that is there.
    pub fn manifest(&mut self, digest: &Digest, found: ManifestSummary) {
        let number = self.number(digest);
        for child in &found.children {
            let child = self.number(child);
            self.children.push((number, child));
        }
        if let Some(subject) = &found.subject {
            let subject = self.number(subject);
            self.subjects.push((number, subject));
        }
        for (blob, size) in &found.blobs {
            let next = self.blob_sizes.len() as u32;
            let blob = match self.blob_numbers.get(blob) {
                Some(known) => *known,
                None => {
                    self.blob_numbers.insert(blob.clone(), next);
                    self.blob_sizes.push(u64::MAX);
                    next
                }
            };
            // If manifests disagree, the smaller size is used, so that no plan promises too much.
            let known = &mut self.blob_sizes[blob as usize];
            *known = (*known).min(*size);
            self.blobs.push((number, blob));
        }
        let artifact_type = found.artifact_type.map(|name| {
            let next = self.artifact_types.len() as u32;
            *self.artifact_types.entry(name).or_insert(next)
        });
        let facts = &mut self.facts[number as usize];
        facts.presence = Presence::Present;
        facts.kind = if found.is_index { Kind::Index } else { Kind::Image };
        facts.size = found.size;
        facts.artifact_type = artifact_type;
    }

    /// A manifest that was asked for and is not there.
    pub fn absent(&mut self, digest: &Digest) {
        let number = self.number(digest);
        let facts = &mut self.facts[number as usize];
        if facts.presence == Presence::Unknown {
            facts.presence = Presence::Absent;
        }
    }

    /// A manifest that is there and could not be read or understood.
    pub fn unreadable(&mut self, digest: &Digest, reason: impl Into<String>) {
        let reason = reason.into();
        self.incomplete.insert(Incomplete::Unreadable { digest: digest.clone(), reason });
    }

    /// A list that is not complete, and why.
    pub fn cut_short(&mut self, reason: impl Into<String>) {
        self.incomplete.insert(Incomplete::List(reason.into()));
    }

    /// A tag and where it points. If it is added with two digests, it was moved while the repository was
    /// read, so what was read is not one state of the repository.
    pub fn tag(&mut self, name: Tag, digest: &Digest, locked: bool) {
        let number = self.number(digest);
        match self.tags.get_mut(&name) {
            Some((known, was_locked)) if *known == number => *was_locked |= locked,
            Some(_) => self.cut_short(format!("tag `{name}` moved while it was read")),
            None => {
                self.tags.insert(name, (number, locked));
            }
        }
    }

    /// The time of a manifest by one source; if there are several, the newest counts. A registry that
    /// dates tags should give the newest date that any tag of the manifest ever had: taking a tag away
    /// must not make an image older.
    pub fn time(&mut self, digest: &Digest, source: ClockSource, time: Timestamp) {
        let number = self.number(digest);
        let known = &mut self.facts[number as usize].times[source as usize];
        *known = (*known).max(time.as_microsecond());
    }

    /// When a person restored a manifest, if it was met: it may be gone again.
    pub fn restored(&mut self, digest: &Digest, at: Timestamp) {
        if let Some(number) = self.numbers.get(digest) {
            self.facts[*number as usize].restored = at.as_microsecond();
        }
    }

    /// The registry refuses to delete this manifest.
    pub fn locked(&mut self, digest: &Digest) {
        let number = self.number(digest);
        self.facts[number as usize].locked = true;
    }

    fn number(&mut self, digest: &Digest) -> u32 {
        if let Some(number) = self.numbers.get(digest) {
            return *number;
        }
        let number = self.facts.len() as u32;
        self.numbers.insert(digest.clone(), number);
        self.facts.push(Facts {
            presence: Presence::Unknown,
            kind: Kind::Image,
            locked: false,
            size: 0,
            times: [NO_TIME; 3],
            restored: NO_TIME,
            artifact_type: None,
        });
        number
    }

    pub fn finish(mut self) -> Snapshot {
        drop(self.blob_numbers);
        let mut sorted: Vec<(Digest, u32)> = self.numbers.into_iter().collect();
        sorted.sort_unstable();
        let mut ranks = vec![0; sorted.len()];
        for (rank, (_, number)) in sorted.iter().enumerate() {
            ranks[*number as usize] = rank as u32;
        }
        let facts = sorted.iter().map(|(_, number)| self.facts[*number as usize].clone());
        let mut facts: Vec<Facts> = facts.collect();
        drop(self.facts);
        let digests: Vec<Digest> = sorted.into_iter().map(|(digest, _)| digest).collect();
        // From the order of discovery to the order of names.
        let mut types = vec![0; self.artifact_types.len()];
        for (rank, number) in self.artifact_types.values().enumerate() {
            types[*number as usize] = rank as u32;
        }
        for facts in &mut facts {
            facts.artifact_type = facts.artifact_type.map(|number| types[number as usize]);
        }
        let artifact_types = self.artifact_types.into_keys().collect();
        for (digest, facts) in digests.iter().zip(&mut facts) {
            if facts.presence != Presence::Unknown {
                continue;
            }
            if self.abilities.lists_untagged {
                facts.presence = Presence::Absent;
            } else {
                self.incomplete.insert(Incomplete::NotLookedAt(digest.clone()));
            }
        }
        let moved = |pairs: &mut Vec<(u32, u32)>| {
            for (from, to) in pairs.iter_mut() {
                (*from, *to) = (ranks[*from as usize], ranks[*to as usize]);
            }
        };
        moved(&mut self.children);
        moved(&mut self.subjects);
        date_indexes(&mut facts, &self.children);
        for (from, _) in &mut self.blobs {
            *from = ranks[*from as usize];
        }
        let mut subjects = vec![None; digests.len()];
        for (referrer, subject) in self.subjects {
            subjects[referrer as usize] = Some(Node(subject));
        }
        let tags = tags(self.tags, &ranks, &digests, &facts, &mut self.incomplete, self.abilities);
        for tag in &tags {
            if facts[tag.node.at()].presence == Presence::Absent {
                let reason = format!("tag `{}` points at a manifest that is not there", tag.name);
                self.incomplete.insert(Incomplete::List(reason));
            }
        }
        Snapshot {
            repository: self.repository,
            abilities: self.abilities,
            children: Lists::new(digests.len(), self.children),
            blobs: Lists::new(digests.len(), self.blobs),
            digests,
            facts,
            subjects,
            blob_sizes: self.blob_sizes,
            tags,
            artifact_types,
            incomplete: self.incomplete.into_iter().collect(),
        }
    }
}

/// An index has no configuration that says when it was created: it is as new as the newest of its
/// children that say anything, however deep. `children` are pairs of index and child.
fn date_indexes(facts: &mut [Facts], children: &[(u32, u32)]) {
    const CREATED: usize = ClockSource::Created as usize;
    let is_dated = |at: &usize| facts[*at].times[CREATED] != NO_TIME;
    let mut dated: Vec<usize> = (0..facts.len()).filter(is_dated).collect();
    if dated.is_empty() {
        return;
    }
    let parents = children.iter().map(|(index, child)| (*child, *index)).collect();
    let parents = Lists::new(facts.len(), parents);
    // The newest first: what reaches an index first decides, so each is passed once.
    dated.sort_unstable_by_key(|at| Reverse(facts[*at].times[CREATED]));
    let mut waiting = Vec::new();
    for at in dated {
        let time = facts[at].times[CREATED];
        waiting.push(at);
        while let Some(at) = waiting.pop() {
            for index in parents.row(at).iter().map(|index| *index as usize) {
                if facts[index].times[CREATED] < time {
                    facts[index].times[CREATED] = time;
                    waiting.push(index);
                }
            }
        }
    }
}

/// The tags with what they belong to.
fn tags(
    tags: BTreeMap<Tag, (u32, bool)>,
    ranks: &[u32],
    digests: &[Digest],
    facts: &[Facts],
    incomplete: &mut BTreeSet<Incomplete>,
    abilities: Abilities,
) -> Vec<TagRow> {
    // Derived tags hold only half of a SHA-512 digest, so these are found by the tag they make.
    let long = digests.iter().enumerate().filter(|(_, digest)| digest.algorithm() != "sha256");
    let long: HashMap<Tag, usize> =
        long.map(|(at, digest)| (derived::fallback_tag(digest), at)).collect();
    let mut kind = |name: &Tag| {
        let Some(tag) = derived::parse(name) else { return TagKind::Own };
        if tag.is_trial() {
            return TagKind::Dangling;
        }
        let subject = tag.subject();
        let at = match &subject {
            Some(digest) => digests.binary_search(digest).ok(),
            None => long.get(&tag.fallback()).copied(),
        };
        match (at.map(|at| (at, facts[at].presence)), subject) {
            (Some((at, Presence::Present)), _) => TagKind::Of(Node(at as u32)),
            (Some((_, Presence::Absent)), _) => TagKind::Dangling,
            (None, _) if abilities.lists_untagged => TagKind::Dangling,
            (None, Some(subject)) => {
                incomplete.insert(Incomplete::NotLookedAt(subject));
                TagKind::OfUnknown
            }
            (Some((_, Presence::Unknown)) | None, _) => TagKind::OfUnknown,
        }
    };
    let row = |(name, (number, locked)): (Tag, (u32, bool))| {
        let (kind, node) = (kind(&name), Node(ranks[number as usize]));
        TagRow { name, node, kind, locked }
    };
    tags.into_iter().map(row).collect()
}
