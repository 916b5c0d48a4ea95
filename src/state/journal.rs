//! Uploads that were begun, so that a killed process goes on in the middle of a blob.
//!
//! Each checkpoint of an upload has a key of its own, so that adding one does not rewrite those
//! before it.

use std::fmt::Debug;

use super::codec;
use super::database::Change;
use super::local::Local;
use crate::oci::Digest;
use crate::repository::UploadSession;

/// The first bytes of the keys of upload sessions, and of their checkpoints.
const SESSION: u8 = b'u';
const CHECKPOINT: u8 = b'p';

/// How many checkpoints are read, the newest ones. At one every few MiB this is a blob of far more
/// than 100 GiB.
const MAX_CHECKPOINTS: usize = 1 << 16;

/// A hash state is about 100 (SHA-256) or 200 bytes (SHA-512).
const MAX_HASH_STATE: usize = 1024;

/// One blob on its way into one repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadKey<'a> {
    /// The target's `Repository::store`.
    pub store: &'a str,
    /// The target's `Repository::path`.
    pub repository: &'a str,
    pub digest: &'a Digest,
}

/// An upload that was begun and neither completed nor given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journal {
    pub session: UploadSession,
    /// From the smallest offset to the greatest.
    pub checkpoints: Vec<Checkpoint>,
}

/// The state of the hasher after so many bytes of the blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// In bytes.
    pub offset: u64,
    /// As `Hasher::serialize` wrote it.
    pub hash_state: Vec<u8>,
}

/// Journals of uploads that are under way.
pub trait UploadJournals: Debug + Send + Sync {
    /// The upload that was begun for a blob, if any.
    fn get(&self, key: &UploadKey<'_>) -> Option<Journal>;

    /// Notes that an upload was begun. Whatever was noted of this blob before is dropped.
    fn begin(&self, key: &UploadKey<'_>, session: &UploadSession);

    /// Notes where the next request of an upload goes. Its checkpoints stay.
    fn move_to(&self, key: &UploadKey<'_>, session: &UploadSession);

    fn add_checkpoint(&self, key: &UploadKey<'_>, checkpoint: &Checkpoint);

    /// Drops an upload and its checkpoints, because it was completed, given up or is gone.
    fn clear(&self, key: &UploadKey<'_>);
}

impl UploadJournals for Local {
    fn get(&self, key: &UploadKey<'_>) -> Option<Journal> {
        let session = decode_session(&self.store.get(&encode_key(SESSION, key))?)?;
        let prefix = encode_key(CHECKPOINT, key);
        let checkpoints = self.store.scan(&prefix, MAX_CHECKPOINTS, |found, hash_state| {
            let offset = u64::from_be_bytes(found.strip_prefix(&prefix[..])?.try_into().ok()?);
            let hash_state = hash_state.to_vec();
            (hash_state.len() <= MAX_HASH_STATE).then_some(Checkpoint { offset, hash_state })
        });
        Some(Journal { session, checkpoints })
    }

    fn begin(&self, key: &UploadKey<'_>, session: &UploadSession) {
        let mut changes = removal(self, key);
        changes.push((encode_key(SESSION, key), Some(encode_session(session))));
        self.apply(changes);
    }

    fn move_to(&self, key: &UploadKey<'_>, session: &UploadSession) {
        self.apply(vec![(encode_key(SESSION, key), Some(encode_session(session)))]);
    }

    fn add_checkpoint(&self, key: &UploadKey<'_>, checkpoint: &Checkpoint) {
        let mut found = encode_key(CHECKPOINT, key);
        found.extend(checkpoint.offset.to_be_bytes());
        self.apply(vec![(found, Some(checkpoint.hash_state.clone()))]);
    }

    fn clear(&self, key: &UploadKey<'_>) {
        self.apply(removal(self, key));
    }
}

fn removal(local: &Local, key: &UploadKey<'_>) -> Vec<Change> {
    let session = encode_key(SESSION, key);
    let session = local.store.get(&session).map(|_| (session, None));
    let prefix = encode_key(CHECKPOINT, key);
    let mut changes =
        local.store.scan(&prefix, MAX_CHECKPOINTS, |found, _| Some((found.to_vec(), None)));
    changes.extend(session);
    changes
}

fn encode_key(kind: u8, key: &UploadKey<'_>) -> Vec<u8> {
    codec::key(kind, &(key.store, key.repository, key.digest))
}

fn encode_session(session: &UploadSession) -> Vec<u8> {
    codec::encode(&(session.offset, &session.location))
}

fn decode_session(bytes: &[u8]) -> Option<UploadSession> {
    let (offset, location) = codec::decode(bytes)?;
    Some(UploadSession { location, offset })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(location: &str, offset: u64) -> UploadSession {
        UploadSession { location: location.into(), offset }
    }

    fn checkpoint(offset: u64) -> Checkpoint {
        Checkpoint { offset, hash_state: Digest::of(&offset.to_be_bytes()).as_bytes().to_vec() }
    }

    #[test]
    fn checkpoints_come_back_in_order_and_go_with_their_upload() {
        let local = Local::in_memory();
        let uploads: &dyn UploadJournals = &local;
        let digest = Digest::of(b"blob");
        let key = UploadKey { store: "ghcr.io", repository: "acme/app", digest: &digest };
        let other = UploadKey { repository: "acme/app2", ..key };
        assert_eq!(uploads.get(&key), None);

        uploads.begin(&key, &session("/uploads/1", 0));
        uploads.begin(&other, &session("/uploads/2", 0));
        for offset in [256, 0, 70_000, 255] {
            uploads.add_checkpoint(&key, &checkpoint(offset));
        }
        uploads.move_to(&key, &session("/uploads/1?state=x", 70_000));
        let journal = uploads.get(&key).unwrap();
        assert_eq!(journal.session, session("/uploads/1?state=x", 70_000));
        assert_eq!(journal.checkpoints, [0, 255, 256, 70_000].map(checkpoint));
        assert_eq!(uploads.get(&other).unwrap().checkpoints, []);

        // A new upload has no checkpoints of the old one.
        uploads.begin(&key, &session("/uploads/3", 0));
        assert_eq!(
            uploads.get(&key),
            Some(Journal { session: session("/uploads/3", 0), checkpoints: vec![] })
        );
        uploads.add_checkpoint(&key, &checkpoint(1));
        uploads.clear(&key);
        assert_eq!(uploads.get(&key), None);
        assert!(local.store.scan(&encode_key(CHECKPOINT, &key), 9, |_, _| Some(())).is_empty());
        assert!(uploads.get(&other).is_some());
    }
}
