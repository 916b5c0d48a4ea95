//! Manifests that were seen in a repository: since when, and what they refer to. What a digest
//! names never changes, so nobody has to read it twice.

use jiff::Timestamp;

use super::State;
use super::codec::{Reader, Writer};
use crate::oci::Digest;

/// Keys of manifests start with this byte. Programs that do not know it leave them alone.
const KIND: u8 = b'c';

/// A manifest of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenManifest {
    /// In whole seconds; nothing is seen before 1970.
    pub first_seen: Timestamp,
    /// The document itself, in bytes.
    pub size: u64,
    pub is_index: bool,
    /// What an index lists.
    pub children: Vec<Digest>,
    pub subject: Option<Digest>,
    pub artifact_type: Option<String>,
    /// Digest and size of the configuration and layers.
    pub blobs: Vec<(Digest, u64)>,
    /// When the image's configuration says that it was made. `None`: nobody has looked.
    pub created: Option<Created>,
    /// What the registry's own list of its referrers said last.
    pub referrers: Option<SeenReferrers>,
}

/// What a configuration says of when it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    At(Timestamp),
    /// Nothing.
    Silent,
}

/// An answer about referrers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenReferrers {
    /// When it was given, in whole seconds.
    pub at: Timestamp,
    pub digests: Vec<Digest>,
}

const INDEX: u8 = 1;
const HAS_SUBJECT: u8 = 2;
const HAS_TYPE: u8 = 4;
const HAS_CREATED: u8 = 8;
const IS_SILENT: u8 = 16;
const HAS_REFERRERS: u8 = 32;

impl State {
    /// What is known of a manifest in a repository (`Repository::name`).
    pub fn manifest(&self, repository: &str, digest: &Digest) -> Option<SeenManifest> {
        SeenManifest::decode(&self.store().get(&encode_key(repository, digest))?)
    }

    /// Notes that a repository has a manifest.
    pub fn set_manifest(&self, repository: &str, digest: &Digest, manifest: &SeenManifest) {
        self.apply(vec![(encode_key(repository, digest), Some(manifest.encode()))]);
    }

    /// Forgets a manifest that was deleted: if it comes back, it is new.
    pub fn forget_manifest(&self, repository: &str, digest: &Digest) {
        self.apply(vec![(encode_key(repository, digest), None)]);
    }

    /// Forgets the manifests of a repository that are not there any more: what comes back later is
    /// new again.
    pub fn keep_manifests(&self, repository: &str, is_there: impl Fn(&Digest) -> bool) {
        let prefix = Writer::key(KIND).text(repository).finish();
        let is_gone = |key: &[u8]| {
            let digest = key.get(prefix.len()..).and_then(|rest| Reader::new(rest).digest());
            digest.is_none_or(|digest| !is_there(&digest))
        };
        let gone = self.store().keys(&prefix, is_gone);
        self.apply(gone.into_iter().map(|key| (key, None)).collect());
    }
}

/// Since 1970; earlier is 1970.
fn seconds(time: Timestamp) -> u64 {
    u64::try_from(time.as_second()).unwrap_or(0)
}

fn encode_key(repository: &str, digest: &Digest) -> Vec<u8> {
    Writer::key(KIND).text(repository).digest(digest).finish()
}

impl SeenManifest {
    fn encode(&self) -> Vec<u8> {
        let flags = if self.is_index { INDEX } else { 0 }
            | if self.subject.is_some() { HAS_SUBJECT } else { 0 }
            | if self.artifact_type.is_some() { HAS_TYPE } else { 0 }
            | match self.created {
                Some(Created::At(_)) => HAS_CREATED,
                Some(Created::Silent) => IS_SILENT,
                None => 0,
            }
            | if self.referrers.is_some() { HAS_REFERRERS } else { 0 };
        let seen = seconds(self.first_seen);
        let mut writer = Writer::default().byte(flags).number(seen).number(self.size);
        if let Some(subject) = &self.subject {
            writer = writer.digest(subject);
        }
        if let Some(artifact_type) = &self.artifact_type {
            writer = writer.text(artifact_type);
        }
        writer = writer.number(self.children.len() as u64);
        writer = self.children.iter().fold(writer, Writer::digest);
        writer = writer.number(self.blobs.len() as u64);
        let blob =
            |writer: Writer, (digest, size): &(Digest, u64)| writer.digest(digest).number(*size);
        writer = self.blobs.iter().fold(writer, blob);
        if let Some(Created::At(at)) = self.created {
            // Microseconds as configurations may have them, from before 1970 on.
            writer = writer.ordered(at.as_microsecond() as u64);
        }
        if let Some(SeenReferrers { at, digests }) = &self.referrers {
            writer = writer.number(seconds(*at)).number(digests.len() as u64);
            writer = digests.iter().fold(writer, Writer::digest);
        }
        writer.finish()
    }

    /// `None` if these are not the bytes of a manifest, which then was never seen.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let known = INDEX | HAS_SUBJECT | HAS_TYPE | HAS_CREATED | IS_SILENT | HAS_REFERRERS;
        let flags = reader.byte().filter(|flags| flags & !known == 0)?;
        let seen = i64::try_from(reader.number()?).ok()?;
        let manifest = Self {
            first_seen: Timestamp::from_second(seen).ok()?,
            size: reader.number()?,
            is_index: flags & INDEX != 0,
            subject: if flags & HAS_SUBJECT == 0 { None } else { Some(reader.digest()?) },
            artifact_type: if flags & HAS_TYPE == 0 { None } else { Some(reader.text()?) },
            children: reader.list(Reader::digest)?,
            blobs: reader.list(|reader| Some((reader.digest()?, reader.number()?)))?,
            created: match flags & (HAS_CREATED | IS_SILENT) {
                0 => None,
                HAS_CREATED => {
                    let at = Timestamp::from_microsecond(reader.ordered()? as i64).ok()?;
                    Some(Created::At(at))
                }
                IS_SILENT => Some(Created::Silent),
                _ => return None,
            },
            referrers: if flags & HAS_REFERRERS == 0 {
                None
            } else {
                let at = i64::try_from(reader.number()?).ok()?;
                let at = Timestamp::from_second(at).ok()?;
                Some(SeenReferrers { at, digests: reader.list(Reader::digest)? })
            },
        };
        reader.at_end().then_some(manifest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn digest() -> impl Strategy<Value = Digest> {
        prop_oneof![
            any::<[u8; 32]>().prop_map(Digest::Sha256),
            any::<u8>().prop_map(|byte| Digest::Sha512(Box::new([byte; 64]))),
        ]
    }

    fn manifest() -> impl Strategy<Value = SeenManifest> {
        (
            (0_i64..4_000_000_000, any::<u64>(), any::<bool>()),
            prop::collection::vec(digest(), 0..4),
            prop::option::of(digest()),
            prop::option::of(".{0,20}"),
            prop::collection::vec((digest(), any::<u64>()), 0..4),
            prop::option::of(prop::option::of(-62_000_000_000_000_000_i64..62_000_000_000_000_000)),
            prop::option::of((0_i64..4_000_000_000, prop::collection::vec(digest(), 0..3))),
        )
            .prop_map(
                |(
                    (seen, size, is_index),
                    children,
                    subject,
                    artifact_type,
                    blobs,
                    created,
                    referrers,
                )| {
                    let first_seen = Timestamp::from_second(seen).unwrap();
                    SeenManifest {
                        first_seen,
                        size,
                        is_index,
                        children,
                        subject,
                        artifact_type,
                        blobs,
                        created: created.map(|at| {
                            let at = at.map(|at| Timestamp::from_microsecond(at).unwrap());
                            at.map_or(Created::Silent, Created::At)
                        }),
                        referrers: referrers.map(|(at, digests)| SeenReferrers {
                            at: Timestamp::from_second(at).unwrap(),
                            digests,
                        }),
                    }
                },
            )
    }

    #[test]
    fn what_is_gone_is_forgotten_in_its_repository_only() {
        let state = State::in_memory();
        let (one, other) = (Digest::of(b"1"), Digest::of(b"2"));
        let manifest = SeenManifest {
            first_seen: Timestamp::from_second(1).unwrap(),
            size: 1,
            is_index: false,
            children: Vec::new(),
            subject: None,
            artifact_type: None,
            blobs: Vec::new(),
            created: None,
            referrers: None,
        };
        for (repository, digest) in [("a", &one), ("a", &other), ("ab", &one)] {
            state.set_manifest(repository, digest, &manifest);
        }
        state.keep_manifests("a", |digest| *digest == other);
        assert_eq!(state.manifest("a", &one), None);
        assert!(state.manifest("a", &other).is_some());
        assert!(state.manifest("ab", &one).is_some());
    }

    proptest! {
        #[test]
        fn manifests_round_trip(manifest in manifest(), digest in digest()) {
            let state = State::in_memory();
            state.set_manifest("r/a", &digest, &manifest);
            prop_assert_eq!(state.manifest("r/a", &digest), Some(manifest));
            prop_assert_eq!(state.manifest("r/b", &digest), None);
        }

        #[test]
        fn any_bytes_are_a_manifest_or_nothing(bytes: Vec<u8>) {
            let _ = SeenManifest::decode(&bytes);
        }

        #[test]
        fn cut_or_longer_bytes_are_nothing(manifest in manifest(), cut in any::<prop::sample::Index>()) {
            let mut bytes = manifest.encode();
            prop_assert_eq!(SeenManifest::decode(&bytes[..cut.index(bytes.len())]), None);
            bytes.push(0);
            prop_assert_eq!(SeenManifest::decode(&bytes), None);
        }
    }
}
